"""What all data sets share: where they lie, and their split into training, validation and test images."""

from __future__ import annotations

import os
import random
from pathlib import Path

from ..errors import MissingFile, UserError
from ..registry import Registry
from ..texts import DEFAULT
from .fewshot import load_coop_pickle
from .splits import Split, load_split, require, save_split

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "ship"  # the user's; no data folder is ever needed

DATASETS: Registry[type[Dataset]] = Registry("data set")


class Dataset:
    """A data set; a subclass is a page: folder, file, and how to split raw annotations.

    Args:
        root: folder of the data sets.

    Attributes:
        dataset_dir: its own folder below the root.
        image_dir: folder of the images, below `dataset_dir`.
        split_name: file name of CoOp's split, below `dataset_dir`; empty if the set has none.
        sizes: (classes, training, validation, test images) that the published set has, for checking.
        template: zero-shot CLIP's prompt (CoOp's choice, after the CLIP paper).
        upright: whether images are turned as their EXIF orientation says (CoOp does not).
        distinct: whether two classes that a backbone cannot tell apart are refused.
        mean_over_classes: whether the field reports accuracy as the mean over classes.
    """

    dataset_dir = ""
    image_dir = ""
    split_name = ""
    sizes: tuple[int, int, int, int] | None = None
    template = DEFAULT
    upright = False
    distinct = False
    mean_over_classes = False

    def __init__(self, root: str | Path):
        self.root = Path(root).expanduser().absolute()
        self.folder = self.root / self.dataset_dir
        self.images = self.folder / self.image_dir

    @property
    def name(self) -> str:
        return type(self).__name__

    def split(self) -> Split:
        """The whole split.

        Raises:
            MissingFile, UserError: missing folder or images, damaged annotations; one sentence each.
        """
        self.prepare()
        for needed in (self.folder, self.images):
            if not needed.is_dir():
                raise MissingFile(
                    f"{self.name} is looked for in {needed}, which is not there: put it under --root "
                    f"({self.root}) as DATASETS.md describes, or give another --root"
                )
        try:
            return self.read_split()
        except UserError:
            raise
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(
                f"an annotation file of {self.name} in {self.folder} is damaged, or belongs to others "
                f"({reason}): fetch them anew, DATASETS.md tells from where"
            ) from error

    # -- what a subclass defines ------------------------------------------------------------------------

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

    def picked(self, shots: int, seed: int) -> list | None:
        """The training and validation images of a few-shot pickle of CoOp's, if there is one."""
        file = self.folder / "split_fewshot" / f"shot_{shots}-seed_{seed}.pkl"
        return load_coop_pickle(file, self.folder) if file.is_file() else None
