from __future__ import annotations

import random
import re

from ..task import Item
from .annotations import read_lines, read_pairs
from .base import DATASETS, Dataset
from .splits import Split, split_trainval


@DATASETS.register
class UCF101(Dataset):
    """UCF101 (Soomro et al., 2012): actions, the middle frame of each video, the first official split."""

    dataset_dir = "ucf101"
    image_dir = "UCF-101-midframes"
    split_name = "split_zhou_UCF101.json"
    sizes = (101, 7639, 1898, 3783)
    template = "a photo of a person doing {}."

    def make_split(self, rng: random.Random) -> Split:
        lists = self.folder / "ucfTrainTestlist"
        label = {action: int(number) - 1 for number, action in read_pairs(lists / "classInd.txt")}
        train, val = split_trainval(self._read(read_lines(lists / "trainlist01.txt"), label), rng)
        return Split(train, val, self._read(read_lines(lists / "testlist01.txt"), label))

    def _read(self, lines: list[str], label: dict[str, int]) -> list[Item]:
        """Lines "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi [1]"; that class is "Apply_Eye_Makeup"."""
        items = []
        for line in lines:
            action, video = line.split()[0].split("/")
            name = "_".join(re.findall("[A-Z][^A-Z]*", action))
            items.append(Item(self.images / name / video.replace(".avi", ".jpg"), label[action], name))
        return items
