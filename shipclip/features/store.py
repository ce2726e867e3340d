"""The feature store: a folder of segments for one backbone and one preprocessing.

An entry is an image (path, size, time of change) under a view, so any list of images finds what was encoded for
another. Segments are only added, whole or not at all: readers need no lock, writers need none against each other, and
what a killed one leaves is what it had finished.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..backbones.base import Backbone
from . import segment as segments_of
from .pixels import Views
from .segment import SUFFIX, Damaged, Segment, open_segment, stamp_of, write_segment

FOLDER = "encoded"
ROWS = 1 << 14  # images that are copied at once


@lru_cache(maxsize=32)
def open_store(folder: str, dtype: str) -> Store:
    """The store of an absolute folder, one for the whole process: what it has open is held against the files at every
    `refresh`."""
    return Store(Path(folder), dtype)


def store_of(backbone: Backbone, views: Views, cache_dir: str, dtype: str = "float32") -> Store:
    """The store that has these views, up to date; weights, transform, seed and type of numbers are its key."""
    facts = [2, backbone.fingerprint, views.recipe, views.upright, views.random and ["seed", views.seed], dtype]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    store = open_store(str(Path(cache_dir).expanduser().absolute() / FOLDER / key), dtype)
    store.refresh()
    return store


def digests(views: Views) -> np.ndarray | None:
    """What names each image in a store, (N, 2), uint64: path, size and time of change, and of random views the place in
    the list, which their randomness depends on. None: some are no files."""
    out = np.empty((len(views.items), 2), np.uint64)
    for index, item in enumerate(views.items):
        try:
            stat, path = os.stat(item.impath), os.path.abspath(item.impath)
        except (OSError, TypeError, ValueError):
            return None  # reading it will say what is wrong
        text = f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\0{index if views.random else ''}"
        digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()
        out[index] = np.frombuffer(digest, np.uint64)
    return out


@dataclass(frozen=True)
class Places:
    """Where entries are: segment (index, -1: nowhere) and row in it, (V, N) each."""

    segment: np.ndarray
    row: np.ndarray

    @property
    def missing(self) -> np.ndarray:
        return self.segment < 0

    def __getitem__(self, part: tuple[slice, slice]) -> Places:
        return Places(self.segment[part], self.row[part])


class Store:
    """Segments of a folder.

    Args:
        folder: need not be there.
        dtype: float32 or float16, of the features on disk.
    """

    def __init__(self, folder: Path, dtype: str):
        self.folder, self.dtype = folder, dtype
        self.segments: list[Segment] = []
        self._indices: list[_Index] = []

    def refresh(self) -> None:
        """Take in what was written since, and what is gone; a damaged segment is removed with a notice."""
        known = {segment.file.name: segment for segment in self.segments}
        there = []
        with suppress(FileNotFoundError, NotADirectoryError):
            names = {entry.name for entry in os.scandir(self.folder)}
            there = sorted(name for name in names if name.endswith(SUFFIX))
            segments_of.forget(self.folder, names)
        with ThreadPoolExecutor() as pool:  # checksums are made without Python's lock
            found = list(pool.map(lambda name: self._open(name, known.get(name)), there))
        opened = [segment for segment in found if segment is not None]
        opened.sort(key=lambda segment: -segment.nbytes)  # a whole list comes before its parts
        if [s.stamp for s in opened] != [s.stamp for s in self.segments]:
            self.segments, self._indices = opened, []

    def _open(self, name: str, known: Segment | None) -> Segment | None:
        file = self.folder / name
        try:
            if known and known.stamp == stamp_of(file):
                return known
            return open_segment(file)
        except Damaged as error:
            print(f"Note: the features in {file} are damaged ({error}) and will be made anew")
        except OSError:
            return None  # another process has put it together with others
        with suppress(OSError):
            segments_of.remove_segment(file)
        return None

    def find(self, images: np.ndarray, first: int, count: int) -> Places:
        """Where views first ... first + count - 1 of images (N, 2) are."""
        if self.segments and not self._indices:
            groups: dict[tuple[int, int], list[int]] = {}
            for number, segment in enumerate(self.segments):
                groups.setdefault((segment.first, segment.shape[0]), []).append(number)
            self._indices = [_Index(self.segments, *views, numbers) for views, numbers in groups.items()]
        places = Places(np.full((count, len(images)), -1, np.int32), np.zeros((count, len(images)), np.int32))
        for index in self._indices:
            views = range(max(first, index.first), min(first + count, index.first + index.count))
            if views:
                number, row = index.find(images)
            for view in views:
                new = places.missing[view - first] & (number >= 0)
                places.segment[view - first, new], places.row[view - first, new] = number[new], row[new]
        return places

    def whole(self, places: Places, first: int) -> tuple[Segment, slice, slice] | None:
        """The segment of which entries are one block without gaps, its views and its images; None: they lie
        scattered."""
        number, start = int(places.segment[0, 0]), int(places.row[0, 0])
        segment, (count, n) = self.segments[number], places.row.shape
        if count > 1 and n != segment.shape[1]:
            return None
        if (places.segment != number).any() or (places.row != np.arange(start, start + n)).any():
            return None
        return segment, slice(first - segment.first, first - segment.first + count), slice(start, start + n)

    def read(self, places: Places, first: int, out: np.ndarray) -> None:
        """Copy entries into (V, N, d).

        Raises:
            FileNotFoundError: a segment is gone since `refresh`.
        """
        for v, (numbers, rows) in enumerate(zip(places.segment, places.row, strict=True)):
            for number in _numbers(numbers):
                here = numbers == number
                out[v, here] = self.segments[number].rows(first + v, rows[here])

    def add(self, images: np.ndarray, first: int, features: np.ndarray) -> None:
        """Write features (V, n, d) of images (n, 2) as a segment. Raises as `write_segment`."""
        count, _, dim = features.shape
        write_segment(self._file(), images, first, count, dim, self.dtype, features)

    def join(self, images: np.ndarray, places: Places, first: int) -> None:
        """Write scattered entries once more as one segment, to be mapped; small segments that it makes superfluous are
        removed. Raises as `write_segment` and `read`."""
        count, n, dim = *places.row.shape, self.segments[0].shape[2]

        def blocks() -> Iterator[np.ndarray]:
            for v in range(count):
                for start in range(0, n, ROWS):
                    part = places[v : v + 1, start : start + ROWS]
                    block = np.empty((*part.row.shape, dim), segments_of.DTYPES[self.dtype][1])
                    self.read(part, first + v, block)
                    yield block[0]

        write_segment(self._file(), images, first, count, dim, self.dtype, blocks())
        words = np.sort(images[:, 0])
        for segment in [self.segments[number] for number in _numbers(places.segment)]:
            covered = first <= segment.first and segment.first + segment.shape[0] <= first + count
            if covered and segment.nbytes < segments_of.MAPPED and _are_in(segment.images[:, 0], words):
                segments_of.remove_segment(segment.file)
        self.refresh()

    def _file(self) -> Path:
        return self.folder / f"{uuid.uuid4().hex}{SUFFIX}"


def _numbers(segment: np.ndarray) -> np.ndarray:
    """Which segments there are; np.unique hashes, and takes a hundred times as long for a million."""
    return np.flatnonzero(np.bincount(segment.ravel()))


def _are_in(some: np.ndarray, words: np.ndarray) -> bool:
    """Whether all are among the sorted words."""
    at = np.minimum(np.searchsorted(words, some), len(words) - 1)
    return bool((words[at] == some).all())


class _Index:
    """Images of all segments with the same views."""

    def __init__(self, segments: list[Segment], first: int, count: int, numbers: list[int]):
        self.first, self.count = first, count
        images = np.concatenate([segments[number].images for number in numbers])
        order = np.argsort(images[:, 0], kind="stable")  # of equal ones that of the largest segment comes first
        sizes = [segments[number].shape[1] for number in numbers]
        self.images = images[order]
        self.number = np.repeat(np.array(numbers, np.int32), sizes)[order]
        self.row = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])[order]

    def find(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Segment, -1 where there is none, and row of each image, (N,)."""
        words = np.ascontiguousarray(self.images[:, 0])
        at = np.minimum(np.searchsorted(words, images[:, 0]), len(words) - 1)
        hit = (self.images[at] == images).all(axis=1)
        return np.where(hit, self.number[at], -1), self.row[at]
