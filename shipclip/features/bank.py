"""The feature bank: what the frozen image tower says of each image, computed once.

Image features of a given augmented view never change, so training needs images only until every view is
encoded. An image is decoded once for all its views.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..backbones.base import Backbone
from ..checkpoints import refuse_damaged
from ..files import write_tensors
from .pixels import Views, read_views

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


def load_bank(backbone: Backbone, views: Views, cache_dir: str = "", workers: int = 0) -> FeatureBank:
    """The bank of these views, from the cache folder if it is there, else encoded and left there.

    A cache that cannot be written is a notice.

    Raises:
        BadImage: an image that cannot be read, by name.
    """
    if not cache_dir:
        return FeatureBank(encode(backbone, views, workers), views.labels)
    file = Path(cache_dir) / f"{key_of(backbone, views)}.pt"
    features = _read_cached(file)
    if features is None:
        features = encode(backbone, views, workers)
        try:
            write_tensors(file, features.cpu())
        except OSError as error:
            reason = error.strerror
            print(f"Note: the features could not be kept in {cache_dir} ({reason}); they are made anew each time")
    return FeatureBank(features, views.labels)


def key_of(backbone: Backbone, views: Views) -> str:
    """A digest of weights, images (path, size, time of change), transform, seed and views."""
    facts: list[Any] = [backbone.fingerprint, views.recipe, views.seed, views.first, views.count, views.upright]
    for item in views.items:
        try:
            stat = os.stat(item.impath)
        except (OSError, TypeError):
            continue  # reading it will say what is wrong
        facts.append([os.path.abspath(item.impath), stat.st_size, stat.st_mtime_ns])
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


@torch.no_grad()
def encode(backbone: Backbone, views: Views, workers: int = 0) -> Tensor:
    """Encode all views of all images: (V, N, d), float32, on the backbone's device, in one piece of memory.

    Raises:
        BadImage: an image that cannot be read, by name.
    """
    N, done = len(views.items), 0
    out = torch.empty(views.count, N, backbone.dim, device=backbone.device)
    batches = read_views(views, max(1, ENCODE_BATCH // views.count), workers, backbone.device.type == "cuda")
    with tqdm(total=N, desc="Encoding images", unit="image", delay=2, disable=None) as bar:
        for images in batches:
            B, V = images.shape[:2]
            features = backbone.encode_image(images.flatten(0, 1)).unflatten(0, (B, V))  # (B, V, d)
            out[:, done : done + B] = features.transpose(0, 1)
            done += B
            bar.update(B)
    return out


def _read_cached(file: Path) -> Tensor | None:
    if not file.is_file():
        return None
    try:
        refuse_damaged(file)
        return torch.load(file, weights_only=True)
    except Exception:  # torch raises many kinds for a damaged file
        print(f"The cached features in {file} are damaged and will be made anew")
        return None
