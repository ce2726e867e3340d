"""Read the annotation files that data sets come with; a missing or damaged one is one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat


def read_lines(file: Path) -> list[str]:
    """Lines of a text file without blank ones and comments."""
    if not file.is_file():
        raise FileNotFoundError(f"there is no {file}: add it, DATASETS.md tells from where")
    lines = [line.strip() for line in read_text(file).splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def read_text(file: Path) -> str:
    """A file in UTF-8, with or without a byte order mark."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not in UTF-8 ({error.reason}): save it anew as UTF-8") from error


def read_pairs(file: Path) -> list[tuple[str, str]]:
    """The first word of each line, and the rest of it."""
    rows = [line.split(None, 1) for line in read_lines(file)]
    for row in rows:
        if len(row) < 2:
            raise ValueError(f"{file} has the line {row[0]!r}, where two words belong: fetch it anew")
    return [(first, rest) for first, rest in rows]


def read_mat(file: Path, key: str) -> np.ndarray[Any, Any]:
    """One array of a MATLAB file, at least one-dimensional; the file's other arrays are not read."""
    if not file.is_file():
        raise FileNotFoundError(f"there is no {file}: add it, DATASETS.md tells from where")
    try:
        return np.atleast_1d(loadmat(file, squeeze_me=True, variable_names=[key])[key])
    except Exception as error:  # SciPy raises many kinds for a damaged file
        raise ValueError(f"{file} holds no {key} that can be read ({error}): fetch it anew") from error


def read_classnames(file: Path) -> dict[str, str]:
    """ImageNet's `classnames.txt`: folder name (wnid) to class name, in the file's order."""
    return dict(read_pairs(file))
