from __future__ import annotations

import random

from .base import DATASETS, Dataset
from .splits import Split, split_folders


@DATASETS.register
class Caltech101(Dataset):
    """Caltech-101 (Fei-Fei et al., 2004): 100 classes of objects, without background and easy faces."""

    dataset_dir = "caltech-101"
    image_dir = "101_ObjectCategories"
    split_name = "split_zhou_Caltech101.json"
    sizes = (100, 4128, 1649, 2465)

    ignored = ("BACKGROUND_Google", "Faces_easy")
    rename = {"airplanes": "airplane", "Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike"}

    def make_split(self, rng: random.Random) -> Split:
        return split_folders(self.images, rng, self.rename, self.ignored)
