"""Settings by validation: every combination of the values given, a table of H and joint H, best first.

    python scripts/ship/validate.py CoOp OPTIM.LR=0.02,0.05 OPTIM.MAX_EPOCH=50,200
    python scripts/ship/validate.py SHIP+CLIPAdapter TRAINER.SHIP.GENERATOR.KL_WEIGHT=0.1,1 --seeds 1 2 3 4 5

Half of the base classes play the base classes and the others the new ones (DATASET.SUBSAMPLE_CLASSES dev), on
validation
images: the new classes and the test images are not looked at. Finished runs are skipped. All runs share one process a
core, so that a run costs its training and little else.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, pstdev

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", help="a trainer, or SHIP+LEARNER")
    parser.add_argument("values", nargs="*", metavar="KEY=VALUE,VALUE", help="every combination is tried")
    parser.add_argument("--dataset", default="miniworld")
    parser.add_argument("--config", default="miniclip", help="name of the method's config file")
    parser.add_argument("--root", default="data")
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--out", default="output/validation")
    args = parser.parse_args()
    grid = combinations(args.values, parser)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // args.jobs)))  # the workers read it
    failed = 0
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as workers:
        runs = {workers.submit(run, command(args, chosen, seed)): None for seed in args.seeds for chosen in grid}
        for done, future in enumerate(as_completed(runs), 1):
            told = future.result()
            failed += bool(told)
            print(f"\r{done} of {len(runs)} runs {told}", end="\n" if told else "", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(table(args, grid))
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


def folder_of(args: argparse.Namespace, chosen: dict[str, str], seed: int) -> Path:
    name = "_".join(f"{key.rsplit('.', 1)[-1]}={value}" for key, value in chosen.items()) or "as_configured"
    return Path(args.out) / args.dataset / f"shots_{args.shots}" / args.method / args.config / name / f"seed{seed}"


def command(args: argparse.Namespace, chosen: dict[str, str], seed: int) -> list[str]:
    """train.py's flags for one run."""
    trainer, _, learner = args.method.partition("+")
    files = [f"configs/trainers/{trainer}/{args.config}.yaml"]
    files += [f"configs/trainers/{trainer}/with_{learner}.yaml"] if learner else []
    flags = ["--trainer", trainer, "--root", args.root, "--seed", str(seed)]
    flags += ["--dataset-config-file", f"configs/datasets/{args.dataset}.yaml"]
    flags += ["--output-dir", str(folder_of(args, chosen, seed))]
    flags += [part for file in files for part in ("--config-file", file)]
    flags += ["--eval-only"] if trainer == "ZeroshotCLIP" else []
    flags += ["DATASET.NUM_SHOTS", str(args.shots), "DATASET.SUBSAMPLE_CLASSES", "dev"]
    flags += ["FEATURES.CACHE_DIR", str(Path(args.out) / "features")]
    return flags + [part for pair in chosen.items() for part in pair]


def run(flags: list[str]) -> str:
    """One run in this process; what went wrong, if something did."""
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    import train

    with redirect_stdout(StringIO()), redirect_stderr(StringIO()) as told:
        status = train.main(flags)
    return told.getvalue().strip() if status else ""


def table(args: argparse.Namespace, grid: Sequence[dict[str, str]]) -> str:
    from tabulate import tabulate

    rows = []
    for chosen in grid:
        files = [folder_of(args, chosen, seed) / "results.json" for seed in args.seeds]
        found = [json.loads(file.read_text())["figures"] for file in files if file.is_file()]
        if not found:
            continue
        settings = " ".join(f"{key.rsplit('.', 1)[-1]} {value}" for key, value in chosen.items())
        figures = [[result[key] for result in found] for key in ("own_base_accuracy", "own_new_accuracy", "own_h", "h")]
        rows.append((fmean(figures[-1]), [settings, *(f"{fmean(f):.1f} +- {pstdev(f):.1f}" for f in figures)]))
    rows.sort(key=lambda row: -row[0])
    return tabulate([row for _, row in rows], [args.method, "base", "new", "H", "joint H"], tablefmt="github")


if __name__ == "__main__":
    sys.exit(main())
