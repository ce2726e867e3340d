"""What all data sets share: CoOp's protocol from a split file to the images of a run.

split (train, val, test) -> few-shot draw over all classes -> base or new classes, relabelled from 0
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from dassl.data.datasets import DatasetBase

from .fewshot import draw, load_coop_pickle, seeded_generator
from .splits import Split, for_development, load_split, require, save_split, subsample

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "ship"  # the user's; no data folder is ever needed


class FewShotDataset(DatasetBase):
    """A data set; a subclass is a page: folder, file, and how to split raw annotations.

    Attributes:
        dataset_dir: folder under DATASET.ROOT.
        image_dir: folder of the images, below `dataset_dir`.
        split_name: file name of CoOp's split, below `dataset_dir`; empty if the set has none.
        sizes: (classes, training, validation, test images) that the published set has, for checking.
        upright: whether images are turned as their EXIF orientation says (CoOp does not).
        mean_over_classes: whether the field reports accuracy as the mean over classes.
        n_base: of SUBSAMPLE_CLASSES all, gzsl and dev, how many classes, the first ones, are base classes.
        new_classnames: of SUBSAMPLE_CLASSES base, the names of the classes that are kept for testing.
        test_only: whether there is no training image; Dassl then sees the test images as `train_x`, as in CoOp.

    Raises:
        FileNotFoundError, ValueError: missing folder or images, damaged split, unknown subset; one sentence each.
    """

    dataset_dir = ""
    image_dir = ""
    split_name = ""
    sizes: tuple[int, int, int, int] | None = None
    upright = False
    mean_over_classes = False

    def __init__(self, cfg: Any):
        self.cfg = cfg
        self.root = Path(cfg.DATASET.ROOT).expanduser().absolute()
        self.folder = self.root / self.dataset_dir
        self.images = self.folder / self.image_dir
        self.prepare()
        for needed in (self.folder, self.images):
            if not needed.is_dir():
                raise FileNotFoundError(
                    f"{cfg.DATASET.NAME} is looked for in {needed}, which is not there: put it under --root "
                    f"({self.root}) as DATASETS.md describes, or give another --root"
                )
        published, subset = self._read_split(), cfg.DATASET.SUBSAMPLE_CLASSES
        whole = self.few_shot(published, cfg.DATASET.NUM_SHOTS, cfg.SEED)
        self._refuse_unknown_labels(whole)
        if subset == "dev":
            whole = for_development(published, whole)
        split = subsample(whole, subset)
        self._names = list(split.names().values())
        self.n_base = (split.n_base or whole.base_classes()) if subset in ("all", "gzsl", "dev") else 0
        self.new_classnames = list(whole.names().values())[whole.base_classes() :] if subset == "base" else []
        self.test_only = not split.train
        if not split.train and not split.test:
            raise ValueError(
                f"the {subset} classes of {cfg.DATASET.NAME} have names but no image, so there is nothing to do with "
                "them alone: choose DATASET.SUBSAMPLE_CLASSES all"
            )
        super().__init__(train_x=split.train or split.test, val=split.val, test=split.test)

    def _read_split(self) -> Split:
        """The whole split; annotation files that contradict each other are one sentence."""
        try:
            return self.read_split()
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            if str(self.root) in str(error):
                raise  # it names the file
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ValueError(
                f"an annotation file of {self.cfg.DATASET.NAME} in {self.folder} is damaged, or belongs to others "
                f"({reason}): fetch them anew, DATASETS.md tells from where"
            ) from error

    def _refuse_unknown_labels(self, split: Split) -> None:
        """Images of a class that training does not know would be counted as wrong without a word."""
        names = split.names()
        for part in ("val", "test"):
            for item in getattr(split, part):
                if item.label not in names:
                    raise ValueError(
                        f"{self.cfg.DATASET.NAME}: the {part} image {item.impath} is of class {item.label} "
                        f"({item.classname}), of which there is no training image: mend the split file, or remove the "
                        "few-shot file that was read"
                    )

    # Dassl takes the classes from the training images; here some classes have names alone.
    @property
    def classnames(self) -> list[str]:
        return self._names

    @property
    def num_classes(self) -> int:
        return len(self._names)

    @property
    def lab2cname(self) -> dict[int, str]:
        return dict(enumerate(self._names))

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
        flat = str(self.folder).strip(os.sep).replace(os.sep, "-")
        cached = CACHE.expanduser() / "splits" / f"{flat}-{self.split_name}"
        for place in (file, cached):
            if place.is_file():
                return require(load_split(place, self.images))
        split = require(self.make_split(random.Random(0)))
        place = file if os.access(self.folder, os.W_OK) else cached
        try:
            save_split(split, place, self.images)
        except OSError as error:  # it is the same when it is made again
            print(f"The split could not be kept in {place} ({error.strerror}), so it is made anew each time")
        return split

    def few_shot(self, split: Split, shots: int, seed: int) -> Split:
        """`shots` training images a class and at most 4 for validation, the very ones that CoOp picks.

        A few-shot pickle of CoOp's is honoured if there is one. None is written: the picks are a function of
        split, shots and seed. A validation part that is the test part itself (ImageNet's) stays whole.
        """
        if shots < 1:
            return split
        pickled = self.folder / "split_fewshot" / f"shot_{shots}-seed_{seed}.pkl"
        if pickled.is_file():
            train, val = load_coop_pickle(pickled, self.folder)
            return replace(split, train=train, val=split.val if val is None else val)
        print(f"Creating a {shots}-shot dataset")
        rng = seeded_generator(seed)
        train = draw(split.train, shots, rng)
        val = split.val if split.val is split.test else draw(split.val, min(shots, 4), rng)
        return replace(split, train=train, val=val)
