"""A chain of runs in this process: backbones stay in memory, and a model that is tested on the parts of a data set one
by one looks at its images once."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from .. import method as methods
from .. import profiling
from ..backbones import load_backbone
from ..backbones.base import Backbone
from ..data import DATASETS, task_of
from ..errors import UserError, sentence
from ..log import ENDS, Tee, headline, logged
from ..names import numbered
from ..precision import device_of
from ..reporting.tree import experiment_in, read_log
from ..rng import seed_everything
from ..run import of_nodes, plain
from ..sample_cache import SampleCache
from ..session import EVALUATION, TRAINING, Session, refuse_nothing_trained, taken
from ..settings import Settings, nodes_of
from ..task import Task
from ..unread import notes
from .asked import is_known, settings_of
from .job import Chain, Job
from .outcome import Outcome
from .plan import with_keys

CONSOLE = "console.txt"


@dataclass
class Bench:
    """What stays from run to run.

    Attributes:
        train_py: run everything by the train.py of this folder, in a process each: a CoOp checkout with trainers of its
            own; empty: the library does it.
        loud: whether runs speak on the console, and not in their log alone.
        profile: whether each run tells where its time goes.
    """

    train_py: str = ""
    loud: bool = False
    profile: bool = False
    backbones: dict[tuple[Any, ...], Backbone] = field(default_factory=dict)
    samples: SampleCache = field(default_factory=SampleCache)

    def backbone(self, settings: Settings) -> Backbone:
        """The frozen CLIP of a run; for a learner that changes its image tower a new one."""
        own, device = settings.backbone, device_of(None)
        key = (own.name, own.path, settings.precision, str(device), own.activation)
        if settings.learner.sees == "images":
            return load_backbone(*key)
        if key not in self.backbones:
            self.backbones[key] = load_backbone(*key)
        return self.backbones[key]


def do(chain: Chain, bench: Bench) -> Iterator[Outcome]:
    """The runs of a chain; one that fails is told, and takes those with it that need it. One that trains what an
    earlier one has just trained goes on from there, to its test."""
    once, trained = Once(chain, bench), dict[str, str]()
    for number, job in enumerate(chain.jobs):
        if is_finished(job, bench):
            yield Outcome(job, "finished before")
            continue
        yield Outcome(job, "begun")
        began = time.time()
        there = trained.get(job.training)
        told = _told(with_keys(job, ("RESUME", there)) if there else job, bench, once)
        yield Outcome(job, "failed" if told else "done", time.time() - began, told or accuracy_of(job.folder))
        if not told and job.training and is_known(job) and not (bench.train_py or bench.profile):
            trained[job.training] = job.folder
        if told and number < chain.needed:
            return


def is_finished(job: Job, bench: Bench) -> bool:
    """Whether a run's results are there; CoOp's own trainers leave a log alone."""
    return job.is_finished() or (bool(bench.train_py) and bool(accuracy_of(job.folder)))


def accuracy_of(folder: str) -> str:
    """The last accuracy in the logs of a folder, as they have it; empty: none."""
    found = re.findall(r"^\* (accuracy:.*)$", read_log(Path(folder)), re.MULTILINE)
    return found[-1] if found else ""


def _told(job: Job, bench: Bench, once: Once) -> str:
    """Do a run; what went wrong, if anything did."""
    console, told = Path(job.folder) / CONSOLE, io.StringIO()
    try:
        with contextlib.ExitStack() as quiet:
            if not bench.loud:
                quiet.enter_context(contextlib.redirect_stdout(told))
                quiet.enter_context(contextlib.redirect_stderr(told))
            job = job.answered()
            by_library = not bench.train_py and (is_known(job) or not Path("train.py").is_file())
            run(job, bench, once) if by_library else run_train_py(job, bench, told)
    except ENDS as error:
        return sentence(error)
    except Exception as error:  # a mistake of ours, or of an extension's author: it keeps its traceback
        console.parent.mkdir(parents=True, exist_ok=True)
        console.write_text(f"{told.getvalue()}{traceback.format_exc()}", encoding="utf-8")
        return f"{type(error).__name__}: {sentence(error)}, see {console}"
    console.unlink(missing_ok=True)
    return ""


def run_train_py(job: Job, bench: Bench, told: io.StringIO) -> None:
    """A run by somebody else's train.py."""
    command, place = [sys.executable, "train.py", *job.words()], bench.train_py or "."
    if bench.profile:
        command.insert(2, "--profile")
    if bench.loud:
        status, last = subprocess.run(command, cwd=place).returncode, ""
    else:
        pipe = subprocess.PIPE
        done = subprocess.run(command, cwd=place, stdout=pipe, stderr=subprocess.STDOUT, text=True, errors="replace")
        status, last = done.returncode, " / ".join(done.stdout.strip().splitlines()[-3:])
        told.write(done.stdout)
    if status:
        (Path(job.folder) / CONSOLE).parent.mkdir(parents=True, exist_ok=True)
        (Path(job.folder) / CONSOLE).write_text(told.getvalue(), encoding="utf-8")
        raise UserError(f"exit status {status}: {last}")


def run(job: Job, bench: Bench, once: Once) -> None:
    """A run by the library: what `python train.py` does with the same settings."""
    asked = settings_of(job)
    settings, tree = asked.settings, asked.tree
    if job.eval_only:
        refuse_nothing_trained(settings, job.model_dir)
    if job.model_dir:
        job.epoch()
    seed_everything(settings.seed)
    act, told = EVALUATION if job.eval_only else TRAINING, io.StringIO()
    with contextlib.redirect_stdout(Tee(sys.stdout, told)):  # the log is the folder's, which is not taken yet
        print(headline(settings, device_of(None)))
        for note in notes(settings, asked.given, asked.shipped):
            print(note)
        session = opened(job, tree, settings, bench)
    with taken(session, act, job.model_dir, job.load_epoch or None) as to_do:
        if not to_do:
            return
        place = Path(job.folder) / profiling.FOLDER if bench.profile else ""
        facts = {"Arguments": " ".join(job.words()), "Config": as_yaml(tree)}
        with logged(job.folder, told.getvalue(), facts), profiling.profiled(place, session.method.backbone.device):
            logits = once.logits_for(job, session.task)
            if job.eval_only:
                session.load(job.model_dir, job.load_epoch or None)
                methods.tell_unknown(session.method.backbone, session.task.labels.known)
                session.test(logits=logits)
            else:
                session.train(logits)


def opened(job: Job, tree: dict[str, Any], settings: Settings, bench: Bench) -> Session:
    """The session of a run, nothing done yet."""
    source = DATASETS.get(settings.dataset.name, "DATASET.NAME")(settings.dataset.root)
    task = task_of(source, settings.dataset, settings.seed)
    facts = {"config": job.config, "experiment": experiment_in(Path(job.folder).absolute()).split("/")[0]}
    session = Session.of(tree, task, bench.backbone(settings), job.folder, facts=facts)
    if settings.seed >= 0 and not bench.profile:  # a profile tells what a run costs
        session.method.samples = bench.samples
    return session


def as_yaml(tree: dict[str, Any]) -> str:
    return yaml.safe_dump(of_nodes(plain(tree), nodes_of(tree)), sort_keys=True)


# -- one pass ------------------------------------------------------------------------------------------------


class Once:
    """The logits of a chain's model on all images and over all classes of a data set, computed once for the runs that
    test it on parts of them.

    Of learners whose logit of a class does not hang on which other classes there are (`Learner.each_class_alone`), base
    images over base classes are a part of all images over all classes.
    """

    def __init__(self, chain: Chain, bench: Bench):
        self.chain, self.bench = chain, bench
        self.whole = next((j for j in chain.jobs if j.eval_only and j.subset == "all" and self._parts_of(j)), None)
        self._found: tuple[Task, Tensor] | None = None

    def _parts_of(self, whole: Job) -> list[Job]:
        """The runs that test the same model on a part of the same images."""
        return [job for job in self.chain.jobs if job is not whole and self._is_part(job, whole)]

    @staticmethod
    def _is_part(job: Job, whole: Job) -> bool:
        def asked(one: Job) -> tuple[Any, ...]:
            model = one.model_dir if one.eval_only else one.folder
            return (
                one.trainer,
                one.dataset,
                one.config,
                one.overlay,
                one.seed,
                one.shots,
                one.options,
                model,
                one.load_epoch,
            )

        return asked(job) == asked(whole)

    def logits_for(self, job: Job, task: Task) -> Callable[[], tuple[Tensor, Tensor] | None]:
        """What gives the logits (N, C) and labels (N,) of a run's test images, or None where they must be computed."""

        def logits() -> tuple[Tensor, Tensor] | None:
            if self.whole is None or is_finished(self.whole, self.bench):
                return None
            if job.folder != self.whole.folder and not self._is_part(job, self.whole):
                return None
            found = self._compute()
            return None if found is None else part_of(*found, task)

        return logits

    def _compute(self) -> tuple[Task, Tensor] | None:
        if self._found is None and self.whole is not None:
            asked = settings_of(self.whole)
            settings, tree = asked.settings, asked.tree
            if not settings.learner.each_class_alone:
                self.whole = None
                return None
            try:
                with contextlib.redirect_stdout(io.StringIO()):  # the run on all of them will tell the same
                    session = opened(self.whole, tree, settings, self.bench)
                    session.load(self.whole.model_dir, self.whole.load_epoch or None)
                    self._found = session.task, methods.logits(session.method)[0]
            except UserError:  # that run will tell
                self.whole = None
        return self._found


def part_of(whole: Task, logits: Tensor, task: Task) -> tuple[Tensor, Tensor] | None:
    """Logits of a task's test images over its classes, out of those of a task that holds them all; None: it does not.

    Args:
        whole: the larger task.
        logits: of its test images, (N, C).
    """
    rows = {item.impath: row for row, item in enumerate(whole.test)}
    columns = {name: column for column, name in enumerate(numbered(whole.labels.names))}
    try:
        at = [rows[item.impath] for item in task.test]
        among = [columns[name] for name in numbered(task.labels.names)]
    except KeyError:
        return None
    labels = torch.tensor([item.label for item in task.test])
    return logits[at][:, among].contiguous(), labels
