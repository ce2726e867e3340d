"""The base-to-new table of an output tree: mean and spread over seeds of every method.

    python -m trainers.ship.report OUTPUT [--dataset miniworld] [--shots 16] [--seeds 1 2 3]

Reads OUTPUT/base2new/<run>/<dataset>/shots_<k>/<method>/<config>/seed<s>/results.json, or log.txt where a run
(of CoOp's own trainers, say) left no results. Prints the table and writes it as Markdown, CSV and JSON.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from tabulate import tabulate

from trainers.prompting.files import write_json, write_text
from trainers.prompting.results import harmonic_mean

# What a row shows: key, heading.
COLUMNS = {
    "base": "base",
    "new": "new",
    "h": "H",
    "joint_base": "joint base",
    "joint_new": "joint new",
    "joint_h": "joint H",
    "train_s": "training (s)",
}
ORDER = ("ZeroshotCLIP", "CoOp", "CoCoOp", "SHIP")
UPPER_BOUND = "CoOp-all"
LABELS = {UPPER_BOUND: "upper bound: CoOp on real shots of all classes"}


@dataclass
class Row:
    """A method with a config: one value of each column for each seed that has it."""

    method: str
    config: str
    values: dict[str, dict[int, float]] = field(default_factory=dict)

    def put(self, column: str, seed: int, value: float) -> None:
        self.values.setdefault(column, {})[seed] = value

    def seeds(self, column: str) -> list[int]:
        return sorted(self.values.get(column, {}))

    def mean(self, column: str) -> float:
        return fmean(self.values[column].values())

    def deviation(self, column: str) -> float:
        """Population deviation, as CoOp's own parser computes it."""
        return pstdev(self.values[column].values())


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="root of the results")
    parser.add_argument("--dataset", default="miniworld")
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="+", default=None, help="those that are expected")
    args = parser.parse_args(argv)
    rows = collect(args.output, args.dataset, args.shots, args.seeds)
    if not rows:
        print(
            f"error: there are no results of {args.dataset} with {args.shots} shots in {args.output}",
            file=sys.stderr,
        )
        return 2
    notes = remarks(rows, args.seeds)
    print(render(rows, "simple"), *notes, sep="\n")
    stem = args.output / "base2new" / f"{args.dataset}_shots_{args.shots}"
    title = f"Base to new on {args.dataset}, {args.shots} shots"
    write_text(
        stem.with_suffix(".md"),
        f"# {title}\n\n{render(rows, 'github')}\n\n" + "\n".join(f"- {n}" for n in notes) + "\n",
    )
    write_text(stem.with_suffix(".csv"), as_csv(rows))
    write_json(stem.with_suffix(".json"), as_json(rows, args))
    print(f"Written to {stem}.md, .csv and .json")
    return 0


def collect(output: Path, dataset: str, shots: int, seeds: Iterable[int] | None = None) -> list[Row]:
    """All rows of a data set; H is computed for each seed from that seed's base and new accuracy."""
    rows: dict[tuple[str, str], Row] = {}
    for run in ("train_base", "test_base", "test_new", "test_all"):
        for folder in sorted((output / "base2new" / run / dataset / f"shots_{shots}").glob("*/*/seed*")):
            config, method = folder.parent.name, folder.parent.parent.name
            seed = int(folder.name.removeprefix("seed"))
            if seeds is not None and seed not in set(seeds):
                continue
            measured = read_run(folder)
            if measured is None:
                continue
            row = rows.setdefault((method, config), Row(method, config))
            figures, time = measured.get("figures", {}), measured.get("time", {})
            if run == "test_all" and "h" in figures:
                row.put("joint_base", seed, figures["base_accuracy"])
                row.put("joint_new", seed, figures["new_accuracy"])
                row.put("joint_h", seed, figures["h"])
            elif run != "test_all" and "accuracy" in figures:
                row.put("new" if run == "test_new" else "base", seed, figures["accuracy"])
            if run == "train_base" and "train_s" in time:
                row.put("train_s", seed, time["train_s"])
    for folder in sorted((output / "base2new" / "train_all" / dataset / f"shots_{shots}").glob("*/*/seed*")):
        row, measured = rows.get((folder.parent.parent.name, folder.parent.name)), read_run(folder)
        if row and measured and "train_s" in measured.get("time", {}):
            row.put("train_s", int(folder.name.removeprefix("seed")), measured["time"]["train_s"])
    for row in rows.values():
        for seed in set(row.seeds("base")) & set(row.seeds("new")):
            row.put("h", seed, harmonic_mean(row.values["base"][seed], row.values["new"][seed]))
    rank = {name: i for i, name in enumerate(ORDER)}
    return sorted(
        rows.values(),
        key=lambda r: (r.method == UPPER_BOUND, rank.get(r.method, len(rank)), r.method, r.config),
    )


def read_run(folder: Path) -> dict[str, Any] | None:
    """A run's results.json; without one the last accuracy after "=> result" in its log.txt; else None."""
    results, log = folder / "results.json", folder / "log.txt"
    if results.is_file():
        try:
            return json.loads(results.read_text())
        except json.JSONDecodeError as error:
            raise ValueError(f"{results} is damaged ({error}): remove it and run again") from error
    if log.is_file():
        result = re.findall(r"=> result.*?\* accuracy: ([\d.]+)%", log.read_text(errors="replace"), re.DOTALL)
        if result:
            return {"figures": {"accuracy": float(result[-1])}}
    return None


def render(rows: list[Row], style: str) -> str:
    """The table as text: mean +- deviation over seeds, in percent; "-" where nothing was measured."""
    several = len({row.config for row in rows}) > 1
    header = ["method", *(["config"] if several else []), "seeds", *COLUMNS.values()]
    body = []
    for row in rows:
        cells = [LABELS.get(row.method, row.method), *([row.config] if several else []), _seeds(row)]
        body.append([*cells, *(_cell(row, column) for column in COLUMNS)])
    return tabulate(body, header, tablefmt=style, disable_numparse=True, stralign="left")


def remarks(rows: list[Row], seeds: list[int] | None) -> list[str]:
    """What a reader must know to read the table, missing runs first."""
    notes = []
    expected = sorted(set(seeds or []) | {seed for row in rows for c in row.values for seed in row.seeds(c)})
    for row in rows:
        for column in COLUMNS:
            missing = sorted(set(expected) - set(row.seeds(column)))
            untrained = column == "train_s" and row.method == "ZeroshotCLIP"
            if missing and not untrained and (row.seeds(column) or column in ("base", "new")):
                notes.append(f"MISSING: {row.method}, {COLUMNS[column]}: seeds {', '.join(map(str, missing))}")
    return [
        *notes,
        "Accuracy in percent on test images, mean +- population deviation over seeds; last epoch, no selection.",
        "base, new: each among its own classes. H: their harmonic mean, of each seed, then averaged.",
        "joint: base and new images among all classes together.",
    ]


def as_csv(rows: list[Row]) -> str:
    """One line for each method, config and seed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "config", "seed", *COLUMNS])
    for row in rows:
        for seed in sorted({s for column in row.values for s in row.seeds(column)}):
            writer.writerow([row.method, row.config, seed, *(row.values.get(c, {}).get(seed, "") for c in COLUMNS)])
    return text.getvalue()


def as_json(rows: list[Row], args: argparse.Namespace) -> dict[str, Any]:
    """Means, deviations and each seed's values."""
    methods = [
        {
            "method": row.method,
            "config": row.config,
            "columns": {
                c: {
                    "mean": row.mean(c),
                    "std": row.deviation(c),
                    "seeds": {str(s): row.values[c][s] for s in row.seeds(c)},
                }
                for c in COLUMNS
                if row.seeds(c)
            },
        }
        for row in rows
    ]
    return {"version": 1, "dataset": args.dataset, "shots": args.shots, "methods": methods}


def _cell(row: Row, column: str) -> str:
    seeds = row.seeds(column)
    if not seeds:
        return "-"
    digits = 1
    return (
        f"{row.mean(column):.{digits}f} +- {row.deviation(column):.{digits}f}"
        if len(seeds) > 1
        else f"{row.mean(column):.{digits}f}"
    )


def _seeds(row: Row) -> str:
    return ", ".join(map(str, sorted({seed for column in row.values for seed in row.seeds(column)})))


if __name__ == "__main__":
    sys.exit(main())
