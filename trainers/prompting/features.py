"""The feature bank: what the frozen image tower says of each image, computed once.

Image features of a given augmented view never change, so training needs images only until every view is
encoded. An image is decoded once for all its views.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from .clip import FrozenCLIP
from .files import replacing
from .images import BadImage, read_image
from .rng import seeded

ENCODE_BATCH = 64


@dataclass(frozen=True)
class FeatureBank:
    """Features of N images under V augmentation views.

    Attributes:
        features: L2-normalised, float32, (V, N, d).
        labels: (N,).
    """

    features: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: str | torch.device) -> FeatureBank:
        return FeatureBank(self.features.to(device), self.labels.to(device))

    def draw(self, rng: torch.Generator) -> Tensor:
        """For each image one of its views at random, (N, d)."""
        V, N, _ = self.features.shape
        view = torch.randint(V, (N,), generator=rng).to(self.features.device)
        return self.features[view, torch.arange(N, device=view.device)]


@dataclass(frozen=True)
class Views:
    """Which views of which images: the source of a bank.

    Attributes:
        items: data with `impath` and `label` (Dassl's Datum).
        transform: image to tensor; its random choices are a function of seed, view and image.
        recipe: what the transform does, as plain data: part of the cache's key.
        seed: seed of the views.
        first, count: the views' numbers are first ... first + count - 1.
        upright: whether images are turned as their EXIF orientation says.
    """

    items: Sequence[Any]
    transform: Any
    recipe: Any = None
    seed: int = 0
    first: int = 0
    count: int = 1
    upright: bool = False

    def key(self, clip: FrozenCLIP) -> str:
        """A digest of weights, images (path, size, time of change), transform, seed and views."""
        facts: list[Any] = [clip.fingerprint, self.recipe, self.seed, self.first, self.count, self.upright]
        for item in self.items:
            try:
                stat = os.stat(item.impath)
            except OSError:
                continue  # reading it will say what is wrong
            facts.append([os.path.abspath(item.impath), stat.st_size, stat.st_mtime_ns])
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def load_bank(clip: FrozenCLIP, views: Views, cache_dir: str = "", workers: int = 0) -> FeatureBank:
    """The bank of these views, from the cache folder if it is there, else encoded and left there.

    Raises:
        BadImage: an image that cannot be read, by name.
    """
    labels = torch.tensor([item.label for item in views.items])
    if not cache_dir:
        return FeatureBank(encode(clip, views, workers), labels)
    file = Path(cache_dir) / f"{views.key(clip)}.pt"
    features = _read_cached(file)
    if features is None:
        features = encode(clip, views, workers)
        _write_cached(file, features.cpu())
    return FeatureBank(features, labels)


@torch.no_grad()
def encode(clip: FrozenCLIP, views: Views, workers: int = 0) -> Tensor:
    """Encode all views of all images: (V, N, d), float32, on CLIP's device.

    Raises:
        BadImage: an image that cannot be read, by name.
    """
    loader = DataLoader(
        _Images(views),
        batch_size=max(1, ENCODE_BATCH // views.count),
        num_workers=min(workers, len(views.items)),
        collate_fn=_collate,
        pin_memory=clip.device.type == "cuda",
        generator=torch.Generator(),  # else its iterator draws from the global one
    )
    rows = []
    with tqdm(total=len(views.items), desc="Encoding images", unit="image", delay=2, disable=None) as bar:
        for images in loader:
            if isinstance(images, _Unreadable):
                raise BadImage(images.sentence)
            B, V = images.shape[:2]
            rows.append(clip.encode_image(images.flatten(0, 1)).unflatten(0, (B, V)))  # (B, V, d)
            bar.update(B)
    return torch.cat(rows).transpose(0, 1).contiguous()


class FeatureLoader:
    """Batches of a bank in the shape that Dassl's loaders have: {"img": (B, d), "label": (B,)}.

    Each epoch draws one view of each of the n images and a new order, from what `start` was given.
    """

    def __init__(self, n: int, batch_size: int, drop_last: bool):
        self.n = n
        self.batch_size = batch_size
        self.drop_last = drop_last and n >= batch_size  # Dassl's rule: never drop the only batch

    def start(self, bank: FeatureBank, rng: torch.Generator) -> FeatureLoader:
        """Set the coming epoch's features and random numbers."""
        self.bank, self.rng = bank, rng
        return self

    def __len__(self) -> int:
        """Batches an epoch."""
        return self.n // self.batch_size if self.drop_last else -(-self.n // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        features = self.bank.draw(self.rng)
        order = torch.randperm(self.n, generator=self.rng).to(features.device)
        for rows in order.split(self.batch_size)[: len(self)]:
            yield {"img": features[rows], "label": self.bank.labels[rows]}


def fresh(views: Views, epoch: int) -> Views:
    """The views that no epoch but this one sees."""
    return replace(views, first=epoch, count=1)


@dataclass(frozen=True)
class _Unreadable:
    """An image that failed in a worker process; raising there would bury its name in a traceback."""

    sentence: str


class _Images(Dataset):
    def __init__(self, views: Views):
        self.views = views

    def __len__(self) -> int:
        return len(self.views.items)

    def __getitem__(self, index: int) -> Tensor | _Unreadable:
        views, path = self.views, self.views.items[index].impath
        try:
            image = read_image(path, views.upright)
        except BadImage as error:
            return _Unreadable(str(error))
        tensors = []
        for view in range(views.first, views.first + views.count):
            with seeded(views.seed, "view", view, index):
                tensors.append(views.transform(image))
        return torch.stack(tensors)  # (V, 3, R, R)


def _collate(batch: list[Tensor | _Unreadable]) -> Tensor | _Unreadable:
    bad = [item for item in batch if isinstance(item, _Unreadable)]
    return bad[0] if bad else torch.stack(batch)


def _read_cached(file: Path) -> Tensor | None:
    if not file.is_file():
        return None
    try:
        return torch.load(file, weights_only=True)
    except Exception:  # torch raises many kinds for a damaged file
        print(f"The cached features in {file} are damaged and will be made anew")
        return None


def _write_cached(file: Path, features: Tensor) -> None:
    with replacing(file) as temporary:
        torch.save(features, temporary)
