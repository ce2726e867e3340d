"""One run as data: what train.py would be told, and what the library makes of it by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..checkpoints import last_epoch
from ..data import DATASETS
from ..errors import UserError, unknown
from ..files import read_yaml
from ..learners import LEARNERS
from ..options import convert, flatten, merge, nest, unknown_key
from ..presets import CONFIGS, FOLDERS
from ..recipe import of_files
from ..run import FILE, LEARNER, read
from ..settings import ENSEMBLE, GENERATOR, SHIP, Settings, default_tree


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        title: what a person calls it.
        folder: of its results.
        trainer: as in TRAINER.NAME.
        dataset: name of its file in configs/datasets/.
        config: name of its file in configs/trainers/<trainer>/; `overlay`: of a second one on top, or empty.
        root: of the data sets.
        seed, shots, subset: SEED, DATASET.NUM_SHOTS and DATASET.SUBSAMPLE_CLASSES.
        cache: FEATURES.CACHE_DIR; empty: the key is not given (CoOp's own trainers have none).
        options: further keys and values.
        eval_only: nothing is trained.
        model_dir: folder of the run whose weights an evaluation takes; `load_epoch`: of which epoch, 0: the last.
        asks: keys whose values another run's results hold: key -> (its folder, name of the figure).
    """

    title: str
    folder: str
    trainer: str
    dataset: str
    config: str
    root: str
    seed: int
    shots: int
    subset: str
    overlay: str = ""
    cache: str = ""
    options: tuple[tuple[str, str], ...] = ()
    eval_only: bool = False
    model_dir: str = ""
    load_epoch: int = 0
    asks: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def files(self, configs: Path = CONFIGS) -> tuple[Path, list[Path]]:
        """The data set's file, and those of the method, later ones on top."""
        names = filter(None, (self.config, self.overlay))
        return (
            configs / "datasets" / f"{self.dataset}.yaml",
            [configs / "trainers" / FOLDERS.get(self.trainer, self.trainer) / f"{name}.yaml" for name in names],
        )

    def keys(self) -> list[tuple[str, str]]:
        """The keys and values that go on top of the files."""
        given = [("DATASET.NUM_SHOTS", str(self.shots)), ("DATASET.SUBSAMPLE_CLASSES", self.subset)]
        if self.cache:
            given.append(("FEATURES.CACHE_DIR", self.cache))
        return [*given, *self.options]

    def words(self) -> list[str]:
        """train.py's command line."""
        dataset, files = self.files(Path("configs"))
        words = ["--root", self.root, "--seed", str(self.seed), "--trainer", self.trainer]
        words += ["--dataset-config-file", str(dataset)]
        for file in files:
            words += ["--config-file", str(file)]
        words += ["--output-dir", self.folder]
        words += ["--eval-only"] if self.eval_only else []
        words += ["--model-dir", self.model_dir, "--load-epoch", str(self.epoch())] if self.model_dir else []
        return words + [word for pair in self.keys() for word in pair]

    def epoch(self) -> int:
        """Of the weights that an evaluation takes.

        Raises:
            UserError: nothing is trained there.
        """
        found = self.load_epoch or last_epoch(Path(self.model_dir) / LEARNER)
        if not found:
            raise UserError(f"there is no trained model in {self.model_dir}: train it first")
        return found

    def answered(self) -> Job:
        """The run with the values that it asks other runs' results for.

        Raises:
            UserError: results that are not there, or hold no such figure.
        """
        options = list(self.options)
        for key, (folder, name) in self.asks.items():
            try:
                figure = read(Path(folder) / FILE)["figures"][name]
            except (UserError, KeyError) as error:
                raise UserError(f"{folder} holds no {name} for {self.title}: remove it and run again") from error
            options.append((key, str(figure)))
        return replace(self, options=tuple(options), asks={})

    def is_finished(self) -> bool:
        """Whether its results are there."""
        return (Path(self.folder) / FILE).is_file()


@dataclass(frozen=True)
class Chain:
    """Runs that one process does one after another; the later ones need the earlier ones.

    Attributes:
        jobs: the runs.
        needed: which of them, the first ones, end the chain if they fail; the others stand by themselves.
    """

    jobs: tuple[Job, ...]
    needed: int = 1

    @property
    def title(self) -> str:
        return self.jobs[0].title


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
