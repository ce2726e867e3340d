from __future__ import annotations

import random

from .base import DATASETS, Dataset
from .splits import Split, split_folders


@DATASETS.register
class DescribableTextures(Dataset):
    """Describable Textures (Cimpoi et al., 2014): 47 adjectives of surfaces."""

    dataset_dir = "dtd"
    image_dir = "images"
    split_name = "split_zhou_DescribableTextures.json"
    sizes = (47, 2820, 1128, 1692)
    template = "{} texture."

    def make_split(self, rng: random.Random) -> Split:
        return split_folders(self.images, rng)
