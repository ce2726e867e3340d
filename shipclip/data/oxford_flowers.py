from __future__ import annotations

import random

from ..files import read_json
from ..task import Item
from .annotations import WHERE_FROM, read_mat
from .base import DATASETS, Dataset
from .splits import Split, by_label, split_groups


@DATASETS.register
class OxfordFlowers(Dataset):
    """Oxford Flowers-102 (Nilsback and Zisserman, 2008): flowers common in the United Kingdom."""

    dataset_dir = "oxford_flowers"
    image_dir = "jpg"
    split_name = "split_zhou_OxfordFlowers.json"
    sizes = (102, 4093, 1633, 2463)
    template = "a photo of a {}, a type of flower."

    def make_split(self, rng: random.Random) -> Split:
        labels = read_mat(self.folder / "imagelabels.mat", "labels")
        names = read_json(self.folder / "cat_to_name.json", f"it names the classes; {WHERE_FROM}")
        items = [
            Item(self.images / f"image_{number:05d}.jpg", int(label) - 1, names[str(label)])
            for number, label in enumerate(labels, start=1)
        ]
        return split_groups(by_label(items).values(), rng)
