"""Which differences between methods are real: a paired bootstrap over seeds and classes.

    shipclip compare output/base2new --against CoOp

For every method of an experiment its figures minus another's, run by run of the same seed, class by class, and the
interval that holds 95 % of the differences when seeds and classes are drawn anew, with replacement, as if other runs
had been made and other classes been chosen. A difference whose interval holds 0 is none to speak of.

Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile intervals).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tabulate import tabulate

from ..errors import MissingFile, UserError, told
from .tables import HEADINGS, LABELS
from .tree import Run, runs_below

COLUMNS = ("base", "new", "h", "joint_base", "joint_new", "joint_h")
DRAWS = 10_000


@dataclass(frozen=True)
class Counts:
    """What a method got right, by seed and class.

    Attributes:
        seeds: one a row.
        own, joint: images right among their own half's classes and among all, (S, C).
        total: images of each class, (C,).
        n_base: base classes, the first ones.
    """

    seeds: tuple[int, ...]
    own: np.ndarray
    joint: np.ndarray
    total: np.ndarray
    n_base: int

    @staticmethod
    def of(runs: Sequence[Run]) -> Counts:
        """Of runs of one method that differ in their seed alone (a trained run and its evaluation tell the same)."""
        of_seed = {run.seed: run for run in runs}
        runs = [of_seed[seed] for seed in sorted(of_seed)]
        found = [run.figures["per_class"] for run in runs]
        own, joint = (np.array([f[kind] for f in found]) for kind in ("own", "joint"))
        return Counts(tuple(run.seed for run in runs), own, joint, np.array(found[0]["total"]), found[0]["n_base"])

    def of_seeds(self, seeds: Sequence[int]) -> Counts:
        rows = [self.seeds.index(seed) for seed in seeds]
        return Counts(tuple(seeds), self.own[rows], self.joint[rows], self.total, self.n_base)

    def figures(self, seeds: np.ndarray, classes: np.ndarray) -> dict[str, np.ndarray]:
        """The table's figures in draws of seeds and classes.

        Args:
            seeds: how often each seed was drawn, (D, S).
            classes: how often each class was drawn, (D, C).

        Returns:
            (D,) for each of COLUMNS; H is that of each seed, then averaged.
        """
        out = {}
        halves = {"base": slice(0, self.n_base), "new": slice(self.n_base, None)}
        for prefix, right in (("", self.own), ("joint_", self.joint)):
            by_seed = {
                half: 100 * (classes[:, part] @ right[:, part].T) / (classes[:, part] @ self.total[part])[:, None]
                for half, part in halves.items()
            }  # (D, S)
            base, new = by_seed["base"], by_seed["new"]
            by_seed["h"] = 2 * base * new / np.maximum(base + new, 1e-12)
            for name, values in by_seed.items():
                out[prefix + name] = (values * seeds).sum(axis=1) / seeds.sum(axis=1)
        return out


@dataclass(frozen=True)
class Difference:
    """A method's figure minus another's, and the bounds of its 95 % interval, in points."""

    value: float
    low: float
    high: float

    @property
    def real(self) -> bool:
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.value:+.1f} ({self.low:+.1f} to {self.high:+.1f}){' *' if self.real else ''}"


def compare(one: Counts, other: Counts, draws: int = DRAWS, seed: int = 0) -> dict[str, Difference]:
    """Differences one - other in COLUMNS.

    Raises:
        UserError: they have no seed in common, or other classes.
    """
    common = [s for s in one.seeds if s in other.seeds]
    if not common or not np.array_equal(one.total, other.total) or one.n_base != other.n_base:
        raise UserError("only runs of the same seeds on the same test images can be compared")
    one, other = one.of_seeds(common), other.of_seeds(common)
    rng, n = np.random.default_rng(seed), one.n_base
    S, C = one.own.shape
    seeds = rng.multinomial(S, np.full(S, 1 / S), draws)
    base, new = (rng.multinomial(k, np.full(k, 1 / k), draws) for k in (n, C - n))
    classes = np.concatenate([base, new], axis=1)

    def difference(seeds: np.ndarray, classes: np.ndarray) -> dict[str, np.ndarray]:
        mine, theirs = one.figures(seeds, classes), other.figures(seeds, classes)
        return {c: mine[c] - theirs[c] for c in COLUMNS}

    measured, drawn = difference(np.ones((1, S)), np.ones((1, C))), difference(seeds, classes)
    return {c: Difference(float(measured[c][0]), *np.percentile(drawn[c], [2.5, 97.5]).tolist()) for c in COLUMNS}


def table(runs: Sequence[Run], against: str) -> str:
    """A Markdown table for each experiment and data set in which the method took part.

    Args:
        runs: with counts for each class.
        against: a method as tables call it, perhaps with its config: CoOp, or SHIP:miniclip_tuned.
    """
    groups: dict[tuple, dict[tuple[str, str], list[Run]]] = {}
    for run in runs:
        if "per_class" in run.figures:
            group = groups.setdefault((run.experiment, run.dataset, run.shots), {})
            group.setdefault((run.method, run.config), []).append(run)
    method, _, config = against.partition(":")
    parts = []
    for (experiment, dataset, shots), group in groups.items():
        there = [key for key in group if key[0] == method and config in ("", key[1])]
        if len(there) != 1:
            continue
        other = Counts.of(group[there[0]])
        names = [f"{LABELS.get(m, m)}" + (f" ({c})" if len({k[1] for k in group}) > 1 else "") for m, c in group]
        rows = []
        for name, (key, some) in zip(names, group.items(), strict=True):
            if key != there[0]:
                found = compare(Counts.of(some), other)
                rows.append([name, *(str(found[c]) for c in COLUMNS)])
        head = f"# {experiment}, {dataset}, shots {shots}: minus {LABELS.get(method, method)}"
        header = ["method", *(HEADINGS[c] for c in COLUMNS)]
        parts.append(f"{head}\n\n{tabulate(rows, header, tablefmt='github', disable_numparse=True, stralign='left')}\n")
    if not parts:
        raise UserError(
            f"no experiment there has runs of {against} with counts for each class: name a method as the tables do, "
            "with its config where there are several (SHIP:miniclip_tuned)"
        )
    note = (
        "In points; in brackets the interval that holds 95 % of paired bootstrap draws of seeds and classes; *: 0 lies "
        "outside."
    )
    return "\n".join([*parts, note])


@told
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "shipclip compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="root of the results")
    parser.add_argument("--against", default="CoOp", help="the method that the others are compared with")
    args = parser.parse_args(argv)
    if not args.folder.is_dir():
        raise MissingFile(f"there is no folder {args.folder}")
    print(table(runs_below(args.folder), args.against))
    return 0
