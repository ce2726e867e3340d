"""A plan on this machine: worker processes that stay alive, one for each GPU, or each with its share of the cores."""

from __future__ import annotations

import gc
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from ..machine import SHARERS, free_memory, keep_memory
from .job import Chain, Job
from .outcome import Outcome

MEMORY = 2 * 2**30  # bytes that a worker on the CPU may need
STARTS = 2  # of a run whose worker was lost
CONTEXT = get_context("spawn")


@dataclass
class Worker:
    """A process, what it is told by, and what it does."""

    process: BaseProcess
    pipe: Connection
    gpu: int | None
    number: int
    chain: Chain | None = None
    job: Job | None = None


class Queue:
    """The chains that are left.

    One whose generator is being trained just now lets others go first: it would only wait for it.
    """

    def __init__(self, chains: Sequence[Chain]):
        self.left, self.there = list(chains), set[Any]()

    def next(self, at_work: Iterable[Chain | None]) -> Chain | None:
        """The next one while these are at work; None: no more."""
        trained = {one for chain in at_work if chain for one in chain.generators} - self.there
        free = (place for place, chain in enumerate(self.left) if not chain.generators & trained)
        return self.left.pop(next(free, 0)) if self.left else None

    def done(self, chain: Chain) -> None:
        """Its generators are there."""
        self.there |= chain.generators


def run(chains: Sequence[Chain], jobs: int, bench: Mapping[str, Any] | None = None) -> Iterator[Outcome]:
    """Do all chains, `jobs` at once, in the order of the `Queue`; yields what becomes of each run.

    Args:
        bench: properties of each worker's `Bench`.

    A worker that is lost (killed, out of memory) is replaced, and its chain done once more: what it had finished stays.
    A run that loses its worker again has failed, and takes those with it that need it.
    On an interrupt the workers are ended with what they have started.
    """
    gpus = gpu_count()
    queue, lost = Queue(chains), Counter[str]()
    told: set[str] = set()  # folders of runs whose end was told; a chain that is done again comes by them once more
    workers = [started(n, jobs, n % gpus if gpus else None, bench or {}) for n in range(min(jobs, len(chains)))]
    try:
        for worker in workers:
            give(worker, queue, workers)
        while any(worker.chain for worker in workers):
            ready = wait([worker.pipe for worker in workers if worker.chain])
            for worker in [worker for worker in workers if worker.pipe in ready]:
                try:
                    outcome = worker.pipe.recv()
                except (EOFError, OSError):
                    worker.process.join()
                    chain: Chain | None = worker.chain
                    job = worker.job or next((job for job in chain.jobs if job.folder not in told), None)
                    if job:
                        lost[job.folder] += 1
                        if lost[job.folder] >= STARTS:
                            yield Outcome(job, "failed", 0.0, how_it_ended(worker), worker.number)
                            chain = after(chain, job)
                        if chain:
                            queue.left.insert(0, chain)
                    place = workers.index(worker)
                    workers[place] = started(worker.number, jobs, worker.gpu, bench or {})
                    give(workers[place], queue, workers)
                    continue
                if outcome is None:
                    queue.done(worker.chain)  # type: ignore[arg-type]
                    give(worker, queue, workers)
                    continue
                outcome.worker = worker.number
                worker.job = outcome.job if outcome.kind == "begun" else None
                if outcome.job.folder not in told:
                    told |= {outcome.job.folder} if outcome.kind != "begun" else set()
                    yield outcome
    finally:
        end(workers)


def after(chain: Chain, job: Job) -> Chain | None:
    """What is left of a chain whose run has failed; None: nothing, or only what needs it."""
    number = chain.jobs.index(job)
    return Chain(chain.jobs[number + 1 :], needed=0) if chain.needed <= number < len(chain.jobs) - 1 else None


def give(worker: Worker, queue: Queue, workers: Sequence[Worker]) -> None:
    """The next chain, if there is one."""
    worker.chain = worker.job = None
    worker.chain = queue.next(other.chain for other in workers)
    if worker.chain:
        worker.pipe.send(worker.chain)


def started(number: int, jobs: int, gpu: int | None, bench: Mapping[str, Any]) -> Worker:
    """A new worker with its share of the machine."""
    ours, theirs = CONTEXT.Pipe()
    environment = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, cores() // jobs))}
    environment[SHARERS] = str(max(1, jobs if gpu is None else -(-jobs // gpu_count())))
    if gpu is not None:
        visible = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one]
        environment["CUDA_VISIBLE_DEVICES"] = visible[gpu] if visible else str(gpu)
    before = {key: os.environ.get(key) for key in environment}
    os.environ.update(environment)  # a process reads them when it starts, and torch when it is imported
    try:
        process = CONTEXT.Process(target=work, args=(theirs, bench))
        process.start()
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})
    theirs.close()
    return Worker(process, ours, gpu, number)


def work(pipe: Connection, bench_of: Mapping[str, Any]) -> None:
    """A worker's life: chains come, outcomes go."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells all of us; the parent decides
    signal.signal(signal.SIGTERM, lambda *_: end_with_children())
    threading.Thread(target=follow_parent, daemon=True).start()
    keep_memory()
    gc.disable()  # what is imported stays, so nobody need look for garbage in it, then or later
    from .work import Bench, do

    gc.freeze()
    gc.enable()
    bench = Bench(**bench_of)
    while True:
        try:
            chain = pipe.recv()
        except EOFError:
            return
        for outcome in do(chain, bench):
            pipe.send(outcome)
        pipe.send(None)


def follow_parent() -> None:
    """No worker outlives who gives it work."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        end_with_children()


def end_with_children() -> None:
    """End this process and those that it has started, which do not hear of it by themselves."""
    import signal

    for child in children_of(os.getpid()):
        try:
            os.kill(child, signal.SIGTERM)
        except OSError:
            continue
    os._exit(1)


def children_of(process: int) -> list[int]:
    """The processes that a process has started."""
    import subprocess

    listed = subprocess.run(["ps", "-A", "-o", "pid=", "-o", "ppid="], capture_output=True, text=True).stdout
    pairs = [line.split() for line in listed.splitlines()]
    return [int(pid) for pid, parent in pairs if parent == str(process) and pid != str(process)]


def end(workers: Sequence[Worker]) -> None:
    for worker in workers:
        worker.pipe.close()  # an idle one ends by itself
        if worker.chain:
            worker.process.terminate()
    for worker in workers:
        worker.process.join(10)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def how_it_ended(worker: Worker) -> str:
    status = worker.process.exitcode or 0
    by = f"by signal {-status}" if status < 0 else f"with status {status}"
    return f"its process ended {by}, {STARTS} times (too little memory for so many at once? lower --jobs)"


# -- this machine --------------------------------------------------------------------------------------------


def default_jobs(small: bool) -> int:
    """How many runs at once: one for each GPU; without one, of small runs as many as there are cores (at most 4) and as
    fit into memory, of large ones one."""
    gpus = gpu_count()
    if gpus:
        return gpus
    return max(1, min(cores(), 4, free_memory() // MEMORY)) if small else 1


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu_count() -> int:
    """How many GPUs torch sees; torch is not imported for it where no driver is."""
    if not (os.path.exists("/dev/nvidiactl") or os.path.exists("/dev/kfd") or shutil.which("nvidia-smi")):
        return 0
    import torch

    return torch.cuda.device_count()
