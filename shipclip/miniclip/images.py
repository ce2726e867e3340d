"""Many rendered images at once, with what is in them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from ..files import replacing
from . import world
from .facts import values
from .scene import EASY, WEB, Style, draw


@dataclass(frozen=True)
class Images:
    """Rendered images and what is in them.

    Attributes:
        pixels: uint8, (N, 64, 64, 3).
        attributes: places of colour, texture and shape, (N, 3).
        facts: the value of each fact, -1 where none holds, (N, F).
        easy: how many of them, the first ones, are in the easy style.
    """

    pixels: np.ndarray
    attributes: np.ndarray
    facts: np.ndarray
    easy: int = 0

    def __len__(self) -> int:
        return len(self.pixels)


def image_pool(file: Path, count: int, seed: int) -> Images:
    """Rendered pre-training images, class by class in turn, a fifth of them easy."""
    if not file.is_file():
        started, names, easy = time.time(), world.classnames(), count // 5
        parts = [
            rendered([(names[i % len(names)], seed + first, i // len(names)) for i in range(n)], style)
            for n, first, style in ((easy, 1000, EASY), (count - easy, 2000, WEB))
        ]
        arrays = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in ("pixels", "attributes", "facts")
        }
        with replacing(file) as temporary, open(temporary, "wb") as stream:  # np.savez adds a suffix to a name
            np.savez(stream, **arrays, easy=easy)
        print(f"rendered {count} images in {time.time() - started:.0f} s", flush=True)
    with np.load(file) as stored:
        return Images(stored["pixels"], stored["attributes"], stored["facts"], int(stored["easy"]))


def rendered(jobs: list[tuple[str, int, int]], style: Style) -> Images:
    """Images of (class, seed, number), with what is in them."""
    with get_context("spawn").Pool(os.cpu_count()) as workers:
        done = list(workers.imap(_render_one, [(*job, style) for job in jobs], chunksize=200))
    pixels, facts = zip(*done, strict=True)
    return Images(np.stack(pixels), np.array([world.attributes(job[0]) for job in jobs]), np.stack(facts))


def _render_one(job: tuple[str, int, int, Style]) -> tuple[np.ndarray, np.ndarray]:
    name, seed, number, style = job
    rng = world.image_rng(seed, name, number)
    scene = draw(rng, style)
    return world.picture(name, scene, rng), np.array(values(scene, world.shape_of(name)), dtype=np.int8)


def validation_images(style: Style) -> Images:
    """Ten images of each of MiniWorld's classes, from a seed that nothing else uses."""
    return rendered([(name, 500, i) for name in world.downstream_classes() for i in range(10)], style)
