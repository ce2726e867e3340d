"""Splits: CoOp's JSON files, the two rules they are made by, and base and new classes."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dassl.data.datasets import Datum
from dassl.utils import listdir_nohidden, write_json

SUBSETS = ("all", "base", "new")
TRAIN_SHARE, VAL_SHARE = 0.5, 0.2  # of a class, where there is no official split
VAL_OF_TRAINVAL = 0.2


@dataclass(frozen=True)
class Split:
    """Images for training, validation and test."""

    train: list[Datum]
    val: list[Datum]
    test: list[Datum]

    def parts(self) -> dict[str, list[Datum]]:
        return {"train": self.train, "val": self.val, "test": self.test}


def datum(path: Path, label: int, classname: str) -> Datum:
    """A Datum; a missing image is a FileNotFoundError that names it."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no image {path}: the data folder and its split file do not match")
    return Datum(impath=str(path), label=label, classname=classname)


def load_split(file: Path, images: Path) -> Split:
    """Read a split JSON: lists of [path below `images`, label, class name] under train, val and test.

    Raises:
        ValueError: damaged or inconsistent, naming the file and the entry.
        FileNotFoundError: an image that is not there.
    """
    print(f"Reading split from {file}")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        rows = {
            part: [(str(p), int(label), str(name)) for p, label, name in content[part]]
            for part in ("train", "val", "test")
        }
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{file} is not a split file ({type(error).__name__}: {error}): it must hold train, val and test as lists "
            "of [path, label, class name]; remove it to have it made anew"
        ) from error
    names: dict[int, str] = {}
    for part in rows.values():
        for path, label, name in part:
            if names.setdefault(label, name) != name:
                raise ValueError(f"{file} calls class {label} both {names[label]!r} and {name!r} (at {path}): mend it")
    return Split(**{part: [datum(images / p, label, name) for p, label, name in rows[part]] for part in rows})


def save_split(split: Split, file: Path, images: Path) -> None:
    """Write a split JSON, whole or not at all."""
    content = {
        part: [[os.path.relpath(item.impath, images), item.label, item.classname] for item in items]
        for part, items in split.parts().items()
    }
    write_json(content, str(file))
    print(f"Saved split to {file}")


def split_folders(
    images: Path, rng: random.Random, rename: Mapping[str, str] | None = None, ignored: tuple[str, ...] = ()
) -> Split:
    """CoOp's rule for a folder a class: labels by sorted folder name; of each class 50 % train, 20 % val.

    Raises:
        ValueError: a class with too few images to have some in every part.
    """
    parts: dict[str, list[Datum]] = {"train": [], "val": [], "test": []}
    folders = [name for name in listdir_nohidden(str(images), sort=True) if (images / name).is_dir()]
    for label, folder in enumerate(name for name in folders if name not in ignored):
        name = (rename or {}).get(folder, folder)
        items = [
            datum(images / folder / file, label, name) for file in listdir_nohidden(str(images / folder), sort=True)
        ]
        rng.shuffle(items)
        n_train, n_val = round(len(items) * TRAIN_SHARE), round(len(items) * VAL_SHARE)
        if min(n_train, n_val, len(items) - n_train - n_val) < 1:
            raise ValueError(
                f"{images / folder} has {len(items)} images, too few for train, val and test: add some, or remove it"
            )
        parts["train"] += items[:n_train]
        parts["val"] += items[n_train : n_train + n_val]
        parts["test"] += items[n_train + n_val :]
    if not parts["train"]:
        raise ValueError(f"{images} has no class folders: put one folder of images a class there")
    return Split(**parts)


def split_trainval(trainval: list[Datum], rng: random.Random) -> tuple[list[Datum], list[Datum]]:
    """CoOp's rule for an official training list: of each class 20 % go to validation."""
    train, val = [], []
    for items in by_label(trainval).values():
        n_val = max(1, round(len(items) * VAL_OF_TRAINVAL))
        rng.shuffle(items)
        val += items[:n_val]
        train += items[n_val:]
    return train, val


def by_label(items: list[Datum]) -> dict[int, list[Datum]]:
    """Items by label, labels in order of first appearance."""
    groups: dict[int, list[Datum]] = {}
    for item in items:
        groups.setdefault(item.label, []).append(item)
    return groups


def subsample(split: Split, subset: str) -> Split:
    """Keep all, base or new classes; the kept ones are relabelled from 0 in sorted order.

    Of the n labels in the training list, sorted, the first ceil(n / 2) are base (CoCoOp's protocol).

    Raises:
        ValueError: another subset, or one without classes.
    """
    if subset not in SUBSETS:
        raise ValueError(f"DATASET.SUBSAMPLE_CLASSES is {subset!r}: choose one of {', '.join(SUBSETS)}")
    if subset == "all":
        return split
    print(f"SUBSAMPLE {subset.upper()} CLASSES!")
    labels = sorted({item.label for item in split.train})
    middle = -(-len(labels) // 2)
    kept = labels[:middle] if subset == "base" else labels[middle:]
    if not kept:
        raise ValueError(
            f"the data set has {len(labels)} class, so none is left for DATASET.SUBSAMPLE_CLASSES {subset}"
        )
    place = {label: i for i, label in enumerate(kept)}
    return Split(
        **{
            part: [_relabelled(item, place[item.label]) for item in items if item.label in place]
            for part, items in split.parts().items()
        }
    )


def _relabelled(item: Datum, label: int) -> Datum:
    return Datum(impath=item.impath, label=label, domain=item.domain, classname=item.classname)
