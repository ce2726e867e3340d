from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY

from embedded.miniclip.world import dataset_files, render_dataset

from .base import FewShotDataset
from .splits import Split, datum

SEED = 0  # of the world, not of a run: every run sees the same images


@DATASET_REGISTRY.register()
class MiniWorld(FewShotDataset):
    """The embedded default: 40 rendered classes, drawn into the data folder on first use."""

    dataset_dir = "miniworld"
    image_dir = "images"

    def prepare(self) -> None:
        if not self.images.is_dir():
            print(f"Rendering MiniWorld's images into {self.images}")
            render_dataset(self.folder, SEED)

    def read_split(self) -> Split:
        return Split(
            **{
                part: [datum(self.images / path, label, name) for path, name, label in dataset_files(part)]
                for part in ("train", "val", "test")
            }
        )
