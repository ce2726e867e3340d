"""A world that can be rendered: classes "{colour} {texture} {shape}" on 64 x 64 images.

10 colours x 6 textures x 12 shapes make 720 classes. Forty of them, balanced over the attributes, are the
downstream data set and never shown in MiniCLIP's pre-training; each of their words is. Forty others are a second
world, the source of transfer experiments. A `Style` says how images look: `CLEAN` for pre-training, `SHIFTED`
downstream, `SOURCE` in the second world. The shifts of hue, saturation and tone are systematic, so tuning can learn
them. An image is a function of (seed, class, number, style).
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image

from .drawing import SIZE, grid, ink_of, mask_of, rgb

# hue (turns), saturation, value
COLOURS = {
    "red": (0.00, 0.90, 0.90),
    "orange": (0.075, 0.90, 0.95),
    "yellow": (0.15, 0.90, 0.95),
    "green": (0.33, 0.85, 0.70),
    "cyan": (0.50, 0.80, 0.90),
    "blue": (0.62, 0.85, 0.90),
    "purple": (0.76, 0.75, 0.75),
    "pink": (0.92, 0.45, 0.98),
    "brown": (0.065, 0.70, 0.48),
    "gray": (0.00, 0.00, 0.58),
}
TEXTURES = ("plain", "striped", "dotted", "checkered", "wavy", "speckled")
SHAPES = (
    "circle",
    "square",
    "triangle",
    "star",
    "heart",
    "cross",
    "ring",
    "pentagon",
    "diamond",
    "crescent",
    "arrow",
    "oval",
)
SPLITS = {"train": 24, "val": 8, "test": 30}  # downstream images a class


@dataclass(frozen=True)
class Style:
    """How images look. Ranges are (low, high); angles in radians, lengths relative to half the image side."""

    radius: tuple[float, float] = (0.50, 0.85)
    tilt: float = 0.35  # up to this, either way
    gradient: float = 0.0  # strength of the background's gradient
    clutter: tuple[int, int] = (1, 3)  # small shapes behind the object ...
    clutter_rate: float = 0.12  # ... in this share of the images
    bar_rate: float = 0.0  # share of images with a bar in front of the object
    hue: float = 0.0  # rotation of all hues
    hue_jitter: float = 0.08
    saturation: float = 1.0
    warmth: float = 0.0  # red up, blue down
    gamma: float = 1.0
    light: float = 0.12  # brightness varies by this share
    noise: float = 0.02  # standard deviation, of values in 0 ... 1
    noise_rate: float = 0.3
    period: float = 1.0  # of the textures, relative to pre-training's


CLEAN = Style()
SHIFTED = Style(
    tilt=0.6,
    gradient=0.5,
    clutter=(3, 7),
    clutter_rate=1.0,
    bar_rate=0.25,
    hue=-0.3,
    hue_jitter=0.1,
    saturation=0.75,
    warmth=0.08,
    gamma=1.2,
    period=1.35,
)
SOURCE = Style(
    tilt=0.5,
    gradient=0.4,
    clutter=(2, 5),
    clutter_rate=1.0,
    bar_rate=0.15,
    hue=0.2,
    hue_jitter=0.1,
    saturation=0.85,
    warmth=-0.06,
    gamma=0.85,
    period=0.85,
)


def classnames() -> list[str]:
    """All 720 names, colour first."""
    return [f"{c} {t} {s}" for c in COLOURS for t in TEXTURES for s in SHAPES]


def downstream_classes() -> list[str]:
    """The 40 held-out names, sorted: four a colour, and textures and shapes as even as can be.

    Sorted names start with their colour, so the first and the second half (base and new) share no colour.
    """
    return _four_a_colour(0, 0)


def source_classes() -> list[str]:
    """The second world's 40 names, sorted: none of them is a downstream class. Pre-training has shown them."""
    return _four_a_colour(3, 7)


def _four_a_colour(texture: int, shape: int) -> list[str]:
    names = []
    for i, colour in enumerate(COLOURS):
        for j in range(4):
            k = 4 * i + j
            names.append(f"{colour} {TEXTURES[(k + i + texture) % 6]} {SHAPES[(5 * k + i // 3 + shape) % 12]}")
    return sorted(names)


def render(name: str, rng: Generator, style: Style = CLEAN) -> np.ndarray:
    """One image of a class, uint8, (64, 64, 3)."""
    colour, texture, shape = name.split()
    image = _background(rng, style)
    if rng.random() < style.clutter_rate:
        for _ in range(rng.integers(style.clutter[0], style.clutter[1] + 1)):
            _paint_clutter(image, rng)
    _paint_object(image, colour, texture, shape, rng, style)
    if rng.random() < style.bar_rate:
        _paint_bar(image, rng)
    return _develop(image, rng, style)


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
            if not (folder / "images").is_dir():  # else another process was first, with the same images
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


# -- painting: images are float arrays (64, 64, 3), values in 0 ... 1 -----------------------------------------


def _background(rng: Generator, style: Style) -> np.ndarray:
    tone = rng.uniform(0.1, 0.95) + rng.uniform(-0.06, 0.06, 3)
    image = np.broadcast_to(tone, (SIZE, SIZE, 3)).copy()
    if style.gradient:
        angle, strength = rng.uniform(0, 2 * math.pi), rng.uniform(0, style.gradient)
        x, y = grid()
        ramp = (math.cos(angle) * x + math.sin(angle) * y) * strength / 2
        image += ramp[..., None] * rng.uniform(0.5, 1.0, 3)
    return image.clip(0, 1)


def _paint_object(image: np.ndarray, colour: str, texture: str, shape: str, rng: Generator, style: Style) -> None:
    radius = rng.uniform(*style.radius)
    tilt = rng.uniform(-style.tilt, style.tilt)
    slack = max(0.0, 0.95 - radius)
    cx, cy = rng.uniform(-slack, slack, 2)
    mask = mask_of(shape, cx, cy, radius, tilt)
    hue, saturation, value = COLOURS[colour]
    hue += rng.normal(0, style.hue_jitter / (4 * math.pi))
    value *= rng.uniform(0.92, 1.08)
    light = rgb(hue, saturation, min(value, 1.0))
    dark = light * 0.35
    x, y = grid()
    u = (math.cos(tilt) * (x - cx) + math.sin(tilt) * (y - cy)) / style.period
    v = (-math.sin(tilt) * (x - cx) + math.cos(tilt) * (y - cy)) / style.period
    ink = ink_of(texture, u, v, rng)[..., None]
    paint = light * (1 - ink) + dark * ink
    image += mask[..., None] * (paint - image)


def _paint_clutter(image: np.ndarray, rng: Generator) -> None:
    shape = SHAPES[rng.integers(len(SHAPES))]
    cx, cy = rng.uniform(-1, 1, 2)
    mask = mask_of(shape, cx, cy, rng.uniform(0.08, 0.2), rng.uniform(0, 2 * math.pi))
    paint = rgb(rng.random(), rng.uniform(0, 0.9), rng.uniform(0.3, 1.0))
    image += 0.8 * mask[..., None] * (paint - image)


def _paint_bar(image: np.ndarray, rng: Generator) -> None:
    angle, offset, width = rng.uniform(0, math.pi), rng.uniform(-0.5, 0.5), rng.uniform(0.06, 0.14)
    x, y = grid()
    distance = np.abs(math.cos(angle) * x + math.sin(angle) * y - offset)
    mask = ((width - distance) * SIZE / 2 + 0.5).clip(0, 1)
    image += mask[..., None] * (rng.uniform(0.1, 0.9) - image)


def _develop(image: np.ndarray, rng: Generator, style: Style) -> np.ndarray:
    """Light, then the style's colour shifts and noise, to uint8."""
    image = image * (1 + rng.uniform(-style.light, style.light))
    angle = style.hue + rng.normal(0, style.hue_jitter) * (style.hue != 0)
    image = image @ _colour_matrix(angle, style.saturation).T
    image = image * np.array([1 + style.warmth, 1.0, 1 - style.warmth])
    image = image.clip(0, 1) ** style.gamma
    if rng.random() < style.noise_rate:
        image = image + rng.normal(0, style.noise, image.shape)
    return (image.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _colour_matrix(angle: float, saturation: float) -> np.ndarray:
    """Rotate colours about the grey axis and scale their distance from it, (3, 3)."""
    cos, sin, third = math.cos(angle), math.sin(angle), 1 / 3
    a, b = cos + (1 - cos) * third, (1 - cos) * third
    c = math.sqrt(third) * sin
    rotation = np.array([[a, b - c, b + c], [b + c, a, b - c], [b - c, b + c, a]])
    return saturation * rotation + (1 - saturation) * third
