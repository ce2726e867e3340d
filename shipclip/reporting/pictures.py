"""The pictures, drawn from plain data, saved as PNG and SVG, in Okabe and Ito's colours, safe for the colour-blind."""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from ..files import replacing
from .tables import LABELS, Row

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
MARKERS = "osD^vPX*"
# The first that is installed draws what the others lack: names in Chinese, Japanese, Korean ...
FONTS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei")
FONTS += ("IPAGothic", "Droid Sans Fallback", "Hiragino Sans", "PingFang SC", "Microsoft YaHei", "Malgun Gothic")
FONTS += ("Arial Unicode MS", "Noto Sans", "Unifont")
SPAN = 6.0  # percentage points that a picture of accuracies shows at least
matplotlib.rcParams.update(
    {
        "font.size": 13,
        "font.family": ["DejaVu Sans", *(name for name in FONTS if name in font_manager.get_font_names())],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#e5e5e5",
        "axes.axisbelow": True,
        "legend.frameon": False,
        "svg.hashsalt": "ship",  # equal pictures are equal files
        "svg.fonttype": "none",
    }
)


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write <stem>.png and <stem>.svg, each whole or not at all; signs that no font here has are told."""
    files = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg")]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for file in files:
            with replacing(file) as temporary:
                metadata = {"Date": None} if file.suffix == ".svg" else None
                figure.savefig(temporary, format=file.suffix[1:], dpi=150, bbox_inches="tight", metadata=metadata)
    lacking = {chr(int(match[1])) for w in caught if (match := re.match(r"Glyph (\d+) ", str(w.message)))}
    if lacking:
        signs = "".join(sorted(lacking)[:10])
        print(f"Note: no font here has {len(lacking)} signs of the picture ({signs}): install one, Noto Sans CJK say")
    return files


def words_under_images(readings: Sequence[Any], read_image: Callable[[str], Any]) -> Figure:
    """Images side by side, under each the words nearest to each context vector; then latents of no image.

    Args:
        readings: those of `interpret`.
        read_image: from a path.
    """
    shown = [reading for reading in readings if reading.image]
    others = [reading for reading in readings if not reading.image]
    lines = len(shown[0].words) if shown else 0
    figure = Figure(figsize=(max(3.6 * len(shown), 9), 3.4 + 0.3 * lines + 0.34 * len(others)))
    heights = [3.0, 0.3 * lines + 0.5, max(0.34 * len(others), 0.1)]
    grid = figure.add_gridspec(3, max(len(shown), 1), height_ratios=heights, hspace=0.05)
    for i, reading in enumerate(shown):
        axes = figure.add_subplot(grid[0, i])
        axes.imshow(read_image(reading.image), interpolation="nearest")
        axes.axis("off")
        axes.set_title(reading.title.removeprefix("image of "), fontsize=13)
        axes = figure.add_subplot(grid[1, i])
        axes.axis("off")
        text = "\n".join(f"$p_{k + 1} + r$:  {reading.listed(k)}" for k in range(lines))
        axes.text(0.5, 1.0, text, fontsize=12, ha="center", va="top", transform=axes.transAxes)
    axes = figure.add_subplot(grid[2, :])
    axes.axis("off")
    axes.set_xlim(0, 1), axes.set_ylim(-max(len(others), 1), 0)
    for i, reading in enumerate(others):
        axes.text(0.02, -i, reading.title, fontsize=12, va="top")
        axes.text(0.36, -i, f"$p_1 + r$:  {reading.listed(0)}", fontsize=12, va="top")
    figure.suptitle("Vocabulary words nearest to the context vectors (cosine similarity)", y=0.96, fontsize=14)
    return figure


def features_in_two_dimensions(panels: dict[str, dict[str, Any]]) -> Figure:
    """Real and synthetic features of some base and some new classes, by PCA and by t-SNE.

    Args:
        panels: for "base" and "new": names, and points for "PCA" and "t-SNE" as (real, real labels, synthetic,
            synthetic labels).
    """
    figure = Figure(figsize=(13, 5.6 * len(panels)))
    axes = figure.subplots(len(panels), 2, squeeze=False)
    for row, (half, content) in zip(axes, panels.items(), strict=True):
        for ax, method in zip(row, ("PCA", "t-SNE"), strict=True):
            real, real_labels, made, made_labels = content[method]
            for i in range(len(content["names"])):
                colour = COLOURS[i % len(COLOURS)]
                a, b = real[real_labels == i], made[made_labels == i]
                ax.scatter(a[:, 0], a[:, 1], s=26, color=colour, marker="o", alpha=0.75, linewidths=0)
                ax.scatter(b[:, 0], b[:, 1], s=34, facecolors="none", edgecolors=colour, marker="^", linewidths=1.1)
            ax.set_title(f"{half} classes, {method}")
            ax.set_xlabel(f"{method} 1"), ax.set_ylabel(f"{method} 2")
            ax.xaxis.set_major_locator(NullLocator()), ax.yaxis.set_major_locator(NullLocator())
        kinds = [
            Line2D([], [], color="#444", marker="o", linestyle="", label="real"),
            Line2D([], [], color="#444", marker="^", linestyle="", fillstyle="none", label="synthetic"),
        ]
        classes = [
            Line2D([], [], color=COLOURS[i % len(COLOURS)], marker="s", linestyle="", label=name)
            for i, name in enumerate(content["names"])
        ]
        row[1].legend(handles=[*kinds, *classes], loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=12)
    figure.tight_layout()
    return figure


def confusion(shares: np.ndarray, names: Sequence[str], n_base: int) -> Figure:
    """For which class a synthetic feature was made, and whose real mean it is nearest to; shares of a row, (C, C)."""
    size = max(6.0, 0.26 * len(names) + 3)
    figure = Figure(figsize=(size + 1, size))
    ax = figure.subplots()
    image = ax.imshow(100 * shares, cmap="cividis", vmin=0, vmax=100)
    ax.grid(False)
    font = 9 if len(names) > 20 else 12
    ax.set_xticks(range(len(names)), names, rotation=90, fontsize=font)
    ax.set_yticks(range(len(names)), names, fontsize=font)
    if 0 < n_base < len(names):
        for line in (ax.axhline, ax.axvline):
            line(n_base - 0.5, color="white", linewidth=1.5)
    ax.set_xlabel("class with the nearest real mean")
    ax.set_ylabel("class that the feature was made for" + (" (base above, new below)" if n_base else ""))
    bar = figure.colorbar(image, ax=ax, shrink=0.7, label="synthetic features (%)")
    bar.outline.set_visible(False)
    return figure


def training_curves(stages: dict[str, dict[str, dict[str, list[float]]]]) -> Figure:
    """Mean loss of each epoch, a panel for each quantity.

    Args:
        stages: title of a panel -> name of a run -> {"x": epochs, "y": values}.
    """
    figure = Figure(figsize=(4.8 * len(stages), 4.2))
    axes = figure.subplots(1, len(stages), squeeze=False)[0]
    for ax, (title, runs) in zip(axes, stages.items(), strict=True):
        for i, (name, curve) in enumerate(runs.items()):
            ax.plot(curve["x"], curve["y"], color=COLOURS[i % len(COLOURS)], label=name, linewidth=1.8)
        ax.set_title(title)
        ax.set_xlabel("epoch")
        if ax.dataLim.ymin >= 0:  # a critic's may be negative
            ax.set_ylim(bottom=0)
    if any(len(runs) > 1 for runs in stages.values()):
        axes[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    return figure


def few_shot_curves(rows: Sequence[Row]) -> Figure:
    """H against shots for each method, mean and deviation over seeds: each among its own classes, and among all."""
    counts = Counter((row.method, row.shots) for row in rows)
    several = {method for (method, _), count in counts.items() if count > 1}  # a line for each of their configs
    methods = list(dict.fromkeys((row.method, row.config if row.method in several else "") for row in rows))
    figure = Figure(figsize=(12.5, 4.8))
    axes = figure.subplots(1, 2, sharey=True)
    shots = sorted({row.shots for row in rows})
    for ax, column, title in zip(
        axes, ("h", "joint_h"), ("each among its own classes", "among all classes"), strict=True
    ):
        for i, (method, config) in enumerate(methods):
            own = [
                row for row in rows if row.method == method and config in ("", row.config) and row.values.get(column)
            ]
            own.sort(key=lambda row: row.shots)
            if not own:
                continue
            ax.errorbar(
                [row.shots * 1.02 ** (i - (len(methods) - 1) / 2) for row in own],  # side by side: bars don't hide
                [row.mean(column) for row in own],
                [row.deviation(column) for row in own],
                color=COLOURS[i % len(COLOURS)],
                marker=MARKERS[i % len(MARKERS)],
                linestyle="--" if method.startswith("ZeroshotCLIP") else "-",
                capsize=3,
                linewidth=1.8,
                label=", ".join(filter(None, (LABELS.get(method, method), config))),
            )
        ax.set_xscale("log", base=2)
        ax.set_xlim(shots[0] / 1.5, shots[-1] * 1.5)  # of one number of shots too, points stand about their tick
        ax.xaxis.set_major_locator(FixedLocator(shots))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xticklabels(map(str, shots))
        ax.set_xlabel("training images a base class (shots)")
        ax.set_title(title)
    axes[0].set_ylabel("H of base and new accuracy (%)")
    axes[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    return figure


def base_against_new(rows: Sequence[Row]) -> Figure:
    """Base against new accuracy, alone (hollow) and with SHIP's features (filled), and lines of equal H."""
    learners = list(dict.fromkeys(row.learner for row in rows))
    usual = Counter(row.config for row in rows).most_common(1)[0][0]  # others of a method's configs are named
    figure = Figure(figsize=(13.5, 5.8))
    axes = figure.subplots(1, 2)
    for ax, prefix, title in zip(
        axes, ("", "joint_"), ("each among its own classes", "among all classes"), strict=True
    ):
        base, new = f"{prefix}base", f"{prefix}new"
        shown = [row for row in rows if row.values.get(base) and row.values.get(new)]
        for row in shown:
            i = learners.index(row.learner)
            ax.errorbar(
                row.mean(base),
                row.mean(new),
                xerr=row.deviation(base),
                yerr=row.deviation(new),
                color=COLOURS[i % len(COLOURS)],
                marker=MARKERS[i % len(MARKERS)],
                markersize=10,
                markeredgewidth=1.8,
                fillstyle="full" if row.method.startswith("SHIP") else "none",
                elinewidth=0.8,
                alpha=0.95,
            )
        _at_least(ax, SPAN)
        several = [row for row in shown if any(r.method == row.method and r.config != row.config for r in shown)]
        _names(ax, [(row.config, row.mean(base), row.mean(new)) for row in several if row.config != usual])
        _lines_of_equal_h(ax)
        ax.set_title(title)
        ax.set_xlabel("base accuracy (%)")
        ax.set_ylabel("new accuracy (%)")
    handles = [
        Line2D([], [], color="#444", marker="o", linestyle="", fillstyle="none", markersize=10, label="alone"),
        Line2D([], [], color="#444", marker="o", linestyle="", markersize=10, label="with SHIP's features"),
        Line2D([], [], color="#bbb", linestyle=":", label="equal H"),
    ]
    for i, learner in enumerate(learners):
        style = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
        handles.append(Line2D([], [], linestyle="", markersize=10, label=LABELS.get(learner, learner), **style))
    axes[1].legend(handles=handles, loc="center left", bbox_to_anchor=(1.12, 0.5))
    figure.tight_layout()
    return figure


def _at_least(ax: Any, span: float) -> None:
    """Widen axes that a few close points would blow up."""
    for limits, set_limits in ((ax.get_xlim(), ax.set_xlim), (ax.get_ylim(), ax.set_ylim)):
        more = max(0.0, span - (limits[1] - limits[0])) / 2
        set_limits(limits[0] - more, limits[1] + more)


def _names(ax: Any, named: list[tuple[str, float, float]]) -> None:
    """Names below their points, within the axes; points close to each other have the same one once."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    told: list[tuple[str, float, float]] = []
    for name, x, y in named:
        at = ((x - left) / (right - left), (y - low) / (high - low))
        if any(name == other and math.dist(at, place) < 0.1 for other, *place in told):
            continue
        told.append((name, *at))
        side = "right" if at[0] > 0.7 else "left"
        ax.annotate(name, (x, y), (9, -16), textcoords="offset points", ha=side, fontsize=9, color="#555")


def _lines_of_equal_h(ax: Any) -> None:
    x_range, y_range = ax.get_xlim(), ax.get_ylim()  # which go beyond 0 where a figure is 0
    x, y = np.meshgrid(*(np.linspace(max(low, 0.1), high, 200) for low, high in (x_range, y_range)))
    h = 2 * x * y / (x + y)
    levels = MaxNLocator(nbins=8, integer=True).tick_values(h.min(), h.max())
    lines = ax.contour(x, y, h, levels=levels, colors="#bbb", linestyles=":", linewidths=1)
    ax.clabel(lines, fmt="H %.0f", fontsize=9)
    ax.set_xlim(x_range), ax.set_ylim(y_range)
