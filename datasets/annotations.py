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
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


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
    return dict(line.split(" ", 1) for line in read_lines(file))
