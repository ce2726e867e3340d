"""Tables of runs: a row for each method and setting, a column for each figure, values for each seed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean, pstdev
from typing import Any

from ..evaluate import harmonic_mean
from .columns import BASE_NEW, CONFIDENCE, DIGITS, EXPLANATIONS, HARMONIC, HEADINGS, QUALITY, VIEWS
from .tree import Run

ORDER = ("ZeroshotCLIP", "ZeroshotCLIP2", "CoOp", "CoCoOp")
UPPER_BOUND = "CoOp-all"
LABELS = {
    "ZeroshotCLIP": "zero-shot CLIP",
    "ZeroshotCLIP2": "zero-shot CLIP, 7 prompts",
    UPPER_BOUND: "upper bound: CoOp on real shots of all classes",
}


@dataclass
class Row:
    """One value of each column for each seed that has it; an `average` row stands for several data sets."""

    dataset: str
    shots: int
    method: str
    config: str
    settings: dict[str, Any] = field(default_factory=dict)
    values: dict[str, dict[int, float]] = field(default_factory=dict)
    differs: str = ""  # settings in which it differs from most rows of its kind
    average: bool = False

    @property
    def label(self) -> str:
        return LABELS.get(self.method, self.method)

    @property
    def learner(self) -> str:
        """What is tuned: of SHIP the learner in its settings, or else in its name ("SHIP" alone: CoOp)."""
        named = self.method.removeprefix("SHIP+")
        return self.settings.get("TRAINER.SHIP.LEARNER", "CoOp" if named == "SHIP" else named)

    def seeds(self, column: str | None = None) -> list[int]:
        columns = self.values if column is None else [column]
        return sorted({seed for c in columns for seed in self.values.get(c, {})})

    def mean(self, column: str) -> float:
        return fmean(self.values[column].values())

    def deviation(self, column: str) -> float:
        """Population deviation, as CoOp's own parser computes it."""
        return pstdev(self.values[column].values())

    def cell(self, column: str) -> str:
        """Mean +- deviation; "-" where nothing was measured."""
        if not self.values.get(column):
            return "-"
        digits = DIGITS.get(column, 1)
        spread = f" +- {self.deviation(column):.{digits}f}" if len(self.values[column]) > 1 else ""
        return f"{self.mean(column):.{digits}f}{spread}"


@dataclass
class Table:
    """Rows of one experiment.

    Attributes:
        name: the experiment's.
        facts: what is the same for all rows (data set, shots, config).
        keys: the heads of the columns that tell rows apart.
        columns: keys of HEADINGS.
        notes: what a reader must know, missing runs first.
    """

    name: str
    facts: dict[str, Any]
    keys: list[str]
    columns: list[str]
    rows: list[Row]
    notes: list[str]

    @property
    def title(self) -> str:
        return ", ".join([self.name.replace("_", " "), *(f"{key} {value}" for key, value in self.facts.items())])

    def header(self) -> list[str]:
        return [*self.keys, "seeds", *(HEADINGS[column] for column in self.columns)]

    def body(self) -> list[list[str]]:
        out = []
        for row in self.rows:
            own = {
                "method": row.label,
                "data set": row.dataset,
                "shots": str(row.shots),
                "config": row.config,
                "settings": row.differs,
            }
            seeds = ", ".join(map(str, row.seeds()))
            out.append([*(own[key] for key in self.keys), seeds, *(row.cell(column) for column in self.columns)])
        return out


def tables_of(runs: list[Run], seeds: Iterable[int] | None = None, view: Iterable[str] = ()) -> list[Table]:
    """A table for each experiment, and one of its own for runs on validation images; with the columns of a view in
    place of the experiment's own."""
    wanted = None if seeds is None else sorted(set(seeds))
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if wanted is None or run.seed in wanted:
            validated = ", validation within the base classes" if run.subset == "dev" else ""
            name = f"{run.experiment.replace('_dev', '')}{validated}"
            groups.setdefault(name, []).append(run)
    tables = (table_of(name, group, wanted, tuple(view)) for name, group in groups.items())
    return [table for table in tables if table.rows]


def table_of(name: str, runs: list[Run], seeds: list[int] | None, view: tuple[str, ...] = ()) -> Table:
    rows: dict[tuple, Row] = {}
    for run in runs:
        # Runs of one method that differ only in what they were tested on belong to one row.
        key = (run.dataset, run.shots, run.method, run.config)
        if not run.config:
            key += (repr(sorted(run.settings.items())),)
        row = rows.setdefault(key, Row(run.dataset, run.shots, run.method, run.config))
        row.settings = row.settings or run.settings
        for column, value in columns_of(run).items():
            row.values.setdefault(column, {})[run.seed] = value
    for row in rows.values():
        for seed in set(row.seeds("base")) & set(row.seeds("new")):
            h = harmonic_mean(row.values["base"][seed], row.values["new"][seed])
            row.values.setdefault("h", {})[seed] = h
    columns = choose_columns(re.split("[,/]", name)[0], rows.values(), view)
    for row in rows.values():
        for plain in ("u", "s", "gzsl_h"):
            calibrated = f"calibrated_{plain.removeprefix('gzsl_')}"
            if calibrated in columns:  # a penalty of 0 was chosen where a run has plain figures alone
                row.values[calibrated] = {**row.values.get(plain, {}), **row.values.get(calibrated, {})}
    shown = [row for row in rows.values() if any(column in row.values for column in columns if column != "train_s")]
    tell_differences(shown)
    shown.sort(key=place)
    notes = remarks(name, shown, columns, seeds)
    means = averages(shown, columns, source=name.partition("/")[2])
    if means:
        shown += means
        notes.append("average: over data sets; H is that of the averaged accuracies, as in CoOp's tables.")
    facts, keys = {}, ["method"]
    for head, attribute in (("data set", "dataset"), ("shots", "shots"), ("config", "config"), ("settings", "differs")):
        values = {getattr(row, attribute) for row in shown}
        if len(values) > 1:
            keys.append(head)
        elif head in ("data set", "shots") and values:
            facts[head] = values.pop()
    return Table(name, facts, keys, columns, shown, notes)


def averages(rows: list[Row], columns: list[str], source: str) -> list[Row]:
    """Over data sets (of a transfer: over its targets), for each method that has them all."""
    rows = [row for row in rows if row.dataset != source]
    datasets = {row.dataset for row in rows}
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault((row.method, row.config, row.differs, row.shots), []).append(row)
    out = []
    for (method, config, differs, shots), group in groups.items():
        if len(datasets) < 2 or {row.dataset for row in group} != datasets:
            continue
        mean = Row(f"average of {len(datasets)}", shots, method, config, group[0].settings, {}, differs, average=True)
        for column in columns:
            common = set.intersection(*(set(row.seeds(column)) for row in group))
            parts = HARMONIC.get(column)
            for seed in sorted(common):
                value = fmean(row.values[column][seed] for row in group)
                if parts and all(seed in mean.values.get(part, {}) for part in parts):
                    value = harmonic_mean(*(mean.values[part][seed] for part in parts))
                mean.values.setdefault(column, {})[seed] = value
        out.append(mean)
    return sorted(out, key=place)


def columns_of(run: Run) -> dict[str, float]:
    """A run's figures by column."""
    figures = run.figures
    joint = "own_base_accuracy" in figures or "base_accuracy" in figures
    names = {"accuracy": "accuracy"}
    if run.subset in ("base", "new"):
        names = {run.subset: "accuracy"}
    elif joint:
        names |= {"joint_base": "base_accuracy", "joint_new": "new_accuracy", "joint_h": "h"}
        names |= {"base": "own_base_accuracy", "new": "own_new_accuracy"}
        names |= {"u": "new_mean_class_accuracy", "s": "base_mean_class_accuracy", "gzsl_h": "mean_class_h"}
        names |= {
            "calibrated_u": "calibrated_new_mean_class_accuracy",
            "calibrated_s": "calibrated_base_mean_class_accuracy",
            "calibrated_h": "calibrated_mean_class_h",
        }
    synthetic = figures.get("synthetic", {}).get("new", {})
    out = {column: figures.get(name) for column, name in names.items()}
    out |= {column: synthetic.get(column) for column in QUALITY}
    out |= {column: value_at(figures.get("confidence", {}), place) for column, place in CONFIDENCE.items()}
    out = {column: value for column, value in out.items() if isinstance(value, (int, float))}
    if run.trained and run.time.get("train_s"):
        out["train_s"] = run.time["train_s"]
    return out


def value_at(figures: Any, place: tuple[str, ...]) -> Any:
    """What stands at a place of nested figures; None where there is nothing."""
    for key in place:
        figures = figures.get(key) if isinstance(figures, dict) else None
    return figures


def choose_columns(experiment: str, rows: Iterable[Row], view: tuple[str, ...] = ()) -> list[str]:
    """The given view, or the experiment's own, or base and new where they were told apart, else the accuracy."""
    there = {column for row in rows for column in row.values}
    view = view or VIEWS.get(experiment, ())
    if not view:
        view = (*BASE_NEW, "train_s") if there & {"base", "new"} else ("accuracy", "train_s")
    return [column for column in view if column in there]


def place(row: Row) -> tuple:
    """Where a row stands: a learner alone, then with SHIP's features, usual settings first; the upper bound last."""
    rank = ORDER.index(row.learner) if row.learner in ORDER else len(ORDER)
    ships = row.method.startswith("SHIP") or row.settings.get("TRAINER.NAME") == "SHIP"  # an ablation has its own name
    kind = (rank, row.learner, ships, row.config, bool(row.differs), row.method)
    return row.dataset, row.shots, row.method == UPPER_BOUND, *kind


def tell_differences(rows: list[Row]) -> None:
    """Note of each row the settings that most rows of its trainer (of SHIP, with its learner) and config have
    otherwise; where no value is the usual one, of all rows. Settings that not all rows have don't count."""
    kinds: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        kind = row.method if "+" in row.method else row.settings.get("TRAINER.NAME", "")
        kinds.setdefault((kind, row.config), []).append(row)
    for kind in kinds.values():
        for key in sorted(set.intersection(*(set(row.settings) for row in kind))):
            values = Counter(repr(row.settings[key]) for row in kind)
            usual, count = values.most_common(1)[0]
            if len(values) == 1:
                continue
            for row in kind:
                if count == 1 or repr(row.settings[key]) != usual:
                    value = str(row.settings[key]) or '""'
                    row.differs += f"{'; ' if row.differs else ''}{key.removeprefix('TRAINER.SHIP.')} {value}"


def remarks(name: str, rows: list[Row], columns: list[str], seeds: list[int] | None) -> list[str]:
    notes = []
    expected = sorted(set(seeds or []) | {seed for row in rows for seed in row.seeds()})
    for row in rows:
        for column in columns:
            missing = sorted(set(expected) - set(row.seeds(column)))
            if missing and column != "train_s" and (row.seeds(column) or column in ("base", "new", "accuracy")):
                where = "" if len({r.dataset for r in rows}) == 1 else f" on {row.dataset}"
                notes.append(f"MISSING: {row.label}{where}, {HEADINGS[column]}: seeds {', '.join(map(str, missing))}")
    images = "images of base classes that are not for testing" if "validation" in name else "test images"
    notes.append(f"Accuracy in percent on {images}, mean +- population deviation over seeds; last epoch, no selection.")
    return [*notes, *(text for column, text in EXPLANATIONS.items() if column in columns)]
