"""Splits: CoOp's JSON files, the two rules they are made by, and base and new classes."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import MissingFile, UserError
from ..files import read_json, write_json
from ..names import plain, refuse_twins
from ..options import shown
from ..task import Item, base_count

SUBSETS = ("all", "base", "new", "gzsl", "dev")
TRAIN_SHARE, VAL_SHARE = 0.5, 0.2  # of a class, where there is no official split
VAL_OF_TRAINVAL = 0.2


@dataclass(frozen=True)
class Split:
    """Images for training, validation and test, and the classes they are of.

    Attributes:
        train, val, test: the images.
        classnames: names by label, base classes first; empty: those of the training images.
        n_base: how many of the classes are base classes; 0: the first half of them (CoCoOp's protocol).
    """

    train: list[Item]
    val: list[Item]
    test: list[Item]
    classnames: tuple[str, ...] = ()
    n_base: int = 0

    def parts(self) -> dict[str, list[Item]]:
        return {"train": self.train, "val": self.val, "test": self.test}

    def names(self) -> dict[int, str]:
        """Label to name, in order of labels."""
        if self.classnames:
            return dict(enumerate(self.classnames))
        found = {item.label: item.classname for item in self.train or self.test}
        return {label: found[label] for label in sorted(found)}

    def base_classes(self) -> int:
        """How many classes, the first ones, are base classes: n_base, or half of them."""
        return self.n_base or base_count(len(self.names()))


class MissingImages(MissingFile):
    """Images of a split that are not there.

    Attributes:
        split: the whole split.
        gone: those of its images that are missing.
    """

    def __init__(self, split: Split, gone: list[Item]):
        more = f" (nor are {len(gone) - 1:,} more)" if len(gone) > 1 else ""
        super().__init__(
            f"there is no image {gone[0].impath}{more}: the data folder lacks what its lists name; "
            "python -m datasets.check lists all that is missing"
        )
        self.split, self.gone = split, gone


def require(split: Split) -> Split:
    """The split, if all its images are there; else MissingImages."""
    gone = [item for items in split.parts().values() for item in items if not os.path.isfile(item.impath)]
    if gone:
        raise MissingImages(split, gone)
    return split


def load_split(file: Path, images: Path) -> Split:
    """Read a split JSON: lists of [path below `images`, label, class name] under train, val and test.

    Raises:
        UserError: damaged or inconsistent, naming the file and the entry.
    """
    print(f"Reading split from {file}")
    rows = _rows(file)
    names: dict[int, str] = {}
    seen: dict[str, str] = {}
    twice = []
    for kind, part in rows.items():
        for path, label, name in part:
            if seen.setdefault(path, kind) != kind:
                twice.append(f"{path} ({seen[path]} and {kind})")
            if names.setdefault(label, name) != name:
                raise UserError(f"{file} calls class {label} both {names[label]!r} and {name!r} (at {path}): mend it")
    missing = next((label for label in range(len(names)) if label not in names), None)
    if missing is not None:
        raise UserError(f"{file} has {len(names)} classes, {max(names)} among them, no {missing}: number them from 0")
    refuse_twins([names[label] for label in range(len(names))], file)
    if twice:  # CoOp reads such a file without a word
        print(f"Warning: {file} has {len(twice)} images in two parts, {twice[0]} first: figures on them are no test")
    return Split(
        **{part: [Item(os.path.join(images, p), label, name) for p, label, name in rows[part]] for part in rows}
    )


def _rows(file: Path) -> dict[str, list[tuple[str, int, str]]]:
    """The entries of a split JSON, each of the right kind."""
    wanted = "it must hold train, val and test as lists of [path, label, class name]; remove it to have it made anew"
    content = read_json(file, wanted)
    rows: dict[str, list[tuple[str, int, str]]] = {}
    for part in ("train", "val", "test"):
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise UserError(f"{file} is not a split file (it has no list called {part}): {wanted}")
        rows[part] = []
        for entry in entries:
            kinds = [type(value) for value in entry] if isinstance(entry, list) else []
            if kinds != [str, int, str] or entry[1] < 0 or "\0" in entry[0]:
                raise UserError(f"{file} is not a split file ({part} has the entry {shown(entry)}): {wanted}")
            rows[part].append((entry[0], entry[1], plain(entry[2])))
    return rows


def save_split(split: Split, file: Path, images: Path) -> None:
    """Write a split JSON, whole or not at all."""
    content = {
        part: [[os.path.relpath(item.impath, images), item.label, item.classname] for item in items]
        for part, items in split.parts().items()
    }
    write_json(file, content)
    print(f"Saved split to {file}")


def split_folders(
    images: Path, rng: random.Random, rename: Mapping[str, str] | None = None, ignored: tuple[str, ...] = ()
) -> Split:
    """CoOp's rule for a folder a class: labels by sorted folder name; of each class 50 % train, 20 % val.

    Raises:
        ValueError: a class with too few images to have some in every part.
    """
    folders = [name for name in visible(images) if (images / name).is_dir()]
    groups = [
        [Item(images / folder / file, label, (rename or {}).get(folder, folder)) for file in visible(images / folder)]
        for label, folder in enumerate(name for name in folders if name not in ignored)
    ]
    if not groups:
        raise UserError(f"{images} has no class folders: put one folder of images a class there")
    return split_groups(groups, rng)


def split_groups(groups: Iterable[list[Item]], rng: random.Random) -> Split:
    """CoOp's rule where there is no official split: of each class 50 % train, 20 % val, the rest test.

    Raises:
        ValueError: a class with too few images to have some in every part.
    """
    train, val, test = [], [], []
    for items in groups:
        n_train, n_val = round(len(items) * TRAIN_SHARE), round(len(items) * VAL_SHARE)
        if min(n_train, n_val, len(items) - n_train - n_val) < 1:
            where = f"{os.path.dirname(items[0].impath)}, class {items[0].classname!r}" if items else "a class"
            raise UserError(
                f"{where}, has {len(items)} images, too few for train, val and test: add some, or remove it"
            )
        rng.shuffle(items)
        train += items[:n_train]
        val += items[n_train : n_train + n_val]
        test += items[n_train + n_val :]
    return Split(train, val, test)


def split_trainval(trainval: list[Item], rng: random.Random) -> tuple[list[Item], list[Item]]:
    """CoOp's rule for an official training list: of each class 20 % go to validation."""
    train, val = [], []
    for items in by_label(trainval).values():
        n_val = max(1, round(len(items) * VAL_OF_TRAINVAL))
        rng.shuffle(items)
        val += items[:n_val]
        train += items[n_val:]
    return train, val


def by_label(items: list[Item]) -> dict[int, list[Item]]:
    """Items by label, labels in order of first appearance."""
    groups: dict[int, list[Item]] = {}
    for item in items:
        groups.setdefault(item.label, []).append(item)
    return groups


def subsample(split: Split, subset: str) -> Split:
    """Keep all, base or new classes; the kept ones are relabelled from 0 in sorted order.

    Of "gzsl" all classes are kept, but only base images for training and validation. Of "dev" the base classes are
    kept, their first half as base classes of its own and the rest as new ones.

    Raises:
        ValueError: another subset, or one without classes.
    """
    if subset not in SUBSETS:
        raise UserError(f"DATASET.SUBSAMPLE_CLASSES is {subset!r}: choose one of {', '.join(SUBSETS)}")
    names = split.names()
    labels = list(names)
    if subset == "all" and labels == list(range(len(labels))):
        return split
    n_base = split.base_classes()
    kept = {"base": labels[:n_base], "dev": labels[:n_base], "new": labels[n_base:]}.get(subset, labels)
    seen = base_count(n_base) if subset == "dev" else n_base  # of the kept ones, how many have images to train on
    if not kept:
        raise UserError(
            f"the data set has {len(labels)} base {'class' if len(labels) == 1 else 'classes'} and no other, so none "
            f"is left for DATASET.SUBSAMPLE_CLASSES {subset}"
        )
    if subset != "all":
        print(f"SUBSAMPLE {subset.upper()} CLASSES!")
    place = {label: i for i, label in enumerate(kept)}
    parts = {
        part: [
            Item(item.impath, place[item.label], item.classname, item.domain) for item in items if item.label in place
        ]
        for part, items in split.parts().items()
    }
    if subset in ("gzsl", "dev"):
        for part in ("train", "val"):
            parts[part] = [item for item in parts[part] if item.label < seen]
    joint = seen if subset in ("all", "gzsl", "dev") else 0
    return Split(**parts, classnames=tuple(names[label] for label in kept), n_base=joint)


def for_development(published: Split, drawn: Split) -> Split:
    """A split to choose settings on: no test image is in it.

    Its test part are the validation images and the training images that were not drawn. Of a class that has neither
    (generalized zero-shot sets come without validation images, and all training images are drawn) 20 % of the training
    images are held back, as in CoOp's rule. There is no validation part.

    Raises:
        ValueError: there is one training image a class and no other.
    """
    shown = {item.impath for items in (drawn.train, published.test) for item in items}
    held = [item for item in [*published.val, *published.train] if item.impath not in shown]
    served = {item.label for item in held}
    spare = [item for group in by_label(drawn.train).values() if len(group) > 1 for item in group]
    _, back = split_trainval([item for item in spare if item.label not in served], random.Random(0))
    held += back
    if not held:
        raise UserError(
            "this data set has neither validation images of its own nor more than one training image a class, so there "
            "is nothing to try settings on: raise DATASET.NUM_SHOTS, or add images"
        )
    away = {item.impath for item in back}
    return replace(drawn, train=[item for item in drawn.train if item.impath not in away], val=[], test=held)


def visible(folder: Path) -> list[str]:
    """Sorted names of what is in a folder, without hidden ones."""
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))
