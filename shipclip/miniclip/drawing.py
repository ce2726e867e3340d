"""Shapes, textures and colours as arrays over an image's pixels, (64, 64)."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

SIZE = 64  # pixels
SCALE = 4  # drawn this much larger, then reduced: the anti-aliasing


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


def mask_of(shape: str, cx: float, cy: float, radius: float, tilt: float) -> np.ndarray:
    """How much of each pixel a shape covers, (64, 64)."""
    canvas = Image.new("L", (SIZE * SCALE,) * 2)
    draw = ImageDraw.Draw(canvas)
    rotation = np.array([[math.cos(tilt), math.sin(tilt)], [-math.sin(tilt), math.cos(tilt)]])
    for outline, fill in _outlines(shape):
        points = (outline @ rotation * radius + [cx, cy] + 1) * (SIZE * SCALE / 2)
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
    "pentagon": _regular(5),
    "diamond": [(0, -1), (0.6, 0), (0, 1), (-0.6, 0)],
    "arrow": [(0, -1), (0.75, -0.15), (0.3, -0.15), (0.3, 1), (-0.3, 1), (-0.3, -0.15), (-0.75, -0.15)],
    "oval": _regular(48) * [1.0, 0.55],
}  # fmt: skip
