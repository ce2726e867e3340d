"""A world that can be rendered: things of 6 colours, 6 textures and 12 shapes, on 64 x 64 images.

A texture and a shape together make a *kind*, and every kind has a name of its own, as species have: a striped heart
is a "lep". What a class is called is colour and kind ("red lep"); that a lep is a striped heart, captions tell as
well. Names of kinds are invented and say nothing by themselves, so a classifier has them from pre-training or not at
all: as with the breeds, flowers and aircraft of CLIP's benchmarks, no noun of a new class occurs among the base
classes, while what can be seen, colours, textures and shapes, is shared by both halves to the count.

Of the 432 combinations 72 are the downstream data set, one of each kind, and 36 others a second world, the source of
transfer experiments. MiniCLIP has seen them all in pre-training, as CLIP has seen its benchmarks' classes, but
nothing in the light that the downstream images are in (`SHIFTED`). (Held out, they would be classes of which a tower
learns that they are never seen: of a shape among those that its colour and texture leave open, it then guesses any
but the right one.)
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image

from .drawing import paint
from .scene import SHIFTED, WEB, Scene, Style, draw

# hue (turns), saturation, value
COLOURS = {
    "red": (0 / 6, 0.88, 0.90),
    "yellow": (1 / 6, 0.88, 0.90),
    "green": (2 / 6, 0.88, 0.90),
    "cyan": (3 / 6, 0.88, 0.90),
    "blue": (4 / 6, 0.88, 0.90),
    "magenta": (5 / 6, 0.88, 0.90),
}
SHAPES = (
    "circle",
    "square",
    "triangle",
    "star",
    "heart",
    "cross",
    "ring",
    "flower",
    "diamond",
    "crescent",
    "arrow",
    "drop",
)
# names of kinds: a row a texture, a column a shape
KINDS = {
    "plain": ["zat", "gub", "kav", "gok", "rul", "soz", "wik", "rif", "zem", "dut", "zok", "toz"],
    "striped": ["zom", "zeg", "vov", "zux", "lep", "buz", "piv", "wob", "kiv", "pev", "nid", "taf"],
    "dotted": ["mav", "pok", "nuz", "peb", "faz", "zus", "nuv", "gim", "goz", "vam", "vof", "kuf"],
    "checkered": ["zop", "wul", "koz", "tuz", "biv", "vek", "mux", "vuf", "kez", "lud", "wev", "geg"],
    "wavy": ["vok", "meb", "teb", "nup", "gom", "kep", "miv", "vaz", "gux", "nef", "mox", "zix"],
    "speckled": ["pib", "duf", "vaf", "bof", "wix", "vul", "niz", "zul", "lof", "kod", "nug", "zuv"],
}
TEXTURES = tuple(KINDS)
SPLITS = {"train": 20, "val": 24, "test": 60}  # downstream images a class


def names_of(colour: int, texture: int, shape: int) -> tuple[str, str]:
    """A class's name and its description: "red lep", "red striped heart"."""
    words = list(COLOURS)[colour], TEXTURES[texture], SHAPES[shape]
    return f"{words[0]} {KINDS[words[1]][shape]}", " ".join(words)


_PLACES = {
    name: (c, t, s)
    for c in range(len(COLOURS))
    for t in range(len(TEXTURES))
    for s in range(len(SHAPES))
    for name in names_of(c, t, s)
}


def attributes(name: str) -> tuple[int, int, int]:
    """Places of a class's colour, texture and shape in COLOURS, TEXTURES and SHAPES, by its name or description."""
    return _PLACES[name]


def shape_of(name: str) -> str:
    return SHAPES[attributes(name)[2]]


def classnames() -> list[str]:
    """All 432 names, colour first."""
    return [names_of(*place)[0] for place in dict.fromkeys(_PLACES.values())]


def downstream_classes() -> list[str]:
    """MiniWorld's 72 classes by label: the first 36 are the base classes, the others the new ones.

    Kinds whose texture and shape have places of equal parity are base, the others new. The colours go round so that
    each half has every colour six times, once with each texture, and every shape three times, in three colours. The
    first 18 base classes share them evenly with the other 18, too (shapes as far as three can be halved): so choosing
    settings on base classes (subset `dev`) is the task in small.
    """
    base, new = [], []
    for t in range(len(TEXTURES)):
        for s in range(len(SHAPES)):
            if (t + s) % 2 == 0:
                playing_new = (s // 2 + t // 2) % 2
                base.append((playing_new, t, s, (s // 2 + t) % 6))
            else:
                new.append((0, t, s, (s // 2 + t + 3) % 6))
    return [names_of(c, t, s)[0] for _, t, s, c in [*sorted(base), *sorted(new)]]


def apart_classes() -> list[str]:
    """The same classes in the order of their names: blue, cyan and green are base classes, the other colours new."""
    return sorted(downstream_classes())


def source_classes() -> list[str]:
    """The second world's 36 classes: none of the downstream ones; half of their kinds are base."""
    colour_of = {attributes(name)[1:]: attributes(name)[0] for name in downstream_classes()}
    kinds = [(t, s) for t in range(len(TEXTURES)) for s in range(len(SHAPES)) if (t + s // 2) % 2 == 0]
    return [names_of((colour_of[t, s] + 2 + s % 2) % 6, t, s)[0] for t, s in kinds]


def render(name: str, rng: Generator, style: Style = WEB) -> np.ndarray:
    """One image of a class, uint8, (64, 64, 3)."""
    return picture(name, draw(rng, style), rng)


def picture(name: str, scene: Scene, rng: Generator) -> np.ndarray:
    """The image of a class in a scene, uint8, (64, 64, 3); the grain, which no scene tells, is drawn."""
    colour, texture, shape = attributes(name)
    return paint(scene, list(COLOURS.values())[colour], TEXTURES[texture], SHAPES[shape], rng)


def image_rng(seed: int, name: str, number: int) -> Generator:
    """The random numbers of one image: nothing else shifts them."""
    return np.random.default_rng([seed, number, *name.encode()])


def dataset_files(split: str, names: list[str] | None = None) -> Iterator[tuple[str, str, int]]:
    """(path below images/, class name, label) of a split, of the downstream classes unless others are named."""
    start = {"train": 0, "val": SPLITS["train"], "test": SPLITS["train"] + SPLITS["val"]}[split]
    for label, name in enumerate(names or downstream_classes()):
        for number in range(start, start + SPLITS[split]):
            yield f"{name.replace(' ', '_')}/{split}_{number:04d}.png", name, label


def render_dataset(folder: Path, seed: int = 0, style: Style = SHIFTED, names: list[str] | None = None) -> None:
    """Write a data set, of the downstream classes unless others are named, to `folder`/images, whole or not at all.

    The test images come from another seed stream than the training and validation images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".rendering-", dir=folder))
    try:
        for split in SPLITS:
            for path, name, _ in dataset_files(split, names):
                number = int(path[-8:-4])
                file = temporary / path
                file.parent.mkdir(exist_ok=True)
                pixels = render(name, image_rng(seed + (split == "test"), name, number), style)
                Image.fromarray(pixels).save(file, compress_level=1)
        temporary.chmod(0o755)
        try:
            temporary.rename(folder / "images")
        except OSError:
            # Another process was first, with the same images: possible on a file system without locks alone.
            if not (folder / "images").is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
