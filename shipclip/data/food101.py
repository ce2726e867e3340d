from __future__ import annotations

import random

from .base import DATASETS, Dataset
from .splits import Split, split_folders


@DATASETS.register
class Food101(Dataset):
    """Food-101 (Bossard et al., 2014): dishes."""

    dataset_dir = "food-101"
    image_dir = "images"
    split_name = "split_zhou_Food101.json"
    sizes = (101, 50500, 20200, 30300)
    template = "a photo of {}, a type of food."

    def make_split(self, rng: random.Random) -> Split:
        return split_folders(self.images, rng)
