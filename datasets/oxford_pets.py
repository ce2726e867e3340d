from __future__ import annotations

import random
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY, Datum

from .annotations import read_pairs
from .base import FewShotDataset
from .splits import Split, datum, split_trainval


@DATASET_REGISTRY.register()
class OxfordPets(FewShotDataset):
    """Oxford-IIIT Pet (Parkhi et al., 2012): 37 breeds of cats and dogs."""

    dataset_dir = "oxford_pets"
    image_dir = "images"
    split_name = "split_zhou_OxfordPets.json"
    sizes = (37, 2944, 736, 3669)

    def make_split(self, rng: random.Random) -> Split:
        train, val = split_trainval(self._read(self.folder / "annotations" / "trainval.txt"), rng)
        return Split(train, val, self._read(self.folder / "annotations" / "test.txt"))

    def _read(self, file: Path) -> list[Datum]:
        """Lines "<breed>_<number> <class from 1> <species> <breed number>"."""
        if not file.is_file():
            raise FileNotFoundError(
                f"there is neither {self.folder / self.split_name} nor {file}: add the one or the other"
            )
        items = []
        for name, numbers in read_pairs(file):
            label, breed = int(numbers.split()[0]) - 1, name.rpartition("_")[0].lower()
            items.append(datum(self.images / f"{name}.jpg", label, breed))
        return items
