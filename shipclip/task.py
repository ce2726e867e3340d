"""What a run is about: images, their classes, and what is known of each class.

The label space is one object. Every rule about base and new classes is written here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .errors import UserError
from .names import same
from .texts import Texts


class Item:
    """An image with its label (Dassl's Datum has the same attributes). The image is a path, or one of PIL's."""

    __slots__ = ("classname", "domain", "impath", "label")

    def __init__(self, impath: Any, label: int, classname: str = "", domain: int = 0):
        self.impath = str(impath) if isinstance(impath, Path) else impath
        self.label, self.classname, self.domain = label, classname, domain


@dataclass(frozen=True)
class LabelSpace:
    """The classes of a run.

    Attributes:
        names: the classes that images are told apart among, by label, base classes first.
        n_trained: how many of them, the first ones, have training images; the others have a name alone.
        n_base: in a joint label space how many, the first ones, are base classes; 0: base or new stand alone.
        further: classes known by name alone that no image here is told apart from (SUBSAMPLE_CLASSES base).
    """

    names: tuple[str, ...]
    n_trained: int
    n_base: int = 0
    further: tuple[str, ...] = ()

    @property
    def trained(self) -> tuple[str, ...]:
        """Names of the classes that have training images."""
        return self.names[: self.n_trained]

    @property
    def by_name(self) -> tuple[str, ...]:
        """Names of the classes that have none: those that SHIP synthesizes features of."""
        return (*self.names[self.n_trained :], *self.further)

    @property
    def known(self) -> tuple[str, ...]:
        """All of them, those with training images first: the label space of SHIP's training."""
        return (*self.trained, *self.by_name)

    def with_names(self, new: Mapping[str, str]) -> LabelSpace:
        """The label space with more classes that are known by name alone; those that are there already stay one.

        Args:
            new: names, and where each stands.

        Raises:
            UserError: a name that CLIP cannot tell from that of a class with images, or of another class.
        """
        known = {same(name): name for name in reversed(self.known)}
        for name, place in new.items():
            other = known.get(same(name))
            if other in self.trained:
                raise UserError(f"{place} names {name!r}, and the class {other!r} has images already: take it out")
            if other not in (None, name):
                raise UserError(f"{place} names {name!r}, which CLIP cannot tell from {other!r}: name them differently")
        return replace(self, further=(*self.further, *(name for name in new if same(name) not in known)))


def base_count(n_classes: int) -> int:
    """How many of n sorted classes are base classes in CoCoOp's protocol: half of them, rounded up."""
    return -(-n_classes // 2)


@dataclass(frozen=True)
class Task:
    """A label space, and the images there are for training, validation and test.

    Attributes:
        dataset: its name.
        labels: the classes.
        train, val, test: images; their labels index `labels.names`.
        texts: of each class, for zero-shot CLIP and whatever is anchored to it.
        subset, shots: of the data set, as the run asked for them.
        upright: whether images are turned as their EXIF orientation says.
        distinct: whether two classes that a backbone cannot tell apart are refused.
        whole: the parts that damaged images were left out of, as they were listed.
        mean_over_classes: whether the field reports accuracy as the mean over classes.
    """

    dataset: str
    labels: LabelSpace
    train: Sequence[Item] = ()
    val: Sequence[Item] = ()
    test: Sequence[Item] = ()
    texts: Texts = field(default_factory=Texts)
    subset: str = "all"
    shots: int = -1
    upright: bool = False
    mean_over_classes: bool = False
    distinct: bool = False
    whole: Mapping[str, Sequence[Item]] = field(default_factory=dict)

    def part(self, split: str) -> Sequence[Item]:
        return {"train": self.train, "val": self.val, "test": self.test}[split]

    def listed(self, split: str) -> Sequence[Item]:
        """The images of a part before damaged ones were left out."""
        return self.whole.get(split, self.part(split))
