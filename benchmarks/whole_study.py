"""The demonstration, and every other experiment, by this code and by that of another checkout, in turns.

    git worktree add /tmp/before 9dd9f50
    python benchmarks/whole_study.py --against /tmp/before [--script base2new] [--seeds 1 2 3] [--data data]

Both run the script of that name from nothing but the rendered images, each in an output folder of its own, and their
tables are held against each other. A machine's speed varies by more than what is looked for, so the two go on by turns:
one is stopped (SIGSTOP) while the other has all cores, and the next turn is that of the one with fewer finished runs.
Without --against the other side is this code with a process for each run, as `python train.py` does it.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tabulate import tabulate

from shipclip.commands.run import OF_ONE_DATASET
from shipclip.experiments import local, plan
from shipclip.experiments.plan import Study
from shipclip.reporting.tree import runs_below
from shipclip.run import FILE

Results = dict[tuple[str, ...], dict[str, float]]


@dataclass
class Side:
    """One of the two: a process with its children, which can be stopped, and its clock.

    Attributes:
        command, environment: what is started, in this repository's root.
        folder: of its results.
        seconds: for which it was not stopped.
    """

    name: str
    command: list[str]
    environment: dict[str, str]
    folder: Path
    seconds: float = 0.0
    process: subprocess.Popen | None = None

    @property
    def is_over(self) -> bool:
        return self.process is not None and self.process.returncode is not None

    @property
    def finished_runs(self) -> int:
        return sum(1 for _ in self.folder.rglob(FILE))

    def turn(self, seconds: float) -> None:
        """Let it go on for so long, or to its end."""
        began = time.perf_counter()
        if self.process is None:
            # A session of its own: signals reach all of it, and nothing else.
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, env=self.environment, stdout=subprocess.DEVNULL, start_new_session=True
            )
        else:
            os.killpg(self.process.pid, signal.SIGCONT)
        try:
            if self.process.wait(seconds):
                sys.exit(f"{self.name}: {' '.join(self.command)} ended with status {self.process.returncode}")
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGSTOP)
        self.seconds += time.perf_counter() - began

    def end(self) -> None:
        if self.process is not None and not self.is_over:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout of this repository")
    parser.add_argument("--script", default="base2new")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="root of the data sets")
    parser.add_argument("--turn", type=float, default=10.0, help="seconds of a side's turn")
    parser.add_argument("--keep", type=Path, help="an empty folder for the results of both; default: none are kept")
    parser.add_argument("--one-by-one", type=Path, metavar="FOLDER", help="do a process for each run, and nothing else")
    args = parser.parse_args()
    if not args.against and args.script not in OF_ONE_DATASET:
        parser.error(
            f"--script {args.script} needs --against: a process for each run is made of {', '.join(OF_ONE_DATASET)}"
        )
    if args.turn <= 0:
        parser.error("--turn: give a number of seconds above 0")
    if args.keep and args.keep.is_dir() and any(args.keep.iterdir()):
        parser.error(f"--keep: {args.keep} is not empty, and what is finished there would take no time")
    if args.one_by_one:
        by_processes(args, args.one_by_one)
        return
    with nullcontext(str(args.keep.absolute())) if args.keep else tempfile.TemporaryDirectory() as place:
        folders = Path(place) / "before", Path(place) / "now"
        before = by_script("before", args.against, args, folders[0]) if args.against else by_this_file(args, folders[0])
        now = by_script("now", ROOT, args, folders[1])
        in_turns([before, now], args.turn)
        theirs, ours = map(figures, folders)
    apart = [abs(ours[run][key] - value) for run in theirs.keys() & ours.keys() for key, value in theirs[run].items()]
    rows = [[side.name, f"{side.seconds:.0f}", f"{before.seconds / side.seconds:.2f}"] for side in (before, now)]
    print(tabulate(rows, [f"{args.script}, seeds {' '.join(map(str, args.seeds))}", "s", "times"], tablefmt="github"))
    print(
        f"runs: {len(theirs)} and {len(ours)}; largest difference of an accuracy: {max(apart, default=0.0):.2f} points"
    )


def in_turns(sides: Sequence[Side], seconds: float) -> None:
    """Both to their ends, side by side by the number of their runs."""
    told, done = 0, {side.name: 0 for side in sides}
    try:
        while left := [side for side in sides if not side.is_over]:
            side = min(left, key=lambda side: (done[side.name], side.seconds))
            side.turn(seconds)
            done[side.name] = side.finished_runs
            if min(done.values()) >= told + 10:
                told = min(done.values())
                clocks = ", ".join(f"{side.name} {done[side.name]} runs in {side.seconds:.0f} s" for side in sides)
                print(clocks, file=sys.stderr, flush=True)
    finally:
        for side in sides:
            side.end()


def by_script(name: str, checkout: Path, args: argparse.Namespace, folder: Path) -> Side:
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "PYTHONPATH": str(checkout),
        "OUTPUT": str(folder),
        "DATA": str(args.data.absolute()),
    }
    words = ["bash", str(checkout / "scripts" / "ship" / f"{args.script}.sh")]
    words += ([] if args.script == "experiments" else ["miniworld"]) + list(map(str, args.seeds))
    return Side(name, words, environment, folder)


def by_this_file(args: argparse.Namespace, folder: Path) -> Side:
    words = [sys.executable, str(Path(__file__).resolve()), "--one-by-one", str(folder), "--script", args.script]
    words += ["--data", str(args.data.absolute()), "--seeds", *map(str, args.seeds)]
    return Side("a process each", words, dict(os.environ), folder)


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
