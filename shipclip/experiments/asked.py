"""What the library makes of a run by itself: its settings, and what of it can be refused before anything is run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data import DATASETS
from ..errors import UserError, unknown
from ..files import read_yaml
from ..learners import LEARNERS
from ..options import convert, flatten, merge, nest, unknown_key
from ..presets import CONFIGS
from ..recipe import of_files
from ..settings import ENSEMBLE, GENERATOR, SHIP, Settings, default_tree
from .job import Job


def check(job: Job) -> None:
    """Refuse, before anything is run, what can be told from the method's name, its files and the settings alone.

    Raises:
        UserError: a method or config that is not there, an unknown key, or a value that cannot be.
    """
    if job.overlay and job.trainer != SHIP:
        raise UserError(f"{job.trainer} takes no +{job.overlay.removeprefix('with_')}: SHIP alone tunes other learners")
    own = job.files(Path("configs"))[1] if Path("train.py").is_file() else []
    for file in job.files()[1]:
        if file.is_file() or any(other.name == file.name and other.is_file() for other in own):
            continue
        if not file.parent.is_dir():
            raise unknown("method", job.trainer, [place.name for place in CONFIGS.joinpath("trainers").iterdir()])
        configs = [other.stem for other in file.parent.glob("*.yaml")]
        overlays = [name.removeprefix("with_") for name in configs if name.startswith("with_")]
        if file.stem == job.overlay:
            raise unknown(f"learner for {job.trainer}", job.overlay.removeprefix("with_"), overlays)
        raise unknown(f"config of {job.trainer}", file.stem, [name for name in configs if not name.startswith("with_")])
    if is_known(job):
        settings_of(job)


def is_known(job: Job) -> bool:
    """Whether the library has the learner and the data set; others are those of the train.py that registers them."""
    dataset = job.files()[0]
    learner = job.overlay.removeprefix("with_") or job.trainer
    known = learner in LEARNERS or (job.trainer in (SHIP, GENERATOR, ENSEMBLE) and learner == job.trainer)
    name = read_yaml(dataset).get("DATASET", {}).get("NAME", "") if dataset.is_file() else ""
    return known and name in DATASETS


@dataclass(frozen=True)
class Asked:
    """What a run is asked for.

    Attributes:
        settings, tree: the same settings, read and as nodes.
        given: keys that were given.
        shipped: those of the files that come with the project.
    """

    settings: Settings
    tree: dict[str, Any]
    given: list[str]
    shipped: list[str]


def settings_of(job: Job) -> Asked:
    """A run's settings as train.py would have them.

    Raises:
        UserError: a file or key that is not there, or a value that cannot be.
    """
    dataset, files = job.files()
    tree, shipped = of_files([dataset, *files])
    everything = flatten(default_tree())
    own = {"SEED": job.seed, "TRAINER.NAME": job.trainer, "DATASET.ROOT": job.root}
    given = [*own.items(), *job.keys()]
    for key, value in given:
        if key not in everything:
            raise unknown_key(key, list(everything))
        tree = merge(tree, nest(key, convert(value, everything[key], key)))
    return Asked(Settings.of(tree), tree, [key for key, _ in given], shipped)
