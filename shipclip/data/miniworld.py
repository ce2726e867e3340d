from __future__ import annotations

import shutil

from ..files import unwritable
from ..locks import RENDERING, Lock
from ..miniclip.scene import SHIFTED, SOURCE
from ..miniclip.world import apart_classes, dataset_files, downstream_classes, render_dataset, source_classes
from ..task import Item
from .base import DATASETS, Dataset
from .splits import Split

SEED = 0  # of the world, not of a run: every run sees the same images


class _Rendered(Dataset):
    """Drawn into the data folder on first use."""

    image_dir = "images"
    classes = staticmethod(downstream_classes)
    style = SHIFTED

    def prepare(self) -> None:
        if self.images.is_dir():
            return
        try:
            with Lock(self.folder, RENDERING, wait=True) as lock:
                # A killed process's; where there are no locks it may be one's that is still rendering.
                for half in self.folder.glob(".rendering-*") if lock.sure else ():
                    shutil.rmtree(half)
                if not self.images.is_dir():  # else another process has rendered them
                    print(f"Rendering {type(self).__name__}'s images into {self.images}")
                    render_dataset(self.folder, SEED, self.style, self.classes())
        except OSError as error:
            raise unwritable(self.images, error) from error

    def read_split(self) -> Split:
        return Split(
            **{
                part: [
                    Item(self.images / path, label, name) for path, name, label in dataset_files(part, self.classes())
                ]
                for part in ("train", "val", "test")
            }
        )


@DATASETS.register
class MiniWorld(_Rendered):
    """The embedded default: 72 classes; base and new ones share colours, textures and shapes to the count."""

    dataset_dir = "miniworld"


@DATASETS.register
class MiniWorldApart(_Rendered):
    """MiniWorld's images with its classes in the order of their names, colour first: base and new ones share no colour,
    so what is learned of a shifted hue on base classes says nothing of the new ones."""

    dataset_dir = "miniworld"
    classes = staticmethod(apart_classes)


@DATASETS.register
class MiniSource(_Rendered):
    """The second world: 36 other classes in another style, the source of transfer experiments."""

    dataset_dir = "minisource"
    classes = staticmethod(source_classes)
    style = SOURCE


@DATASETS.register
class MiniSourceShifted(_Rendered):
    """The second world's classes in MiniWorld's style, to test on: what ImageNet's variants are to ImageNet."""

    dataset_dir = "minisource_shifted"
    classes = staticmethod(source_classes)
