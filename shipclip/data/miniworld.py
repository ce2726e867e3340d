from __future__ import annotations

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
        if not self.images.is_dir():
            print(f"Rendering {type(self).__name__}'s images into {self.images}")
            try:
                render_dataset(self.folder, SEED, self.style, self.classes())
            except OSError as error:
                raise OSError(
                    f"{type(self).__name__}'s images cannot be written into {self.folder} ({error.strerror}): give a "
                    "--root that can be written to"
                ) from error

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
