"""Few-shot draws that pick the very images CoOp picks, and CoOp's own few-shot pickles."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path
from typing import Any

from dassl.data.datasets import Datum

from .splits import by_label


def seeded_generator(seed: int) -> random.Random:
    """CoOp's stream of random numbers: the standard library's, from the run's seed; unseeded below 0."""
    return random.Random(seed) if seed >= 0 else random.Random()


def draw(items: list[Datum], shots: int, rng: random.Random) -> list[Datum]:
    """`shots` items a class, classes in order of first appearance; a class with fewer gives all of them."""
    drawn: list[Datum] = []
    for group in by_label(items).values():
        drawn += rng.sample(group, shots) if len(group) >= shots else group
    return drawn


def load_coop_pickle(file: Path, folder: Path) -> tuple[list[Datum], list[Datum] | None]:
    """Train and validation picks of a few-shot pickle; some data sets' hold no validation part.

    Nothing but Datum and plain containers is admitted. Paths of a data root that has moved since are looked
    for below `folder`.

    Raises:
        ValueError: a file with anything else in it, or a damaged one.
        FileNotFoundError: an image that is neither at its path nor below the folder.
    """
    print(f"Loading preprocessed few-shot data from {file}")
    try:
        with open(file, "rb") as stream:
            content = _Unpickler(stream).load()
        parts = [content["train"], content.get("val")]
        return tuple(part and [_rooted(item, folder, file) for item in part] for part in parts)
    except (
        pickle.UnpicklingError,
        EOFError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        ValueError,
    ) as error:
        raise ValueError(
            f"{file} is not a few-shot file of CoOp's ({error}): remove it, and the picks are drawn anew"
        ) from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("dassl.data.datasets.base_dataset", "Datum"):
            return Datum
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is not admitted")


def _rooted(item: Datum, folder: Path, file: Path) -> Datum:
    path = item.impath
    if not os.path.isfile(path):
        below = path.replace("\\", "/").rpartition(f"/{folder.name}/")[2]
        path = str(folder / below)
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{file} picks {item.impath}, which is not there: remove the file to draw anew")
    return Datum(impath=path, label=item.label, domain=item.domain, classname=item.classname)
