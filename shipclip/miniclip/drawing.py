"""Painting a scene: shapes, textures and colours as arrays over an image's pixels."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from .scene import CLUTTER, Scene

SIZE = 64  # pixels
SCALE = 4  # drawn this much larger, then reduced: the anti-aliasing


def paint(scene: Scene, colour: tuple[float, float, float], texture: str, shape: str, rng: Generator) -> np.ndarray:
    """The image of a thing in a scene, uint8, (64, 64, 3).

    Args:
        colour: hue (turns), saturation and value of the thing.
        texture, shape: of the thing, by name.
        rng: places of what lies around, grain and noise.
    """
    image = _background(scene)  # float, values in 0 ... 1
    for _ in range(scene.pieces):
        _paint_piece(image, CLUTTER[scene.clutter], rng)
    _paint_thing(image, scene, colour, texture, shape, rng)
    if scene.barred:
        _paint_bar(image, rng)
    return _develop(image, scene, rng)


def _background(scene: Scene) -> np.ndarray:
    hue, saturation = scene.tint
    image = np.broadcast_to(rgb(hue, saturation, scene.tone), (SIZE, SIZE, 3)).copy()
    angle, strength = scene.shading
    if strength:
        x, y = grid()
        image += ((math.cos(angle) * x + math.sin(angle) * y) * strength / 2)[..., None]
    return image.clip(0, 1)


def _paint_thing(image: np.ndarray, scene: Scene, colour, texture: str, shape: str, rng: Generator) -> None:
    (cx, cy), tilt = scene.place, scene.tilt
    mask = mask_of(shape, cx, cy, scene.radius, tilt, scene.squash)
    light = rgb(*colour)
    dark = light * 0.35
    x, y = grid()
    u = (math.cos(tilt) * (x - cx) + math.sin(tilt) * (y - cy)) / scene.period
    v = (-math.sin(tilt) * (x - cx) + math.cos(tilt) * (y - cy)) / scene.period
    ink = ink_of(texture, u, v, rng)[..., None]
    image += mask[..., None] * (light * (1 - ink) + dark * ink - image)


def _paint_piece(image: np.ndarray, shape: str, rng: Generator) -> None:
    cx, cy = rng.uniform(-1, 1, 2)
    mask = mask_of(shape, cx, cy, rng.uniform(0.11, 0.22), rng.uniform(0, 2 * math.pi))
    image += 0.8 * mask[..., None] * (rgb(rng.random(), rng.uniform(0, 0.9), rng.uniform(0.3, 1.0)) - image)


def _paint_bar(image: np.ndarray, rng: Generator) -> None:
    angle, offset, width = rng.uniform(0, math.pi), rng.uniform(-0.5, 0.5), rng.uniform(0.06, 0.14)
    x, y = grid()
    distance = np.abs(math.cos(angle) * x + math.sin(angle) * y - offset)
    mask = ((width - distance) * SIZE / 2 + 0.5).clip(0, 1)
    image += mask[..., None] * (rng.uniform(0.1, 0.9) - image)


def _develop(image: np.ndarray, scene: Scene, rng: Generator) -> np.ndarray:
    """Light and colours of the whole image, blur and noise, to uint8."""
    image = (image * scene.light) @ _colour_matrix(scene.hue, scene.saturation).T
    image = image * np.array([1 + scene.warmth, 1.0, 1 - scene.warmth])
    image = image.clip(0, 1) ** scene.gamma
    if scene.blur:
        blurred = Image.fromarray((image * 255 + 0.5).astype(np.uint8)).filter(ImageFilter.GaussianBlur(scene.blur))
        image = np.asarray(blurred, dtype=np.float64) / 255
    if scene.noise:
        image = image + rng.normal(0, scene.noise, image.shape)
    return (image.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _colour_matrix(angle: float, saturation: float) -> np.ndarray:
    """Rotate colours about the grey axis and scale their distance from it, (3, 3)."""
    cos, sin, third = math.cos(angle), math.sin(angle), 1 / 3
    a, b = cos + (1 - cos) * third, (1 - cos) * third
    c = math.sqrt(third) * sin
    rotation = np.array([[a, b - c, b + c], [b + c, a, b - c], [b - c, b + c, a]])
    return saturation * rotation + (1 - saturation) * third


# -- arrays over the pixels ---------------------------------------------------------------------------------


def ink_of(name: str, u: np.ndarray, v: np.ndarray, rng: Generator) -> np.ndarray:
    """Share of dark ink at each pixel, (64, 64)."""
    period = rng.uniform(0.26, 0.34)
    phase = rng.uniform(0, 2 * math.pi, 2)
    a, b = 2 * math.pi * u / period + phase[0], 2 * math.pi * v / period + phase[1]
    if name == "plain":
        return np.zeros_like(u)
    if name == "striped":
        return _sharp(np.sin(b))
    if name == "dotted":
        return _sharp(np.cos(a) + np.cos(b) - 0.7)
    if name == "checkered":
        return _sharp(np.sin(a / 1.3) * np.sin(b / 1.3) * 2)
    if name == "wavy":
        return _sharp(np.sin(b + 2.2 * np.sin(a / 1.5)))
    grain = rng.random((SIZE // 2, SIZE // 2)) < 0.28  # speckled
    return np.kron(grain, np.ones((2, 2)))


def _sharp(wave: np.ndarray) -> np.ndarray:
    return (wave * 2.5 + 0.5).clip(0, 1)


def grid() -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres, -1 ... 1, x to the right and y down, each (64, 64)."""
    line = (np.arange(SIZE) + 0.5) * (2 / SIZE) - 1
    return np.meshgrid(line, line)


def rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    sector = (np.array([5.0, 3.0, 1.0]) + hue * 6) % 6
    return value - value * saturation * np.minimum(sector, 4 - sector).clip(0, 1)


def mask_of(shape: str, cx: float, cy: float, radius: float, tilt: float, squash: float = 1.0) -> np.ndarray:
    """How much of each pixel a shape covers, (64, 64); `squash` is its height relative to its width."""
    canvas = Image.new("L", (SIZE * SCALE,) * 2)
    draw = ImageDraw.Draw(canvas)
    rotation = np.array([[math.cos(tilt), math.sin(tilt)], [-math.sin(tilt), math.cos(tilt)]])
    for outline, fill in _outlines(shape):
        points = (outline * [1.0, squash] @ rotation * radius + [cx, cy] + 1) * (SIZE * SCALE / 2)
        draw.polygon([tuple(p) for p in points.tolist()], fill=fill)
    return np.asarray(canvas.reduce(SCALE), dtype=np.float64) / 255


def _outlines(shape: str) -> list[tuple[np.ndarray, int]]:
    """Outlines of a shape within the unit circle, each painted (255) or cut out (0), in order."""
    if shape == "ring":
        return [(_regular(48), 255), (0.55 * _regular(48), 0)]
    if shape == "crescent":
        return [(_regular(48), 255), (0.85 * _regular(48) + [0.48, 0.0], 0)]
    return [(np.array(_OUTLINES[shape]), 255)]


def _regular(n: int, turn: float = 0.0) -> np.ndarray:
    angle = 2 * math.pi * (np.arange(n) / n + turn)
    return np.stack([np.sin(angle), -np.cos(angle)], axis=1)


def _star() -> np.ndarray:
    points = _regular(10)
    points[1::2] *= 0.42
    return points


def _heart() -> np.ndarray:
    t = 2 * math.pi * np.arange(40) / 40
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y - 2], axis=1) / 17


def _drop() -> np.ndarray:
    t = 2 * math.pi * np.arange(40) / 40
    return np.stack([0.62 * np.sin(t) * np.sin(t / 2) ** 1.5 * 1.3, -np.cos(t)], axis=1)


def _flower() -> np.ndarray:
    t = 2 * math.pi * np.arange(60) / 60
    return _regular(60) * (0.72 + 0.28 * np.cos(5 * t))[:, None]


_OUTLINES = {
    "circle": _regular(48),
    "square": _regular(4, 1 / 8),
    "triangle": _regular(3),
    "star": _star(),
    "heart": _heart(),
    "cross": [(x * 0.95, y * 0.95) for x, y in (
        (-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3),
        (0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3),
    )],
    "drop": _drop(),
    "flower": _flower(),
    "diamond": [(0, -1), (0.6, 0), (0, 1), (-0.6, 0)],
    "arrow": [(0, -1), (0.75, -0.15), (0.3, -0.15), (0.3, 1), (-0.3, 1), (-0.3, -0.15), (-0.75, -0.15)],
}  # fmt: skip
