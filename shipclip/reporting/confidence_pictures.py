"""Pictures of how far probabilities can be trusted, from the figures that runs and models keep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..errors import MissingFile, UserError
from ..run import FILE, read
from ..saving import CONFIG, config_of
from .pictures import COLOURS, MARKERS

PARTS = {"": "all images", "base": "images of base classes", "new": "images of new classes"}
BEFORE, AFTER = "before calibration", "after calibration"


def reliability(folders: Sequence[str]) -> Figure:
    """Accuracy against confidence in bins, of all images and of base and new ones, and how many images each bin has."""
    if len(folders) != 1:
        raise UserError(f"reliability shows one run or model, and {len(folders)} are named")
    sides = diagrams(figures_of(Path(folders[0])))
    parts = [part for part in PARTS if any(part in of for of in sides.values())]
    if not parts:
        raise UserError(f"{folders[0]} has no test and no held-out images to show, or a version before 0.3 made it")
    figure = Figure(figsize=(5 * len(parts), 6.4))
    grid = figure.subplots(2, len(parts), squeeze=False, sharex=True, height_ratios=(4, 1))
    for (ax, below), part in zip(grid.T, parts, strict=True):
        ax.plot([0, 100], [0, 100], color="#999", linestyle=":", linewidth=1.2)
        lines = []
        for i, (side, of) in enumerate(reversed(sides.items())):
            found = of.get(part)
            if not found:
                continue
            bins, style = found["bins"], {"color": COLOURS[i], "marker": MARKERS[i]}
            ax.plot(bins["confidence"], bins["accuracy"], linewidth=1.8, **style)
            width = 3 if len(sides) > 1 else 6
            place = np.asarray(bins["confidence"]) + (i - (len(sides) - 1) / 2) * width
            below.bar(place, bins["count"], width=width, color=COLOURS[i])
            name = f"{side}: " if side else ""
            lines.append((f"{name}ECE {found['ece']:.1f} %", style))
        for text, style in lines:
            ax.plot([], [], label=text, **style)
        ax.legend(loc="upper left", fontsize=11)
        ax.set_title(PARTS[part])
        ax.set_xlim(0, 100), ax.set_ylim(0, 100)
        below.set_xlabel("confidence (%)")
    grid[0, 0].set_ylabel("accuracy (%)")
    grid[1, 0].set_ylabel("images")
    figure.tight_layout()
    return figure


def coverage(folders: Sequence[str]) -> Figure:
    """Risk-coverage curves: the error among the most confident images, for each share of them."""
    figure = Figure(figsize=(7.5, 5))
    ax = figure.subplots()
    for i, folder in enumerate(folders):
        sides = diagrams(figures_of(Path(folder)))
        found = next((of[""] for of in reversed(sides.values()) if "" in of), None)
        if found is None:
            raise UserError(f"{folder} has no test and no held-out images to show, or a version before 0.3 made it")
        x, y = zip(*found["coverage"], strict=True)
        label = f"{Path(folder).name} (AURC {found['aurc']:.1f} %)"
        ax.plot(x, y, color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], markersize=4, label=label)
    ax.set_xlim(0, 100), ax.set_ylim(bottom=0)
    ax.set_xlabel("coverage: images that are answered, the most confident first (%)")
    ax.set_ylabel("risk: wrong answers among them (%)")
    ax.legend(loc="upper left")
    figure.tight_layout()
    return figure


def figures_of(folder: Path) -> dict[str, Any]:
    """Figures of a finished run, or of a model."""
    if (folder / FILE).is_file():
        return read(folder / FILE)["figures"]
    if not (folder / CONFIG).is_file():
        raise MissingFile(f"there is neither {FILE} nor {CONFIG} in {folder}: name the folder of a run or of a model")
    return config_of(folder).get("figures", {})


def diagrams(figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Before and after calibration (or once, where there was none), part of PARTS -> its figures; of the test, else of
    held-out images."""
    after, before = figures.get("confidence"), figures.get("uncalibrated")
    if not after:
        held = figures.get("held_out", {})
        after, before = held.get("calibrated"), held.get("uncalibrated")
    sides = {BEFORE: before, AFTER: after} if before else {"": after}
    return {side: _parts(of) for side, of in sides.items() if of}


def _parts(of: dict[str, Any]) -> dict[str, Any]:
    found = {part: of.get(part) if part else of for part in PARTS}
    return {part: one for part, one in found.items() if isinstance(one, dict) and "bins" in one}
