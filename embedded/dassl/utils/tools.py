from __future__ import annotations

import difflib
import json
import os
import os.path as osp
import random
import tarfile
import urllib.request
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image
from tqdm import tqdm

from shipclip import files

__all__ = [
    "check_availability",
    "check_isfile",
    "collect_env_info",
    "download_url",
    "get_most_similar_str_to_a_from_b",
    "listdir_nohidden",
    "mkdir_if_missing",
    "read_image",
    "read_json",
    "set_random_seed",
    "tolist_if_not",
    "write_json",
]


def mkdir_if_missing(dirname: str) -> None:
    os.makedirs(dirname or ".", exist_ok=True)


@contextmanager
def replacing(fpath: str) -> Iterator[str]:
    """A temporary name to write to; renamed to `fpath` at the end, removed if writing fails."""
    with files.replacing(Path(fpath)) as temporary:
        yield str(temporary)


def check_isfile(fpath: str) -> bool:
    """Whether the file exists; warns if not."""
    found = osp.isfile(fpath)
    if not found:
        warnings.warn(f'No file found at "{fpath}"', stacklevel=2)
    return found


def read_json(fpath: str) -> Any:
    with open(fpath, encoding="utf-8") as file:
        return json.load(file)


def write_json(obj: Any, fpath: str) -> None:
    """Write JSON with indent 4, whole or not at all; the folder is made if missing."""
    with replacing(fpath) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(obj, file, indent=4, separators=(",", ": "))


def set_random_seed(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators, on all devices."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class UnreadableImage(OSError):
    """An image that is missing or damaged; a loader's worker wraps it in a traceback, which is taken off here."""

    def __init__(self, message: str):
        super().__init__(message.rpartition("UnreadableImage: ")[2].strip())


def read_image(path: str) -> Image.Image:
    """An image in RGB.

    Raises:
        OSError: missing or damaged, in one sentence with the path.
    """
    if not osp.exists(path):
        raise UnreadableImage(f"there is no image {path}: check the data folder against its split file")
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise UnreadableImage(
            f"the image {path} cannot be read ({reason}): replace it, or take it out of the split"
        ) from error


def collect_env_info() -> str:
    """torch's report on the machine, and Pillow's version."""
    from torch.utils.collect_env import get_pretty_env_info

    return f"{get_pretty_env_info()}\n        Pillow ({PIL.__version__})"


def listdir_nohidden(path: str, sort: bool = False) -> list[str]:
    """Names in a folder that do not start with a dot, in the file system's order unless sorted."""
    names = [name for name in os.listdir(path) if not name.startswith(".")]
    return sorted(names) if sort else names


def get_most_similar_str_to_a_from_b(a: str, b: list[str]) -> str | None:
    near = difflib.get_close_matches(a, list(b), n=1, cutoff=0.0)
    return near[0] if near else None


def check_availability(requested: str, available: list[str], key: str = "the choice") -> None:
    """ValueError with the config key, the choices and the nearest spelling if a name is not among them."""
    if requested not in available:
        guess = get_most_similar_str_to_a_from_b(requested, available)
        hint = f"; did you mean {guess}?" if guess else ""
        raise ValueError(f"{key} is {requested!r}: choose one of {', '.join(available)}{hint}")


def tolist_if_not(x: Any) -> list:
    return x if isinstance(x, list) else [x]


def download_url(url: str, dst: str, from_gdrive: bool = True) -> None:
    """Fetch a file, whole or not at all; from Google Drive with the package gdown, if it is installed."""
    with replacing(dst) as temporary:
        if from_gdrive and "drive.google" in url:
            try:
                import gdown
            except ImportError as error:
                raise ImportError(
                    f"{url} needs a package: pip install gdown, or put the file at {dst} by hand"
                ) from error
            gdown.download(url, temporary, quiet=False)
            return
        with _open_url(url, dst) as source, open(temporary, "wb") as file:
            size = int(source.headers.get("Content-Length") or 0)
            with tqdm(total=size or None, unit="B", unit_scale=True, disable=None, desc=osp.basename(dst)) as bar:
                while block := source.read(1 << 20):
                    file.write(block)
                    bar.update(len(block))


def _open_url(url: str, dst: str):
    try:
        return urllib.request.urlopen(url)
    except OSError as error:
        raise OSError(f"{url} cannot be fetched ({error}): put the file at {dst} by hand") from error


def extract_archive(file: str, folder: str) -> None:
    """Unpack a .zip or .tar(.gz) archive; members may not leave the folder."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            archive.extractall(folder)
    elif tarfile.is_tarfile(file):
        with tarfile.open(file) as archive:
            archive.extractall(folder, filter="data")
    else:
        raise ValueError(f"{file} is neither a zip nor a tar archive: unpack it by hand")
