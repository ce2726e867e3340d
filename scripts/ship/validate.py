"""Settings by validation: every combination of the values given, a table of H and joint H, best first.

    python scripts/ship/validate.py CoOp OPTIM.LR=0.02,0.05 OPTIM.MAX_EPOCH=50,200
    python scripts/ship/validate.py SHIP+CLIPAdapter TRAINER.SHIP.GENERATOR.KL_WEIGHT=0.1,1 --seeds 1 2 3 4 5

Half of the base classes play the base classes and the others the new ones (DATASET.SUBSAMPLE_CLASSES dev), on
validation images: the new classes and the test images are not looked at. Finished runs are skipped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, pstdev

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tabulate import tabulate

from shipclip.errors import told
from shipclip.experiments.carry_out import Where, carry_out
from shipclip.experiments.job import Chain
from shipclip.experiments.plan import Study, with_keys

KEYS = ("own_base_accuracy", "own_new_accuracy", "own_h", "h")


@told
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", help="a trainer, or SHIP+LEARNER")
    parser.add_argument("values", nargs="*", metavar="KEY=VALUE,VALUE", help="every combination is tried")
    parser.add_argument("--dataset", default="miniworld")
    parser.add_argument("--config", default="", help="name of the method's config file")
    parser.add_argument("--root", default="", help="of the data sets")
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--jobs", type=int, default=0, help="runs at once")
    parser.add_argument("--out", default="output/validation")
    args = parser.parse_args()
    os.chdir(ROOT)
    grid = combinations(args.values, parser)
    study = Study(seeds=tuple(args.seeds), output=args.out, data=args.root, config=args.config)
    study.check(args.dataset)
    chains = [chain_of(args, study, chosen, seed) for seed in args.seeds for chosen in grid]
    failed = carry_out([("validation", chains)], study, Where(jobs=args.jobs))
    rows = rows_of(args, study, grid)
    if rows:
        print(tabulate(rows, [args.method, "base", "new", "H", "joint H"], tablefmt="github"))
    return 2 if failed else 0


def combinations(values: Sequence[str], parser: argparse.ArgumentParser) -> list[dict[str, str]]:
    """Keys and a value of each, for every combination."""
    choices = {}
    for value in values:
        key, equals, listed = value.partition("=")
        if not equals:
            parser.error(f"values come as KEY=VALUE,VALUE, not as {value!r}")
        choices[key] = listed.split(",")
    return [dict(zip(choices, chosen, strict=True)) for chosen in itertools.product(*choices.values())]


def name_of(chosen: dict[str, str]) -> str:
    return " ".join(f"{key.rsplit('.', 1)[-1]}={value}" for key, value in chosen.items()) or "as configured"


def folder_of(args: argparse.Namespace, study: Study, chosen: dict[str, str], seed: int) -> Path:
    place = Path(args.out) / args.dataset / f"shots_{args.shots}" / args.method
    return place / study.config_of(args.method, args.dataset) / name_of(chosen).replace(" ", "_") / f"seed{seed}"


def chain_of(args: argparse.Namespace, study: Study, chosen: dict[str, str], seed: int) -> Chain:
    folder, title = str(folder_of(args, study, chosen, seed)), f"{args.method} {name_of(chosen)} seed {seed}"
    job = study.job(args.method, args.dataset, seed, folder, "dev", title, shots=args.shots)
    return Chain((with_keys(job, *chosen.items()),))


def rows_of(args: argparse.Namespace, study: Study, grid: Sequence[dict[str, str]]) -> list[list[str]]:
    """Best first."""
    rows = []
    for chosen in grid:
        files = [folder_of(args, study, chosen, seed) / "results.json" for seed in args.seeds]
        found = [json.loads(file.read_text())["figures"] for file in files if file.is_file()]
        if not found:
            continue
        figures = [[result[key] for result in found] for key in KEYS]
        cells = [f"{fmean(f):.1f} +- {pstdev(f):.1f}" for f in figures]
        rows.append((fmean(figures[-1]), [name_of(chosen).replace("=", " "), *cells]))
    return [row for _, row in sorted(rows, key=lambda row: -row[0])]


if __name__ == "__main__":
    sys.exit(main())
