"""One run as data: what train.py would be told. Nothing here is slow to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..presets import CONFIGS, FOLDERS


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
        from ..checkpoints import last_epoch
        from ..run import LEARNER

        found = self.load_epoch or last_epoch(Path(self.model_dir) / LEARNER)
        if not found:
            raise UserError(f"there is no trained model in {self.model_dir}: train it first")
        return found

    def answered(self) -> Job:
        """The run with the values that it asks other runs' results for.

        Raises:
            UserError: results that are not there, or hold no such figure.
        """
        from ..run import FILE, read

        options = list(self.options)
        for key, (folder, name) in self.asks.items():
            try:
                figure = read(Path(folder) / FILE)["figures"][name]
            except (UserError, KeyError) as error:
                raise UserError(f"{folder} holds no {name} for {self.title}: remove it and run again") from error
            options.append((key, str(figure)))
        return replace(self, options=tuple(options), asks={})

    @property
    def generator(self) -> tuple[Any, ...] | None:
        """What tells the generator that it trains from those of other runs, as far as its plan knows; None: it trains
        none that others share."""
        own = tuple(pair for pair in self.options if pair[0].startswith("TRAINER.SHIP.GENERATOR."))
        if self.trainer != "SHIP" or self.eval_only or not self.cache or "TRAINER.SHIP.GENERATOR.FROM" in dict(own):
            return None
        return self.cache, self.root, self.dataset, self.config, self.seed, self.shots, self.subset, own

    @property
    def training(self) -> str:
        """What it trains, to the letter, wherever it leaves it; empty: nothing, or with a seed of its own each time."""
        return "" if self.eval_only or self.seed < 0 else repr(replace(self, title="", folder=""))

    def is_finished(self) -> bool:
        """Whether its results are there."""
        from ..run import FILE

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

    @property
    def generators(self) -> set[tuple[Any, ...]]:
        """Those that its runs train and others may share."""
        return {job.generator for job in self.jobs if job.generator}
