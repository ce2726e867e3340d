"""What an image shows besides its class: a `Scene`, drawn from a `Style`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.random import Generator

Range = tuple[float, float]
CLUTTER = {"crumbs": "circle", "shards": "triangle", "chips": "square"}  # what may lie around, and its shape


@dataclass(frozen=True)
class Style:
    """How images look: ranges (low, high) that are drawn from evenly, rates (shares of images), and what is the same in
    all images. Angles are radians, lengths relative to half the image side."""

    radius: Range = (0.50, 0.90)
    tilt: float = 0.45  # up to this, either way
    tone: Range = (0.05, 0.95)  # brightness of the background
    coloured_rate: float = 0.4  # images with a coloured background
    shaded_rate: float = 0.5  # images whose background goes from dark to pale
    light: Range = (0.65, 1.25)
    warmth: Range = (-0.14, 0.14)  # red up, blue down
    saturation: Range = (0.4, 1.2)
    gamma: Range = (0.85, 1.2)
    noise_rate: float = 0.35
    noise: Range = (0.02, 0.08)  # standard deviation, of values in 0 ... 1
    blur_rate: float = 0.3
    blur: Range = (0.5, 1.3)  # standard deviation, pixels
    clutter_rate: float = 0.5
    clutter: tuple[int, int] = (2, 7)  # small things behind the object
    bar_rate: float = 0.2  # images with a bar in front of the object
    hue: float = 0.0  # rotation of all hues
    hue_jitter: float = 0.08  # standard deviation
    period: Range = (0.8, 1.25)  # of the textures
    squash: float = 1.0  # height of things relative to their width


# Pre-training: as various as the web.
WEB = Style()
# To begin with, because shape is learned last: large things that nothing hides.
EASY = Style(
    radius=(0.60, 0.90),
    tilt=0.25,
    coloured_rate=0.2,
    shaded_rate=0.2,
    light=(0.85, 1.1),
    warmth=(-0.05, 0.05),
    saturation=(0.8, 1.1),
    gamma=(0.95, 1.05),
    noise_rate=0.0,
    blur_rate=0.0,
    clutter_rate=0.1,
    bar_rate=0.0,
)
# Downstream: smaller and flatter than anything in pre-training, in muted, rotated, darker colours. Geometry makes CoOp
# fit its classes: a global change of colours alone is learned for all classes at once, so nothing would be forgotten.
SHIFTED = Style(
    radius=(0.35, 0.60),
    saturation=(0.2, 0.6),
    gamma=(1.1, 1.4),
    hue=-0.25,
    squash=0.7,
)
# The second world: large and tall things, in a cold light.
SOURCE = Style(
    radius=(0.45, 0.75),
    warmth=(-0.22, 0.06),
    saturation=(0.5, 1.3),
    gamma=(0.75, 0.9),
    hue=0.2,
    period=(0.65, 0.9),
    squash=1.5,
)


@dataclass(frozen=True)
class Scene:
    """What one image shows besides its class; fields as in `Style`."""

    radius: float
    place: tuple[float, float]
    tilt: float
    tone: float
    tint: tuple[float, float]  # hue and saturation of the background
    shading: tuple[float, float]  # direction and strength
    light: float
    warmth: float
    saturation: float
    gamma: float
    noise: float
    blur: float
    clutter: str  # a word of CLUTTER, or nothing
    pieces: int
    barred: bool
    hue: float
    period: float
    squash: float


def draw(rng: Generator, style: Style) -> Scene:
    """A scene in a style."""

    def sometimes(rate: float, low: float, high: float) -> float:
        value = rng.uniform(low, high)
        return value if rng.random() < rate else 0.0

    radius = rng.uniform(*style.radius)
    slack = max(0.0, 0.95 - radius)
    cluttered = rng.random() < style.clutter_rate
    kind, pieces = list(CLUTTER)[rng.integers(len(CLUTTER))], int(rng.integers(style.clutter[0], style.clutter[1] + 1))
    return Scene(
        radius=radius,
        place=(rng.uniform(-slack, slack), rng.uniform(-slack, slack)),
        tilt=rng.uniform(-style.tilt, style.tilt),
        tone=rng.uniform(*style.tone),
        tint=(rng.random(), sometimes(style.coloured_rate, 0.3, 0.7)),
        shading=(rng.uniform(0, 2 * math.pi), sometimes(style.shaded_rate, 0.3, 0.9)),
        light=rng.uniform(*style.light),
        warmth=rng.uniform(*style.warmth),
        saturation=rng.uniform(*style.saturation),
        gamma=rng.uniform(*style.gamma),
        noise=sometimes(style.noise_rate, *style.noise),
        blur=sometimes(style.blur_rate, *style.blur),
        clutter=kind if cluttered else "",
        pieces=pieces if cluttered else 0,
        barred=rng.random() < style.bar_rate,
        hue=style.hue + rng.normal(0, style.hue_jitter),
        period=rng.uniform(*style.period),
        squash=style.squash,
    )
