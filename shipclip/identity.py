"""What a run was made from, in digests, and what has changed since: images, labels, class names, texts, weights.

What is seen of an image: its path below the data root, its size, and its first and last 4 kB (all of a smaller file).
So a root that moves, or is copied without its times of change, stays the same data; an image that is added, removed,
renamed, put under another class or replaced is told, as is the order of a class's images. What is not seen: a change in
the middle of a file that keeps its length (an edited bitmap may do that, a JPEG or PNG that is saved anew does not).

A run looks at the images that it reads: with few shots at those that were drawn, and at the test's.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

from PIL import Image

from . import checkpoints
from .names import numbered
from .task import Item, Task

EDGE = 4096  # bytes at either end of an image that are looked at
BLOCK, FIRST = 10_000, 100  # images whose files are looked at alike, and the first of them, which tell how
AT_HAND = 2e-4  # seconds that a file takes at most which is at hand
THREADS = 8
PARTS = ("train", "val", "test")
Identity = dict[str, Any]


def identity_of(
    task: Task, root: str | Path, backbone: Any, generator: str = "", parts: Sequence[str] = PARTS
) -> Identity:
    """What a run on a task is made from, as plain data.

    Args:
        task: images, labels, class names and texts.
        root: of the data set; paths count from there.
        backbone: its digest counts.
        generator: folder of the run whose generator is taken over, if one is.
        parts: whose images the run reads.

    Returns:
        backbone, texts, generator: a digest each.
        classes: names by label, those with training images first; `further`: those that nothing is told apart from.
        train, val, test: for each label "<images> <digest>".
    """
    prefix = os.path.join(os.path.abspath(os.path.expanduser(root)), "") if root else ""
    place = Path(generator) / "generator"
    taken = checkpoints.find(place) if generator and checkpoints.last_epoch(place) else None  # loading tells what lacks
    return {
        "backbone": backbone.digest,
        "texts": _digest([json.dumps(task.texts.as_data(), sort_keys=True).encode()]),
        "generator": _digest([taken.read_bytes()]) if taken else "",
        "classes": list(task.labels.names),
        "further": list(task.labels.further),
        **{part: _of_classes(task.listed(part), len(task.labels.names), prefix) for part in parts},
    }


def _of_classes(items: Sequence[Item], n_classes: int, prefix: str) -> list[str]:
    """Number and digest of each class's images, in the order that they are listed in."""
    digests = [hashlib.blake2b(digest_size=8) for _ in range(n_classes)]
    counts = [0] * n_classes
    for item, fact in zip(items, _facts_of_all(items, prefix), strict=True):
        digests[item.label].update(fact)
        counts[item.label] += 1
    return [f"{count} {digest.hexdigest()}" if count else "" for count, digest in zip(counts, digests, strict=True)]


def _facts_of_all(items: Sequence[Item], prefix: str) -> Iterator[bytes]:
    """What is seen of each image, in their order: a network drive answers many requests at once, while threads would
    but wait for each other where files are at hand. The first images of each block tell which it is."""
    for start in range(0, len(items), BLOCK):
        images = [item.impath for item in items[start : start + BLOCK]]
        began = time.perf_counter()
        first, rest = [_facts(image, prefix) for image in images[:FIRST]], images[FIRST:]
        at_hand = time.perf_counter() - began < FIRST * AT_HAND
        yield from first
        if at_hand or not rest:
            yield from (_facts(image, prefix) for image in rest)
        else:
            with ThreadPoolExecutor(THREADS) as pool:
                yield from pool.map(_facts, rest, repeat(prefix))


def _facts(image: Any, prefix: str) -> bytes:
    """What is seen of an image."""
    if isinstance(image, Image.Image):
        return _digest([f"{image.mode} {image.size}".encode(), image.tobytes()]).encode()
    path = str(image)
    below = path[len(prefix) :] if prefix and path.startswith(prefix) else path
    name = below.replace(os.sep, "/").encode("utf-8", "surrogateescape")
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            ends = file.read(2 * EDGE) if size <= 2 * EDGE else file.read(EDGE)
            if size > 2 * EDGE:
                file.seek(size - EDGE)
                ends += file.read(EDGE)
    except OSError:  # reading it will say what is wrong
        return name + b"\0\0"
    return b"%s\0%d\0%s" % (name, size, hashlib.blake2b(ends, digest_size=8).digest())


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def summary(identity: Identity) -> str:
    """One digest of all of it, to write beside results."""
    return _digest([json.dumps(identity, sort_keys=True).encode()])


# -- what has changed ---------------------------------------------------------------------------------------


def changes(here: Identity, there: Mapping[str, Any], parts: Sequence[str] = PARTS) -> list[str]:
    """What tells an identity apart from a saved one, as a person would say it; images of these parts count."""
    found = []

    def differs(key: str) -> bool:
        return key in here and key in there and here[key] != there[key]

    if differs("backbone"):
        found.append("the backbone has other weights")
    if differs("generator"):
        found.append("the generator that is taken over is another")
    for key, what in (("classes", "class"), ("further", "class by name")):
        if differs(key):
            found += _names(here[key], there[key], what)
    if differs("texts"):
        found.append("the texts of the classes have changed")
    for part in parts:
        found += _images(here, there, part)
    return found


def _names(here: Sequence[str], there: Any, what: str) -> list[str]:
    if not isinstance(there, list):
        return [f"the {what} names are damaged"]
    added, gone = [n for n in here if n not in there], [n for n in there if n not in here]
    if len(added) == len(gone) == 1 and len(here) == len(there):
        return [f"the {what} {gone[0]!r} is {added[0]!r} now"]
    found = [_listed(f"{{}} {what} more", added, what), _listed(f"{{}} {what} less", gone, what)]
    return [text for text in found if text] or [f"the order of the {what} names has changed"]


def _images(here: Identity, there: Mapping[str, Any], part: str) -> list[str]:
    """Of the classes of both, those whose images differ."""
    saved, names = there.get(part), there.get("classes")
    if part not in here or not isinstance(saved, list) or not isinstance(names, list) or len(saved) != len(names):
        return []
    before = dict(zip(numbered(names), saved, strict=True))
    more: dict[str, int] = {}
    other = []
    for key, now in zip(numbered(here["classes"]), here[part], strict=True):
        if key not in before or now == before[key]:
            continue
        name, difference = key[0], _count(now) - _count(before[key])
        if difference:
            more[name] = difference
        else:
            other.append(name)
    added, removed = {n: d for n, d in more.items() if d > 0}, {n: -d for n, d in more.items() if d < 0}
    found = []
    for some, word in ((added, "more"), (removed, "less")):
        if some:
            total = sum(some.values())
            found.append(f"{total} {part} image{'s' * (total > 1)} {word} (of {_some(list(some))})")
    if other:
        found.append(f"other {part} images of {_some(other)}")
    return found


def _count(entry: Any) -> int:
    head = str(entry).partition(" ")[0]
    return int(head) if head.isdigit() else 0


def _listed(sentence: str, names: Sequence[str], what: str) -> str:
    if not names:
        return ""
    counted = sentence.format(len(names))
    if len(names) > 1:
        counted = counted.replace("class", "classes", 1)
    return f"{counted} ({_some(names)})"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3])
    return shown + (f" and {len(names) - 3} others" if len(names) > 3 else "")
