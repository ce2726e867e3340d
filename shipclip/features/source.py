"""Where training and test batches come from: features, made once, or images, read in each epoch.

Loop, evaluation and record do not care which. Both kinds give batches (x, labels): x are features (B, d) or images
(B, 3, R, R).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..backbones.base import Backbone, Preprocessing
from ..options import checked, option
from ..task import Task
from .bank import FeatureBank, load_bank
from .pixels import Deferred, Views, fresh, read_views
from .transforms import InputOptions, check_input, plain_transform, training_transform

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class FeatureOptions:
    """How images are encoded."""

    # Augmented views of each training image, encoded once and drawn from at random in every epoch.
    # 0 is the faithful, slow setting: a fresh view of each image in each epoch.
    views: int = option(10, least=0, most=1000)
    # Folder that keeps encoded features, and SHIP's generators trained on them, between runs; empty: they live in
    # memory only.
    cache_dir: str = ""
    # Of the features in that folder: half the room, and about 3 digits.
    store_dtype: str = option("float32", choices=("float32", "float16"))


@dataclass(frozen=True)
class Batches:
    """How many at once.

    Attributes:
        size: of training batches.
        drop_last: leave out an epoch's last, smaller batch; never the only one (Dassl's rule).
    """

    size: int
    drop_last: bool = True

    def count(self, n: int) -> int:
        """Batches an epoch of n images."""
        return n // self.size if self.drop_last and n >= self.size else -(-n // self.size)

    def rows(self, order: Tensor) -> list[Tensor]:
        return list(order.split(self.size))[: self.count(len(order))]


class Source:
    """The images of a task, as training and test batches.

    Args:
        backbone: that encodes them, or whose preprocessing they get.
        task: the images.
        input: augmentation.
        features: how they are encoded.
        seed: of the augmentation.
        workers: processes that read images.
    """

    def __init__(
        self, backbone: Backbone, task: Task, input: InputOptions, features: FeatureOptions, seed: int, workers: int = 0
    ):
        check_input(input, backbone.preprocessing, backbone.name)
        features = checked(features, "FEATURES.")
        self.backbone, self.task, self.input, self.features = backbone, task, input, features
        self.seed, self.workers = seed, workers
        self.repeats = True  # whether another run may have the same seed

    def views(self, items: Sequence[Any], training: bool, count: int = 1) -> Views:
        pre, upright = self.backbone.preprocessing, self.task.upright
        if not training:
            return plain_views(items, self.input, pre, upright)
        recipe = [asdict(self.input), asdict(pre), "train"]
        transform = Deferred(partial(training_transform, self.input, pre))
        return Views(items, transform, recipe, self.seed, 0, count, upright)


def plain_views(items: Sequence[Any], input: InputOptions, pre: Preprocessing, upright: bool) -> Views:
    """Images under a backbone's plain preprocessing, whatever the training images' augmentation."""
    recipe = ["normalize" in input.transforms, asdict(pre), "test"]
    return Views(items, Deferred(partial(plain_transform, input, pre)), recipe, upright=upright, random=False)


class FeatureSource(Source):
    """Features of frozen images, each encoded once a view."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._banks: dict[str, FeatureBank] = {}  # each encoded once in a run

    def training_bank(self, epoch: int) -> FeatureBank:
        """The training images' features: one bank for all epochs, or the epoch's own (FEATURES.VIEWS 0)."""
        count = self.features.views
        if count and "augmented" in self._banks:
            return self._banks["augmented"]
        views = self.views(self.task.train, training=True, count=max(count, 1))
        if not count:
            return self._load(fresh(views, epoch), keep=False)
        self._banks["augmented"] = self._load(views)
        return self._banks["augmented"]

    def bank(self, split: str) -> FeatureBank:
        """The validation or test images' features under the backbone's plain preprocessing: (1, N, d)."""
        if split not in self._banks:
            self._banks[split] = self._load(self.views(self.task.part(split), training=False))
        return self._banks[split]

    def test_batches(self, split: str, size: int) -> Iterator[Batch]:
        bank = self.bank(split)
        for x, y in zip(bank.features[0].split(size), bank.labels.split(size), strict=True):
            yield x.to(self.backbone.device, torch.float32), y

    def _load(self, views: Views, keep: bool = True) -> FeatureBank:
        cache, device = self.features.cache_dir if keep else "", self.backbone.device
        return load_bank(self.backbone, views, cache, self.workers, self.features.store_dtype).to(device)


class PixelSource(Source):
    """The images themselves, a fresh view in each epoch."""

    def train_batches(self, epoch: int, rng: torch.Generator, batches: Batches) -> Iterator[Batch]:
        order = torch.randperm(len(self.task.train), generator=rng)
        rows = torch.cat(batches.rows(order))
        views = fresh(self.views(self.task.train, training=True), epoch)
        yield from self._read(views, batches.size, rows)

    def test_batches(self, split: str, size: int) -> Iterator[Batch]:
        views = self.views(self.task.part(split), training=False)
        yield from self._read(views, size, torch.arange(len(views.items)))

    def _read(self, views: Views, size: int, order: Tensor) -> Iterator[Batch]:
        device, labels = self.backbone.device, views.labels[order]
        images = read_views(views, size, self.workers, device.type == "cuda", order.tolist())
        for x, y in zip(images, labels.split(size), strict=True):
            yield x[:, 0].to(device), y  # (B, 3, R, R), (B,)


def feature_batches(bank: FeatureBank, rng: torch.Generator, batches: Batches) -> Iterator[Batch]:
    """An epoch over a bank: one view of each of the images, in a new order. Labels stay on the CPU."""
    features = bank.draw(rng)
    order, labels = torch.randperm(len(bank), generator=rng), bank.labels.cpu()
    for rows in batches.rows(order):
        yield features[rows.to(features.device)], labels[rows]
