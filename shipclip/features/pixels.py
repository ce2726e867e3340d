"""Images as tensors: views that are a function of (seed, view, image), read in worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .. import profiling
from ..rng import seeded
from .images import BadImage, read_image


@dataclass(frozen=True)
class Deferred:
    """A transform that is made when images are to be read: most runs find theirs encoded, and need no torchvision,
    whose import takes as long as torch's."""

    make: Callable[[], Callable]


@dataclass(frozen=True)
class Views:
    """Which views of which images.

    Attributes:
        items: data with `impath` and `label`.
        transform: image to tensor; its random choices are a function of seed, view and image.
        recipe: what the transform does, as plain data: part of a cache's key.
        seed: seed of the views.
        first, count: the views' numbers are first ... first + count - 1.
        upright: whether images are turned as their EXIF orientation says.
        random: whether a view depends on its number, the seed and the image's place in the list.
    """

    items: Sequence[Any]
    transform: Callable | Deferred
    recipe: Any = None
    seed: int = 0
    first: int = 0
    count: int = 1
    upright: bool = False
    random: bool = True

    @property
    def labels(self) -> Tensor:
        return torch.tensor([item.label for item in self.items], dtype=torch.long)


def fresh(views: Views, epoch: int) -> Views:
    """The views that no epoch but this one sees."""
    return replace(views, first=epoch, count=1)


def read_views(
    views: Views,
    batch_size: int,
    workers: int = 0,
    pin: bool = False,
    order: Sequence[int] | None = None,
    skip: Callable[[int, str], None] | None = None,
) -> Iterator[Tensor]:
    """Batches of images in order (or in the given one), all their views: (B, V, 3, R, R).

    With `skip` an image that cannot be read is left out of its batch, which may be empty then, and `skip` is told its
    place in the order and why.

    Raises:
        BadImage: an image that cannot be read, by name.
    """
    loader = DataLoader(
        _Images(views),
        batch_size=batch_size,
        sampler=order,
        num_workers=min(workers, len(views.items)),
        collate_fn=_collate,
        pin_memory=pin,
        generator=torch.Generator(),  # else its iterator draws from the global one
    )
    for number, images in enumerate(profiling.each("decoding", loader, lambda batch: len(batch) * views.count)):
        if isinstance(images, Tensor):
            yield images
            continue
        for i, image in enumerate(images):
            if isinstance(image, _Unreadable):
                if skip is None:
                    raise BadImage(image.sentence)
                skip(number * batch_size + i, image.sentence)
        good = [image for image in images if isinstance(image, Tensor)]
        yield torch.stack(good) if good else torch.empty(0)


@dataclass(frozen=True)
class _Unreadable:
    """An image that failed in a worker process; raising there would bury its name in a traceback."""

    sentence: str


class _Images(Dataset):
    def __init__(self, views: Views):
        self.views, transform = views, views.transform
        # Here and not in the processes that read, each of which would import for itself.
        self.transform = transform.make() if isinstance(transform, Deferred) else transform

    def __len__(self) -> int:
        return len(self.views.items)

    def __getitem__(self, index: int) -> Tensor | _Unreadable:
        views, source = self.views, self.views.items[index].impath
        try:
            image = read_image(source, views.upright)
        except BadImage as error:
            return _Unreadable(str(error))
        tensors = []
        for view in range(views.first, views.first + views.count):
            with seeded(views.seed, "view", view, index) if views.random else nullcontext():
                tensors.append(self.transform(image))
        return torch.stack(tensors)  # (V, 3, R, R)


def _collate(batch: list[Tensor | _Unreadable]) -> Tensor | list[Tensor | _Unreadable]:
    return batch if any(isinstance(item, _Unreadable) for item in batch) else torch.stack(batch)  # type: ignore[arg-type]
