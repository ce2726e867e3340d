from __future__ import annotations

import random
from pathlib import Path

from ..errors import MissingFile
from ..task import Item
from .annotations import read_pairs
from .base import DATASETS, Dataset
from .splits import Split, split_trainval


@DATASETS.register
class OxfordPets(Dataset):
    """Oxford-IIIT Pet (Parkhi et al., 2012): 37 breeds of cats and dogs."""

    dataset_dir = "oxford_pets"
    image_dir = "images"
    split_name = "split_zhou_OxfordPets.json"
    sizes = (37, 2944, 736, 3669)
    template = "a photo of a {}, a type of pet."

    def make_split(self, rng: random.Random) -> Split:
        train, val = split_trainval(self._read(self.folder / "annotations" / "trainval.txt"), rng)
        return Split(train, val, self._read(self.folder / "annotations" / "test.txt"))

    def _read(self, file: Path) -> list[Item]:
        """Lines "<breed>_<number> <class from 1> <species> <breed number>"."""
        if not file.is_file():
            raise MissingFile(f"there is neither {self.folder / self.split_name} nor {file}: add the one or the other")
        items = []
        for name, numbers in read_pairs(file):
            label, breed = int(numbers.split()[0]) - 1, name.rpartition("_")[0].lower()
            items.append(Item(self.images / f"{name}.jpg", label, breed))
        return items
