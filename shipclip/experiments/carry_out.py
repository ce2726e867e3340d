"""Plans carried out, and what is made of their results: tables and pictures."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..reporting.tree import experiment_in
from . import cluster, local
from .display import Display
from .job import Chain, Job
from .outcome import Outcome
from .plan import ELEVEN, Study, is_embedded, joined

Plan = tuple[str, list[Chain]]
INTERRUPTED = 130


@dataclass(frozen=True)
class Where:
    """What carries a plan out.

    Attributes:
        executor: local, ray or slurm.
        jobs: of local: runs at once; 0: as many as fit.
        loud: of local: runs speak on the console.
        profile: of local: each run tells in its log where its time goes.
        cpus, gpus: of ray: that a chain of runs holds.
        slurm: of slurm: submitit's options.
    """

    executor: str = "local"
    jobs: int = 0
    loud: bool = False
    profile: bool = False
    cpus: float = 1
    gpus: float = 0
    slurm: Mapping[str, Any] = field(default_factory=dict)

    def run(self, chains: Sequence[Chain], study: Study) -> Iterator[Outcome]:
        """Do all chains, and tell what becomes of each run."""
        if self.executor == "ray":
            return cluster.on_ray(chains, self.cpus, self.gpus)
        if self.executor == "slurm":
            return cluster.on_slurm(chains, Path(study.output) / "slurm", self.slurm)
        small = all(is_embedded(job.dataset) for chain in chains for job in chain.jobs)
        bench = {"train_py": "." if study.foreign else "", "loud": self.loud, "profile": self.profile}
        return local.run(chains, self.jobs or local.default_jobs(small), bench)


def carry_out(plans: Sequence[Plan], study: Study, where: Where = Where()) -> list[str]:
    """Do all runs; returns those that failed, which have stopped none but those that need them."""
    chains = [chain for _, part in plans for chain in part]
    if where.executor == "local":  # on a cluster what is lost is lost with its chain, so each run keeps its own
        chains = joined(chains)
    runs = [job for chain in chains for job in chain.jobs]
    for name, part in plans:
        data = dict.fromkeys(job.dataset for chain in part for job in chain.jobs)
        print(f"{name.replace('_', ' ')} on {', '.join(data)}, seeds {' '.join(map(str, study.seeds))}: "
              f"{sum(len(chain.jobs) for chain in part)} runs", flush=True)  # fmt: skip
    began = time.time()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the workers must end with us
    try:
        with Display(len(runs)) as display:
            for outcome in where.run(chains, study):
                display.tell(outcome)
    except KeyboardInterrupt:
        print("\nInterrupted; run the same command to go on")
        sys.exit(INTERRUPTED)
    print(f"\nAll runs took {time.time() - began:.0f} s")
    if display.failed:
        print(f"\n{len(display.failed)} failed:", *(f"  {text}" for text in display.failed), sep="\n", file=sys.stderr)
    return display.failed


def tables(plans: Sequence[Plan], study: Study) -> list[str]:
    """Print each experiment's table and leave it beside its runs; returns what failed."""
    from ..reporting import report

    failed = []
    for name, chains in plans:
        runs = [job for chain in chains for job in chain.jobs]
        place = experiment_in(Path(runs[-1].folder)).partition("/")[0] if runs else name
        stem = Path(study.output) / place / stem_of(name, runs)
        words = [str(stem.parent), "--seeds", *map(str, study.seeds)]
        for suffix in ("md", "csv", "json"):
            words += ["--out", f"{stem}.{suffix}"]
        print()
        if report.main(words):
            failed.append(f"the table of {name}")
    return failed


def stem_of(name: str, runs: Sequence[Job]) -> str:
    """What the files of a table are called."""
    data = list(dict.fromkeys(job.dataset for job in runs))
    called = "eleven" if data == list(ELEVEN) else data[0] if name == "cross_dataset" else "_".join(data)
    return called if name == "few_shot" else f"{called}_shots_{runs[0].shots}"


def draw(study: Study) -> list[str]:
    """The pictures of the embedded experiments and the page with all tables; returns what failed."""
    from ..reporting import figures, interpret, report

    output = Path(study.output)
    folder = output / "figures"
    first = output / "learners" / study.place("SHIP", "miniworld", study.shots or 16, study.seeds[0])
    steps: list[tuple[str, Any, list[str]]] = [
        (kind, figures.main, [kind, str(first), "--out", str(folder)]) for kind in ("features", "confusion", "curves")
    ]
    steps.append(("words", interpret.main, ["--model-dir", str(first), "--out", str(folder)]))
    steps += [(kind, figures.main, [kind, str(output), "--out", str(folder)]) for kind in ("shots", "scatter")]
    failed = [f"the picture {name}" for name, step, words in steps if step(words)]
    pages = [word for name in ("results.html", "results.md") for word in ("--out", str(output / name))]
    failed += ["the page"] if report.main([str(output), *pages]) else []
    print(f"Tables and pictures are in {output / 'results.html'}")
    return failed
