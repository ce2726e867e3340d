"""Few-shot draws that pick the very images CoOp picks, and CoOp's own few-shot pickles."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path
from typing import Any

from ..errors import MissingFile, UserError
from ..task import Item
from .splits import by_label


def seeded_generator(seed: int) -> random.Random:
    """CoOp's stream of random numbers: the standard library's, from the run's seed; unseeded below 0."""
    return random.Random(seed) if seed >= 0 else random.Random()


def draw(items: list[Item], shots: int, rng: random.Random) -> list[Item]:
    """`shots` items a class, classes in order of first appearance; a class with fewer gives all of them."""
    drawn: list[Item] = []
    for group in by_label(items).values():
        drawn += rng.sample(group, shots) if len(group) >= shots else group
    return drawn


def load_coop_pickle(file: Path, folder: Path, parts: tuple[str, ...] = ("train", "val")) -> list[list[Item] | None]:
    """The lists of a pickle of CoOp's: few-shot picks, or ImageNet's whole index; None for a part that it lacks.

    Nothing but Dassl's Datum and plain containers is admitted. Paths of a data root that has moved since are looked
    for below `folder`.

    Raises:
        ValueError: a file with anything else in it, or a damaged one.
        FileNotFoundError: an image that is neither at its path nor below the folder.
    """
    print(f"Loading preprocessed few-shot data from {file}")
    try:
        with open(file, "rb") as stream:
            content = _Unpickler(stream).load()
        if not content[parts[0]]:
            raise UserError(f"it holds no {parts[0]} images")
        return [part and _rooted(part, folder, file) for part in map(content.get, parts)]
    except MissingFile:
        raise
    except Exception as error:  # damaged bytes make the unpickler raise nearly anything
        raise UserError(f"{file} is not a file of CoOp's ({error}): remove it, and the picks are drawn anew") from error


class _Datum:
    """Takes the state of Dassl's Datum from a pickle."""

    _impath, _label, _domain, _classname = "", 0, 0, ""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("dassl.data.datasets.base_dataset", "Datum"):
            return _Datum
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is not admitted")


def _rooted(items: list[_Datum], folder: Path, file: Path) -> list[Item]:
    """The items under `folder` if they are not where they were when the file was written."""
    out = []
    for item in items:
        path = item._impath
        if not os.path.isfile(path):
            path = os.path.join(folder, path.replace("\\", "/").rpartition(f"/{folder.name}/")[2])
            if not os.path.isfile(path):
                raise MissingFile(f"{file} picks {item._impath}, which is not there: remove the file to draw anew")
        out.append(Item(path, item._label, item._classname, item._domain))
    return out
