from __future__ import annotations

import json
import random

from dassl.data.datasets import DATASET_REGISTRY

from .annotations import read_mat, read_text
from .base import FewShotDataset
from .splits import Split, by_label, datum, split_groups


@DATASET_REGISTRY.register()
class OxfordFlowers(FewShotDataset):
    """Oxford Flowers-102 (Nilsback and Zisserman, 2008): flowers common in the United Kingdom."""

    dataset_dir = "oxford_flowers"
    image_dir = "jpg"
    split_name = "split_zhou_OxfordFlowers.json"
    sizes = (102, 4093, 1633, 2463)

    def make_split(self, rng: random.Random) -> Split:
        labels = read_mat(self.folder / "imagelabels.mat", "labels")
        file = self.folder / "cat_to_name.json"
        if not file.is_file():
            raise FileNotFoundError(
                f"there is no {file}, which names the classes: add it, DATASETS.md tells from where"
            )
        names = json.loads(read_text(file))
        items = [
            datum(self.images / f"image_{number:05d}.jpg", int(label) - 1, names[str(label)])
            for number, label in enumerate(labels, start=1)
        ]
        return split_groups(by_label(items).values(), rng)
