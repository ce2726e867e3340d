from __future__ import annotations

import random

from .base import DATASETS, Dataset
from .splits import Split, split_folders

NAMES = {
    "AnnualCrop": "Annual Crop Land",
    "Forest": "Forest",
    "HerbaceousVegetation": "Herbaceous Vegetation Land",
    "Highway": "Highway or Road",
    "Industrial": "Industrial Buildings",
    "Pasture": "Pasture Land",
    "PermanentCrop": "Permanent Crop Land",
    "Residential": "Residential Buildings",
    "River": "River",
    "SeaLake": "Sea or Lake",
}


@DATASETS.register
class EuroSAT(Dataset):
    """EuroSAT (Helber et al., 2019): 10 kinds of land use from Sentinel-2, RGB."""

    dataset_dir = "eurosat"
    image_dir = "2750"
    split_name = "split_zhou_EuroSAT.json"
    sizes = (10, 13500, 5400, 8100)
    template = "a centered satellite photo of {}."

    def make_split(self, rng: random.Random) -> Split:
        return split_folders(self.images, rng, NAMES)
