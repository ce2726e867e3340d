"""Read the annotation files that data sets come with; a missing or damaged one is one sentence."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MissingFile, UserError
from ..files import read_text

WHERE_FROM = "add it, DATASETS.md tells from where"


def read_lines(file: Path, mend: str = WHERE_FROM) -> list[str]:
    """Lines of a text file without blank ones and comments."""
    lines = [line.strip() for line in read_text(file, mend).splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def read_names(file: Path, mend: str = "write a class name a line there") -> list[str]:
    """Class names, a name a line, in the one form of Unicode that does not depend on the file system.

    Raises:
        MissingFile, UserError: not there or empty, or a name twice, naming the file.
    """
    names = [plain(line) for line in read_lines(file, mend)]
    if not names:
        raise UserError(f"{file} holds no class name: write one a line")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"{file} names {twice[0]!r} twice: name each class once")
    return names


def plain(name: str) -> str:
    """A name without blanks around it, composed (NFC)."""
    return unicodedata.normalize("NFC", name.strip())


def read_pairs(file: Path) -> list[tuple[str, str]]:
    """The first word of each line, and the rest of it."""
    rows = [line.split(None, 1) for line in read_lines(file)]
    for row in rows:
        if len(row) < 2:
            raise UserError(f"{file} has the line {row[0]!r}, where two words belong: fetch it anew")
    return [(first, rest) for first, rest in rows]


def read_mat(file: Path, key: str) -> np.ndarray[Any, Any]:
    """One array of a MATLAB file, at least one-dimensional; the file's other arrays are not read."""
    if not file.is_file():
        raise MissingFile(f"there is no {file}: {WHERE_FROM}")
    from scipy.io import loadmat  # slow to import, and few sets need it

    try:
        return np.atleast_1d(loadmat(file, squeeze_me=True, variable_names=[key])[key])
    except Exception as error:  # SciPy raises many kinds for a damaged file
        raise UserError(f"{file} holds no {key} that can be read ({error}): fetch it anew") from error


def read_classnames(file: Path) -> dict[str, str]:
    """ImageNet's `classnames.txt`: folder name (wnid) to class name, in the file's order."""
    return dict(read_pairs(file))
