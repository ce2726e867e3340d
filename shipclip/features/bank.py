"""The feature bank: what the frozen image tower says of each image, computed once.

Image features of a given augmented view never change, so training needs images only until every view is
encoded. An image is decoded once for all its views.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..backbones.base import Backbone
from ..errors import Unwritable
from ..machine import free_memory
from . import segment
from .encode import encode, fill
from .pixels import Views
from .segment import Segment, release
from .store import Places, Store, digests, store_of

AS_FLOAT32 = 1 << 30  # bytes: a bank in half precision that would be larger in single precision stays as it is
BLOCK = 1 << 16  # rows of a mapped bank that are looked at before their pages are given back


@dataclass(frozen=True)
class FeatureBank:
    """Features of N images under V augmentation views.

    Attributes:
        features: L2-normalised, (V, N, d); float32, or float16 if they were kept so and are more than a gigabyte.
        labels: (N,).
        mapped: the file that the features lie in, where they are no copy of it.
    """

    features: Tensor
    labels: Tensor
    mapped: mmap.mmap | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> FeatureBank:
        """On a device; features that would take more than half of what a GPU has left stay where they are."""
        features, labels = self.features, self.labels.to(device)
        if device.type == "cuda" and features.nbytes > free_memory(device) // 2:
            return FeatureBank(features, labels, self.mapped)
        features = features.to(device)
        return FeatureBank(features, labels, self.mapped if features is self.features else None)

    def draw(self, rng: torch.Generator) -> Tensor:
        """For each image one of its views at random, (N, d), float32, where the labels are: features may stay in main
        memory."""
        V, N, d = self.features.shape
        view = torch.randint(V, (N,), generator=rng).to(self.features.device)
        rows = torch.arange(N, device=view.device)
        if self.mapped is None:
            return self.features[view, rows].to(self.labels.device, torch.float32)
        out = torch.empty(N, d)
        for start in range(0, N, BLOCK):
            part = slice(start, start + BLOCK)
            out[part] = self.features[view[part], rows[part]]
            release(self.mapped)
        return out.to(self.labels.device)

    def mean(self) -> Tensor:
        """Each image's mean over its views, not normalised, float32, where the labels are, (N, d)."""
        if self.features.dtype == torch.float32:
            return self.features.mean(dim=0).to(self.labels.device)
        out = torch.empty(self.features.shape[1:], device=self.labels.device)
        for start in range(0, len(out), BLOCK):
            part = self.features[:, start : start + BLOCK]
            out[start : start + BLOCK] = part.float().mean(dim=0)
            release(self.mapped)
        return out

    def of_view(self, view: int, step: int = 1) -> Tensor:
        """The features of one view (of every `step`-th image), float32, where the labels are, (N, d)."""
        return self.features[view, ::step].to(self.labels.device, torch.float32)

    def blocks(self) -> Iterator[Tensor]:
        """The features piece by piece in order, (*, d) each, on the CPU."""
        for view in self.features:
            for block in view.split(BLOCK):
                yield block.cpu()
                release(self.mapped)


def load_bank(
    backbone: Backbone, views: Views, cache_dir: str = "", workers: int = 0, dtype: str = "float32"
) -> FeatureBank:
    """The bank of these views: what the folder's store has is taken from there, the rest encoded and left there.

    A store that cannot be written is a notice.

    Args:
        cache_dir: folder of the stores; empty: nothing is kept.
        workers: processes that read images.
        dtype: float32 or float16, of the features on disk.

    Raises:
        BadImage: an image that cannot be read, by name.
    """
    images = digests(views) if cache_dir and len(views.items) else None
    if images is not None:
        try:
            store = store_of(backbone, views, cache_dir, dtype)
            fill(backbone, views, store, images, workers)
            return of_store(store, images, views.first, views.count, backbone.dim, views.labels)
        except OSError as error:
            reason = error.strerror
            print(f"Note: the features could not be kept in {cache_dir} ({reason}); they are made anew each time")
    features = encode(backbone, views, workers)
    if cache_dir and dtype == "float16":  # the same numbers, whether they could be kept or not
        features = features.half().float()
    return FeatureBank(features, views.labels)


def of_store(store: Store, images: np.ndarray, first: int, count: int, dim: int, labels: Tensor) -> FeatureBank:
    """The bank of entries that a store has: mapped where it is large, else read.

    Args:
        images: names of the images in the store, (N, 2).
        first, count: the views.
        dim: d.
        labels: (N,).
    """
    while True:
        places = store.find(images, first, count)
        try:
            if places.missing.any():
                raise FileNotFoundError("features that the store had are gone")
            return _bank(store, images, places, first, dim, labels)
        except FileNotFoundError:  # another process has put segments together since
            store.refresh()
            if store.find(images, first, count).missing.any():
                raise


def _bank(store: Store, images: np.ndarray, places: Places, first: int, dim: int, labels: Tensor) -> FeatureBank:
    shape, half = (*places.row.shape, dim), store.dtype == "float16"
    size = int(np.prod(shape))
    if size * (2 if half else 4) >= segment.MAPPED:
        found = _joined(store, images, places, first)
        if found is not None:
            part, of_views, of_images = found
            features = part.features[of_views, of_images]
            if half and 4 * size <= AS_FLOAT32:
                return FeatureBank(features.float(), labels)
            return FeatureBank(features, labels, part.mapping)
    out = np.empty(shape, np.float32)
    store.read(places, first, out)
    return FeatureBank(torch.from_numpy(out), labels)


def _joined(store: Store, images: np.ndarray, places: Places, first: int) -> tuple[Segment, slice, slice] | None:
    """The one segment that holds all these entries, made if there is none; None: the store cannot be written."""
    found = store.whole(places, first)
    if found is not None:
        return found
    try:
        store.join(images, places, first)
    except Unwritable as error:
        print(f"Note: features could not be put together in {store.folder} ({error.strerror}); they are read whole")
        return None
    return store.whole(store.find(images, first, len(places.row)), first)
