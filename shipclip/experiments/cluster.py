"""A plan on a cluster: each chain of runs is a task of an existing Ray cluster, or a job of Slurm's.

Results go where they go on one machine, so the folder that the command is started in must be shared storage. A backbone
stays in memory from chain to chain where a process does several.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import UserError, first_line
from ..extras import imported
from ..machine import keep_memory
from .job import Chain
from .outcome import Outcome

RETRIES = 3  # of a chain whose process was lost
POLL = 0.5  # seconds between looks at Slurm's jobs


def on_ray(chains: Sequence[Chain], cpus: float = 1, gpus: float = 0) -> Iterator[Outcome]:
    """Do all chains on the Ray cluster that RAY_ADDRESS names or that this machine is part of, else on one of its own.

    A chain whose worker is lost is done once more somewhere else; what it had finished stays.

    Args:
        cpus, gpus: that a chain holds; half a GPU lets two share one.
    """
    ray = imported("ray", "ray", "--executor ray")
    mine = not ray.is_initialized()
    if mine:
        ray.init(log_to_driver=False, include_dashboard=False, logging_level="ERROR")
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)(do_all)
    left = {task.remote(chain, os.getcwd(), max(1, int(cpus))): chain for chain in chains}
    try:
        while left:
            (ready,), _ = ray.wait(list(left), num_returns=1)
            chain = left.pop(ready)
            try:
                yield from ray.get(ready)
            except ray.exceptions.RayError as error:
                yield Outcome(chain.jobs[0], "failed", 0.0, f"Ray lost it ({first_line(error)})")
    finally:
        for task_left in left:
            ray.cancel(task_left, force=True)
        if mine:
            ray.shutdown()


def on_slurm(chains: Sequence[Chain], folder: Path, options: Mapping[str, Any]) -> Iterator[Outcome]:
    """Do all chains as an array of Slurm's jobs, through submitit.

    Args:
        folder: of submitit's own files and the jobs' logs.
        options: of its executor: slurm_partition, timeout_min, gpus_per_node, slurm_array_parallelism ...; `cluster`
            local runs them here, to try it.
    """
    submitit = imported("submitit", "slurm", "--executor slurm")
    own = dict(options)
    executor = submitit.AutoExecutor(folder=folder, cluster=own.pop("cluster", None))
    try:
        executor.update_parameters(**{"name": "shipclip", **own})
    except (TypeError, ValueError, NameError) as error:
        raise UserError(f"Slurm's options are refused ({first_line(error)}): check --slurm") from error
    with executor.batch():
        jobs = [executor.submit(do_all, chain, os.getcwd(), 0) for chain in chains]
    left = dict(zip(jobs, chains, strict=True))
    try:
        while left:
            for job in [job for job in left if job.done()]:
                chain = left.pop(job)
                try:
                    yield from job.result()
                except Exception as error:  # submitit has kinds of its own for whatever ended the job
                    yield Outcome(chain.jobs[0], "failed", 0.0, f"{first_line(error)}, see {job.paths.stderr}")
            time.sleep(POLL if left else 0)
    finally:
        for job in left:
            job.cancel()


def do_all(chain: Chain, folder: str, threads: int) -> list[Outcome]:
    """All runs of a chain, in this process.

    Args:
        folder: that their paths count from.
        threads: that they compute with; 0: as torch likes.
    """
    os.chdir(folder)
    if threads:
        import torch

        torch.set_num_threads(threads)
    from .work import do

    return [outcome for outcome in do(chain, bench()) if outcome.kind != "begun"]


@cache
def bench() -> Any:
    """What this process keeps from chain to chain."""
    from .work import Bench

    keep_memory()
    return Bench()
