from __future__ import annotations

import random

from dassl.data.datasets import DATASET_REGISTRY

from .base import FewShotDataset
from .splits import Split, split_folders


@DATASET_REGISTRY.register()
class DescribableTextures(FewShotDataset):
    """Describable Textures (Cimpoi et al., 2014): 47 adjectives of surfaces."""

    dataset_dir = "dtd"
    image_dir = "images"
    split_name = "split_zhou_DescribableTextures.json"
    sizes = (47, 2820, 1128, 1692)

    def make_split(self, rng: random.Random) -> Split:
        return split_folders(self.images, rng)
