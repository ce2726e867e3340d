"""List large trees of class folders once: a million paths are remembered in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from ..errors import MissingFile
from ..files import replacing
from . import base

WORTH_KEEPING = 10_000  # files; smaller trees are listed faster than a cache is read


def list_folders(place: Path) -> dict[str, list[str]]:
    """Sorted file names of each folder below `place`, folders sorted; hidden ones are left out.

    A folder whose time of change differs from the remembered one is listed anew. A cache that cannot be read or
    written is done without.
    """
    if not place.is_dir():
        raise MissingFile(f"there is no folder {place}: put the class folders there")
    cache = base.CACHE.expanduser() / "index" / f"{hashlib.sha256(str(place).encode()).hexdigest()[:32]}.json"
    remembered = _read(cache)
    folders = sorted(entry.name for entry in os.scandir(place) if entry.is_dir() and not entry.name.startswith("."))

    def listed(name: str) -> tuple[int, list[str]]:
        time = os.stat(place / name).st_mtime_ns
        known = remembered.get(name)
        if known and known[0] == time:
            return time, known[1]
        with os.scandir(place / name) as entries:
            return time, sorted(entry.name for entry in entries if not entry.name.startswith("."))

    with ThreadPoolExecutor(16) as pool:  # network drives answer many requests at once
        bar = tqdm(pool.map(listed, folders), total=len(folders), desc="Listing folders", delay=2, disable=None)
        found = dict(zip(folders, bar, strict=True))
    changed = found != remembered
    remembered.clear()  # its memory is wanted for the writing
    if changed and sum(len(files) for _, files in found.values()) >= WORTH_KEEPING:
        _write(cache, found)
    return {name: files for name, (_, files) in found.items()}


def _read(cache: Path) -> dict[str, tuple[int, list[str]]]:
    try:
        found = {name: (changed, files) for name, (changed, files) in json.loads(cache.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return {}
    sound = all(isinstance(files, list) and all(isinstance(file, str) for file in files) for _, files in found.values())
    return found if sound else {}


def _write(cache: Path, found: dict[str, tuple[int, list[str]]]) -> None:
    try:
        with replacing(cache) as temporary, open(temporary, "w", encoding="ascii") as out:
            for i, (name, entry) in enumerate(found.items()):  # one by one, not a copy of everything in memory
                out.write(f"{',' if i else '{'}\n{json.dumps(name)}:{json.dumps(entry, separators=(',', ':'))}")
            out.write("}")
    except OSError as error:
        reason = error.strerror
        print(f"Note: the list of folders could not be kept in {cache.parent} ({reason}); it is made anew each time")
