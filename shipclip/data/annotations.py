"""Read the annotation files that data sets come with; a missing or damaged one is one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..errors import MissingFile, UserError
from ..names import plain

WHERE_FROM = "add it, DATASETS.md tells from where"


def read_lines(file: Path, mend: str = WHERE_FROM) -> list[str]:
    """Lines of a text file without blank ones and comments."""
    return [line for _, line in files.read_lines(file, mend)]


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
    """ImageNet's `classnames.txt`: folder name (wnid) to class name, in the file's order. Two classes may have one name
    there (ImageNet has two missiles), a folder may not have two."""
    names: dict[str, str] = {}
    for folder, name in read_pairs(file):
        if folder in names:
            raise UserError(f"{file} names {folder} twice, {names[folder]!r} and {name!r}: keep one of them")
        names[folder] = plain(name)
    return names
