"""CoOp's protocol, from a data set to the task of a run.

split (train, val, test) -> few-shot draw over all classes -> base or new classes, relabelled from 0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..features.images import readable
from ..options import option
from ..task import LabelSpace, Task, base_count
from ..texts import Texts, checked_templates, read_texts, tell_missing
from .base import Dataset
from .fewshot import draw, seeded_generator
from .splits import SUBSETS, Split, for_development, subsample


@dataclass(frozen=True)
class DatasetOptions:
    """Which images and classes of which data set, and the texts of its classes."""

    name: str = ""
    root: str = ""
    num_shots: int = option(-1, least=-1)  # training images a class; -1: all
    # all, base (first half of the sorted labels), new (the rest); gzsl: trained on base, tested on all; dev: base
    # classes alone, their first half playing base, the rest new, tested on images that are not for testing.
    subsample_classes: str = option("all", choices=SUBSETS)
    # Stop the run, or skip: leave the image out of every split, named in the log.
    on_bad_image: str = option("stop", choices=("stop", "skip"))
    template: Any = None  # "a photo of a {}.", or a list whose features are averaged; None: the data set's own
    prompts: str = ""  # a JSON file of texts of each class, {"class name": ["a text", ...]} (CuPL)

    def check(self, where: str) -> None:
        """Refuse no images at all, and templates without a place for the class name."""
        if self.num_shots == 0:
            raise UserError(f"{where}NUM_SHOTS is 0: give -1 for all training images, or how many of each class")
        if self.template is not None:
            checked_templates(self.template, f"{where}TEMPLATE")


def task_of(dataset: Dataset, options: DatasetOptions, seed: int) -> Task:
    """The task of a run on a data set.

    Raises:
        UserError: an unknown subset, or one without classes or images; an image of a class that training does not know.
    """
    subset = options.subsample_classes
    published = dataset.split()
    whole = few_shot(dataset, published, options.num_shots, seed)
    refuse_unknown_labels(dataset, whole)
    if subset == "dev":
        whole = for_development(published, whole)
    split = subsample(whole, subset)
    if not split.train and not split.test:
        raise UserError(
            f"the {subset} classes of {dataset.name} have names but no image, so there is nothing to do with "
            "them alone: choose DATASET.SUBSAMPLE_CLASSES all"
        )
    names = tuple(split.names().values())
    further = tuple(whole.names().values())[whole.base_classes() :] if subset == "base" else ()
    labels = LabelSpace(names, trained_count(split.train), joint_base(subset, len(names), split.n_base), further)
    texts = texts_of(options, dataset.template, labels.known, dataset.folder)
    task = Task(
        dataset.name,
        labels,
        split.train,
        split.val,
        split.test,
        texts,
        subset,
        options.num_shots,
        dataset.upright,
        dataset.mean_over_classes,
        dataset.distinct,
    )
    return without_bad_images(task, options.on_bad_image)


def few_shot(dataset: Dataset, split: Split, shots: int, seed: int) -> Split:
    """`shots` training images a class and at most 4 for validation, the very ones that CoOp picks.

    A few-shot pickle of CoOp's is honoured if there is one. None is written: the picks are a function of
    split, shots and seed. A validation part that is the test part itself (ImageNet's) stays whole.
    """
    if shots < 1:
        return split
    picked = dataset.picked(shots, seed)
    if picked:
        train, val = picked
        return replace(split, train=train, val=split.val if val is None else val)
    print(f"Creating a {shots}-shot dataset")
    rng = seeded_generator(seed)
    train = draw(split.train, shots, rng)
    val = split.val if split.val is split.test else draw(split.val, min(shots, 4), rng)
    return replace(split, train=train, val=val)


def refuse_unknown_labels(dataset: Dataset, split: Split) -> None:
    """Images of a class that training does not know would be counted as wrong without a word."""
    names = split.names()
    for part in ("val", "test"):
        for item in getattr(split, part):
            if item.label not in names:
                raise UserError(
                    f"{dataset.name}: the {part} image {item.impath} is of class {item.label} "
                    f"({item.classname}), of which there is no training image: mend the split file, or remove the "
                    "few-shot file that was read"
                )


def trained_count(train: Sequence) -> int:
    """How many classes, the first ones, have training images."""
    return max((item.label for item in train), default=-1) + 1


def joint_base(subset: str, n_classes: int, n_base: int) -> int:
    """How many classes are base classes where base and new stand together, else 0; n_base 0: half of them."""
    if subset in ("base", "new") or n_classes < 2:
        return 0
    return n_base or base_count(n_classes)


def texts_of(options: DatasetOptions, template: str, names: Sequence[str], folder: Path | None = None) -> Texts:
    """The texts of each class: DATASET.PROMPTS or the folder's prompts.json, else DATASET.TEMPLATE, else the data
    set's."""
    chosen = checked_templates(options.template or template, "DATASET.TEMPLATE")
    file = Path(options.prompts).expanduser() if options.prompts else (folder or Path()) / "prompts.json"
    if not options.prompts and not (folder and file.is_file()):
        return Texts(chosen)
    texts = Texts(chosen, read_texts(file))
    tell_missing(texts, names, file)
    return texts


def without_bad_images(task: Task, on_bad_image: str) -> Task:
    """The task as it is ("stop": reading tells), or without the images that cannot be read ("skip")."""
    if on_bad_image == "stop":
        return task
    parts = {part: readable(task.part(part), part, task.upright) for part in ("train", "val", "test")}
    return replace(task, **parts, whole={part: task.part(part) for part in parts})
