"""A segment: features of some images under some views in one immutable file, in the safetensors format.

It holds `features` (V, n, d) and `images` (n, 16), a digest of each image, and in its metadata the first view's number
and a checksum of everything else. It is read without any library, and nothing in it is executed.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import warnings
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from ..files import replacing, write_text

DTYPES = {"float32": ("F32", np.float32), "float16": ("F16", np.float16)}
BLOCK = 1 << 23  # bytes that are read at once
SUFFIX, NOTE = ".safetensors", ".checked"  # of a segment, and of the note on a large one that it was checked
MAPPED = 1 << 26  # a segment of as many bytes is mapped into memory and never removed; a smaller one is read


class Damaged(ValueError):
    """A segment that is not what was written."""


@dataclass(frozen=True)
class Segment:
    """An open segment.

    Attributes:
        file: its place.
        stamp: identity of the file, see `stamp_of`.
        images: digests, (n, 2), uint64.
        first: number of the first view.
        shape: (V, n, d).
        dtype: of the features on disk.
        offset: of the features in the file, bytes.
    """

    file: Path
    stamp: tuple[int, ...]
    images: np.ndarray = field(repr=False)
    first: int
    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    @cached_property
    def mapping(self) -> mmap.mmap:
        """The file in memory, private to this process: whoever changes a feature does not change the file."""
        with open(self.file, "rb") as stream:
            if not hasattr(mmap, "MAP_PRIVATE"):  # Windows
                return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
            flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0)
            return mmap.mmap(stream.fileno(), 0, flags, mmap.PROT_READ | mmap.PROT_WRITE)

    @cached_property
    def features(self) -> Tensor:
        """(V, n, d) over the mapped file: no copy, nothing is read before it is looked at."""
        kind = torch.float16 if self.dtype == np.float16 else torch.float32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            flat = torch.frombuffer(self.mapping, dtype=kind, count=int(np.prod(self.shape)), offset=self.offset)
        return flat.view(self.shape)

    def rows(self, view: int, rows: np.ndarray) -> np.ndarray:
        """Features of some images under the view of this number, (len(rows), d)."""
        if self.nbytes >= MAPPED:
            found = self.features[view - self.first].numpy()[rows]
            release(self.mapping)
            return found
        low, high = int(rows.min()), int(rows.max()) + 1
        width = self.shape[2] * self.dtype.itemsize
        with open(self.file, "rb", buffering=0) as stream:
            stream.seek(self.offset + ((view - self.first) * self.shape[1] + low) * width)
            data = np.frombuffer(stream.read((high - low) * width), self.dtype)
        return data.reshape(high - low, self.shape[2])[rows - low]


def release(mapping: mmap.mmap | None) -> None:
    """Give the pages of a mapped file back; they come again from the file when they are looked at."""
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def stamp_of(file: str | Path) -> tuple[int, ...]:
    """What changes when a file is replaced or written to."""
    stat = os.stat(file)
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def write_segment(
    file: Path, images: np.ndarray, first: int, n_views: int, dim: int, dtype: str, blocks: Iterable[np.ndarray]
) -> None:
    """Write a segment, whole or not at all.

    Args:
        images: digests, (n, 2), uint64.
        first: number of the first view.
        blocks: the features in order of views, then of images, (*, d) each.

    Raises:
        Unwritable: no room, or no permission, naming the file.
    """
    name, kind = DTYPES[dtype]
    n, size = len(images), n_views * len(images) * dim * np.dtype(kind).itemsize
    head = {
        "__metadata__": {"first": str(first), "checksum": "0" * 8},
        "features": {"dtype": name, "shape": [n_views, n, dim], "data_offsets": [0, size]},
        "images": {"dtype": "U8", "shape": [n, 16], "data_offsets": [size, size + images.nbytes]},
    }
    text = json.dumps(head).encode()
    text += b" " * (-(len(text) + 8) % 64)  # features begin where a processor likes numbers to
    with replacing(file) as temporary, open(temporary, "wb") as stream:
        checksum = _put(stream, struct.pack("<Q", len(text)) + text, 0)
        for block in blocks:
            checksum = _put(stream, np.ascontiguousarray(block, dtype=kind), checksum)
        checksum = _put(stream, np.ascontiguousarray(images), checksum)
        stream.seek(8 + text.index(b"0" * 8))
        stream.write(b"%08x" % checksum)


def _put(stream: BinaryIO, data: bytes | np.ndarray, checksum: int) -> int:
    stream.write(data)
    return zlib.crc32(data, checksum)


def open_segment(file: Path) -> Segment:
    """A segment whose every byte has been held against its checksum; of a large one that is done once after each change
    of the file.

    Raises:
        Damaged: it is not what was written.
        OSError: it cannot be read, or is gone.
    """
    stamp = stamp_of(file)
    with open(file, "rb", buffering=0) as stream:
        try:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > stamp[1]:
                raise Damaged("its head is longer than the file")
            text = stream.read(length)
            head = json.loads(text)
            meta, shape = head["__metadata__"], tuple(head["features"]["shape"])
            dtype = np.dtype(dict(DTYPES.values())[head["features"]["dtype"]])
            size = int(np.prod(shape)) * dtype.itemsize
            if stamp[1] != 8 + length + size + 16 * shape[1]:
                raise Damaged("it has another length")
            at = text.index(meta["checksum"].encode())
            checksum = zlib.crc32(struct.pack("<Q", length) + text[:at] + b"0" * 8 + text[at + 8 :])
            if size < MAPPED or not _is_checked(file, stamp):
                if _checksum(stream, checksum) != int(meta["checksum"], 16):
                    raise Damaged("its checksum is another")
                if size >= MAPPED and stamp_of(file) == stamp:
                    with suppress(OSError):  # a store that is only read
                        write_text(_note(file), json.dumps(stamp))
            stream.seek(8 + length + size)
            images = np.frombuffer(stream.read(16 * shape[1]), np.uint64).reshape(-1, 2)
            return Segment(file, stamp, images, int(meta["first"]), shape, dtype, 8 + length)  # type: ignore[arg-type]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error, RecursionError) as error:
            raise error if isinstance(error, Damaged) else Damaged(f"its head is damaged: {error}") from error


def remove_segment(file: Path) -> None:
    """Take a segment away, whoever has it open."""
    for one in (file, _note(file)):
        one.unlink(missing_ok=True)


def _note(file: Path) -> Path:
    """Where the stamp of a large segment stands that was held against its checksum: reading all of it takes longer than
    all the rest of opening it."""
    return file.with_suffix(NOTE)


def forget(folder: Path, names: set[str]) -> None:
    """Remove the stamps of segments that are gone."""
    for name in names:
        if name.endswith(NOTE) and name.removesuffix(NOTE) + SUFFIX not in names:
            with suppress(OSError):
                (folder / name).unlink()


def _is_checked(file: Path, stamp: tuple[int, ...]) -> bool:
    try:
        return json.loads(_note(file).read_text(encoding="utf-8")) == list(stamp)
    except (OSError, ValueError, RecursionError):
        return False


def _checksum(stream: BinaryIO, checksum: int) -> int:
    """The checksum of the rest of a file, read without mapping it: that would count as this process's memory."""
    buffer = memoryview(bytearray(BLOCK))
    while n := stream.readinto(buffer):  # type: ignore[attr-defined]
        checksum = zlib.crc32(buffer[:n], checksum)
    return checksum
