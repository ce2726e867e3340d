from __future__ import annotations

import random
from pathlib import Path

from ..task import Item
from .annotations import read_mat
from .base import DATASETS, Dataset
from .splits import Split, split_trainval


@DATASETS.register
class StanfordCars(Dataset):
    """Stanford Cars (Krause et al., 2013): 196 makes, models and years."""

    dataset_dir = "stanford_cars"
    image_dir = ""  # paths in the split file begin with cars_train or cars_test
    split_name = "split_zhou_StanfordCars.json"
    sizes = (196, 6509, 1635, 8041)

    def make_split(self, rng: random.Random) -> Split:
        devkit = self.folder / "devkit"
        names = [_year_first(str(name)) for name in read_mat(devkit / "cars_meta.mat", "class_names")]
        trainval = self._read("cars_train", devkit / "cars_train_annos.mat", names)
        test = self._read("cars_test", self.folder / "cars_test_annos_withlabels.mat", names)
        train, val = split_trainval(trainval, rng)
        return Split(train, val, test)

    def _read(self, folder: str, file: Path, names: list[str]) -> list[Item]:
        items = []
        for row in read_mat(file, "annotations"):
            label = int(row["class"]) - 1
            items.append(Item(self.folder / folder / str(row["fname"]), label, names[label]))
        return items


def _year_first(name: str) -> str:
    model, _, year = name.rpartition(" ")
    return f"{year} {model}"
