from __future__ import annotations

import random

from dassl.data.datasets import DATASET_REGISTRY

from .base import FewShotDataset
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


@DATASET_REGISTRY.register()
class EuroSAT(FewShotDataset):
    """EuroSAT (Helber et al., 2019): 10 kinds of land use from Sentinel-2, RGB."""

    dataset_dir = "eurosat"
    image_dir = "2750"
    split_name = "split_zhou_EuroSAT.json"
    sizes = (10, 13500, 5400, 8100)

    def make_split(self, rng: random.Random) -> Split:
        return split_folders(self.images, rng, NAMES)
