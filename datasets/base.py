"""What all data sets share: CoOp's protocol from a split file to the images of a run.

split (train, val, test) -> few-shot draw over all classes -> base or new classes, relabelled from 0
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

from dassl.data.datasets import DatasetBase

from .fewshot import draw, load_coop_pickle, seeded_generator
from .splits import Split, load_split, save_split, subsample

CACHE = Path("~/.cache/ship/splits")


class FewShotDataset(DatasetBase):
    """A data set with a split file; a subclass is a page: folder, file, and how to split raw annotations.

    Attributes:
        dataset_dir: folder under DATASET.ROOT.
        image_dir: folder of the images, below `dataset_dir`.
        split_name: file name of CoOp's split, below `dataset_dir`.

    Raises:
        FileNotFoundError, ValueError: missing folder, damaged split, unknown subset; one sentence each.
    """

    dataset_dir = ""
    image_dir = ""
    split_name = ""

    def __init__(self, cfg: Any):
        root = Path(cfg.DATASET.ROOT).expanduser().absolute()
        self.folder = root / self.dataset_dir
        self.images = self.folder / self.image_dir
        self.prepare()
        for needed in (self.folder, self.images):
            if not needed.is_dir():
                raise FileNotFoundError(
                    f"{cfg.DATASET.NAME} is looked for in {needed}, which is not there: put it under --root "
                    f"({root}) as its page describes, or give another --root"
                )
        split = self.few_shot(self.read_split(), cfg.DATASET.NUM_SHOTS, cfg.SEED)
        split = subsample(split, cfg.DATASET.SUBSAMPLE_CLASSES)
        super().__init__(train_x=split.train, val=split.val, test=split.test)

    def prepare(self) -> None:
        """Make the folder ready, for data sets that can."""

    def make_split(self, rng: random.Random) -> Split:
        """The split from the raw annotations, by CoOp's rule, where there is no split file."""
        raise NotImplementedError

    def read_split(self) -> Split:
        """The whole split; made once and saved if the file is missing.

        CoOp draws a missing split from the run's own random numbers. Here it is the same on every machine and
        for every seed. In a read-only folder it is kept in the user's cache.
        """
        file = self.folder / self.split_name
        cached = CACHE.expanduser() / f"{str(self.folder).strip(os.sep).replace(os.sep, '-')}-{self.split_name}"
        for place in (file, cached):
            if place.is_file():
                return load_split(place, self.images)
        split = self.make_split(random.Random(0))
        place = file if os.access(self.folder, os.W_OK) else cached
        save_split(split, place, self.images)
        return split

    def few_shot(self, split: Split, shots: int, seed: int) -> Split:
        """`shots` training images a class and at most 4 for validation, the very ones that CoOp picks.

        A few-shot pickle of CoOp's is honoured if there is one. None is written: the picks are a function of
        split, shots and seed.
        """
        if shots < 1:
            return split
        pickled = self.folder / "split_fewshot" / f"shot_{shots}-seed_{seed}.pkl"
        if pickled.is_file():
            train, val = load_coop_pickle(pickled, self.folder)
            return Split(train, split.val if val is None else val, split.test)
        print(f"Creating a {shots}-shot dataset")
        rng = seeded_generator(seed)
        return Split(draw(split.train, shots, rng), draw(split.val, min(shots, 4), rng), split.test)
