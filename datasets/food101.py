from __future__ import annotations

import random

from dassl.data.datasets import DATASET_REGISTRY

from .base import FewShotDataset
from .splits import Split, split_folders


@DATASET_REGISTRY.register()
class Food101(FewShotDataset):
    """Food-101 (Bossard et al., 2014): dishes."""

    dataset_dir = "food-101"
    image_dir = "images"
    split_name = "split_zhou_Food101.json"
    sizes = (101, 50500, 20200, 30300)

    def make_split(self, rng: random.Random) -> Split:
        return split_folders(self.images, rng)
