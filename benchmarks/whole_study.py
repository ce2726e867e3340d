"""The demonstration, and every other experiment, by this code and by that of another checkout, one after the other.

    git worktree add /tmp/before 9dd9f50
    python benchmarks/whole_study.py --against /tmp/before [--script base2new] [--seeds 1 2 3] [--data data]

Both run the script of that name from nothing but the rendered images, each in an output folder of its own, and their
tables are held against each other. Without --against the other side is this code with a process for each run, as
`python train.py` does it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tabulate import tabulate

from shipclip.commands.run import OF_ONE_DATASET
from shipclip.experiments import local, plan
from shipclip.experiments.plan import Study
from shipclip.reporting.tree import runs_below

Results = dict[tuple[str, ...], dict[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout of this repository")
    parser.add_argument("--script", default="base2new")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="root of the data sets")
    parser.add_argument("--keep", type=Path, help="an empty folder for the results of both; default: none are kept")
    args = parser.parse_args()
    if not args.against and args.script not in OF_ONE_DATASET:
        parser.error(
            f"--script {args.script} needs --against: a process for each run is made of {', '.join(OF_ONE_DATASET)}"
        )
    if args.keep and args.keep.is_dir() and any(args.keep.iterdir()):
        parser.error(f"--keep: {args.keep} is not empty, and what is finished there would take no time")
    with nullcontext(str(args.keep.absolute())) if args.keep else tempfile.TemporaryDirectory() as place:
        sides = {}
        for name, checkout in (("before", args.against), ("now", ROOT)):
            folder = Path(place) / name
            began = time.time()
            if checkout:
                by_script(checkout, args, folder)
            else:
                by_processes(args, folder)
            sides[name] = time.time() - began, figures(folder)
            print(f"{name}: {sides[name][0]:.0f} s, {len(sides[name][1])} runs", file=sys.stderr, flush=True)
    (before, theirs), (now, ours) = sides.values()
    apart = [abs(ours[run][key] - value) for run in theirs.keys() & ours.keys() for key, value in theirs[run].items()]
    rows = [["before", f"{before:.0f}", "1.0"], ["now", f"{now:.0f}", f"{before / now:.1f}"]]
    print(tabulate(rows, [f"{args.script}, seeds {' '.join(map(str, args.seeds))}", "s", "times"], tablefmt="github"))
    print(
        f"runs: {len(theirs)} and {len(ours)}; largest difference of an accuracy: {max(apart, default=0.0):.2f} points"
    )


def by_script(checkout: Path, args: argparse.Namespace, folder: Path) -> None:
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "PYTHONPATH": str(checkout),
        "OUTPUT": str(folder),
        "DATA": str(args.data),
    }
    words = ["bash", str(checkout / "scripts" / "ship" / f"{args.script}.sh")]
    words += ([] if args.script == "experiments" else ["miniworld"]) + list(map(str, args.seeds))
    subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL)


def by_processes(args: argparse.Namespace, folder: Path) -> None:
    """A process for each run, as many at once as there are workers otherwise."""
    study = Study(seeds=tuple(args.seeds), output=str(folder), data=str(args.data))
    jobs = local.default_jobs(small=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, local.cores() // jobs))}

    def one_by_one(chain: plan.Chain) -> None:
        for job in chain.jobs:
            command = [sys.executable, "train.py", *job.answered().words()]
            subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one_by_one, getattr(plan, args.script)(study, "miniworld")))


def figures(folder: Path) -> Results:
    """Accuracies of every run, by its folder."""
    keys = ("accuracy", "own_base_accuracy", "own_new_accuracy", "base_accuracy", "new_accuracy")
    return {
        run.folder.relative_to(folder).parts: {key: run.figures[key] for key in keys if key in run.figures}
        for run in runs_below(folder)
    }


if __name__ == "__main__":
    main()
