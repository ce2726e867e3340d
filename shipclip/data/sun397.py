from __future__ import annotations

import random

from ..task import Item
from .annotations import read_lines
from .base import DATASETS, Dataset
from .splits import Split, split_trainval


@DATASETS.register
class SUN397(Dataset):
    """SUN397 (Xiao et al., 2010): scenes, the first of the ten official partitions."""

    dataset_dir = "sun397"
    image_dir = "SUN397"
    split_name = "split_zhou_SUN397.json"
    sizes = (397, 15880, 3970, 19850)

    def make_split(self, rng: random.Random) -> Split:
        label = {path: i for i, path in enumerate(read_lines(self.folder / "ClassName.txt"))}
        train, val = split_trainval(self._read("Training_01.txt", label), rng)
        return Split(train, val, self._read("Testing_01.txt", label))

    def _read(self, file: str, label: dict[str, int]) -> list[Item]:
        """Lines "/a/apartment_building/outdoor/sun_....jpg"; that class is "outdoor apartment_building"."""
        items = []
        for line in read_lines(self.folder / file):
            scene = line.rpartition("/")[0]
            name = " ".join(reversed(scene.split("/")[2:]))
            items.append(Item(self.images / line.lstrip("/"), label[scene], name))
        return items
