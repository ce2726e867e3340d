"""The experiments as data: which runs, in which folders, and what they need of each other.

A method is a trainer (CoOp), SHIP with another learner (SHIP+GDA), or a trainer on real shots of all classes (CoOp-all,
the upper bound); CoOp:vit_b16_ep50 is CoOp with that config. A run's folder is CoOp's:
<output>/base2new/train_base/<dataset>/shots_<k>/<method>/<config>/seed<s>.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import UserError, unknown
from ..presets import CONFIGS, OTHERS
from .job import Chain, Job
from .rows import BEYOND, ROWS

ELEVEN = ("imagenet", "caltech101", "oxford_pets", "stanford_cars", "oxford_flowers", "food101", "fgvc_aircraft")
ELEVEN += ("sun397", "dtd", "eurosat", "ucf101")
VARIANTS = ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r")
ZERO_SHOT = "ZeroshotCLIP"
ON_IMAGENET = {"CoOp": "vit_b16_ep50_ctxv1", "SHIP": "vit_b16_imagenet_reference"}


@dataclass(frozen=True)
class Study:
    """What all runs of an experiment share.

    Attributes:
        seeds: of the runs.
        methods: empty: the experiment's own.
        shots: training images a class; -1: all; None: the experiment's own.
        output: folder of the results.
        data: root of the data sets; empty: of the embedded ones "data", of others there is none.
        config: of every method; empty: each method's own for the data set.
        cache: folder of encoded images, and of generators trained on them; empty: <output>/features.
        options: further keys and values.
        subset: gzsl, or dev to choose settings on images of base classes that are not for testing.
        configs: folder of the YAML files.
        foreign: whether the runs are those of a CoOp checkout with trainers of its own.
    """

    seeds: tuple[int, ...] = (1, 2, 3)
    methods: tuple[str, ...] = ()
    shots: int | None = None
    output: str = "output"
    data: str = ""
    config: str = ""
    cache: str = ""
    options: tuple[tuple[str, str], ...] = ()
    subset: str = "gzsl"
    configs: Path = field(default=CONFIGS)
    foreign: bool = False

    def check(self, dataset: str) -> None:
        """Refuse a data set that is not known, or lies nobody knows where."""
        known = sorted(file.stem for file in (self.configs / "datasets").glob("*.yaml"))
        if dataset not in known:
            raise unknown("data set", dataset, known)
        self.root(dataset)

    def root(self, dataset: str) -> str:
        """Where a data set lies."""
        if not self.data and not is_embedded(dataset):
            raise UserError(
                f"say where the data sets lie: DATA=/path/to/data before the script's name, or --data, for {dataset}"
            )
        return self.data or "data"

    def config_of(self, method: str, dataset: str) -> str:
        """The config that a method takes for a data set."""
        name, _, named = method.partition(":")
        trainer = trainer_of(name)
        if named or self.config:
            return named or self.config
        if is_embedded(dataset):
            return "miniclip"
        special = ON_IMAGENET.get(trainer, "")
        if dataset == "imagenet" and (self.configs / "trainers" / trainer / f"{special}.yaml").is_file():
            return special
        return OTHERS.get(trainer, "vit_b16")

    def tuned(self, dataset: str) -> tuple[str, ...]:
        """SHIP with the config that validation chose, where there is one."""
        config = f"{self.config_of('SHIP', dataset)}_tuned"
        return (f"SHIP:{config}",) if (self.configs / "trainers" / "SHIP" / f"{config}.yaml").is_file() else ()

    def place(self, method: str, dataset: str, shots: int, seed: int, source: str = "") -> str:
        """A run's place below its experiment's folder; with `source` the config is the one of that data set."""
        config = self.config_of(method, source or dataset)
        return f"{dataset}/shots_{shots}/{method.partition(':')[0]}/{config}/seed{seed}"

    def job(
        self, method: str, dataset: str, seed: int, folder: str, subset: str, title: str, *, shots: int | None = None
    ) -> Job:
        """A run of a method on a data set."""
        name = method.partition(":")[0]
        trainer, overlay = trainer_of(name), name.partition("+")[2]
        return Job(
            title,
            folder,
            trainer,
            dataset,
            self.config_of(method, dataset),
            self.root(dataset),
            seed,
            16 if shots is None else shots,
            subset,
            overlay=f"with_{overlay}" if overlay else "",
            cache=(self.cache or f"{self.output}/features") if trainer == "SHIP" or not self.foreign else "",
            options=self.options,
            eval_only=trainer.startswith(ZERO_SHOT),  # and its ensemble
        )


def is_embedded(dataset: str) -> bool:
    return dataset.startswith("mini")


def trainer_of(name: str) -> str:
    return name.removesuffix("-all").partition("+")[0]


def with_keys(job: Job, *pairs: tuple[str, str]) -> Job:
    """The run with these keys before the study's own."""
    return replace(job, options=(*pairs, *job.options))


def joined(chains: Sequence[Chain]) -> list[Chain]:
    """The chains, with runs that train the very same in one chain each.

    Experiments share runs: SHIP with 16 shots is a learner, the end of a curve and the ablation's first row. One after
    another, the later ones find trained what they would train.
    """
    groups: dict[Any, list[Chain]] = {}
    for number, chain in enumerate(chains):
        groups.setdefault((len(chain.jobs) == 1 and chain.jobs[0].training) or number, []).append(chain)
    return [
        group[0] if len(group) == 1 else Chain(tuple(chain.jobs[0] for chain in group), needed=0)
        for group in groups.values()
    ]


# -- base to new --------------------------------------------------------------------------------------------


def base2new(study: Study, dataset: str, parts: Sequence[str] = (), epoch: int = 0) -> list[Chain]:
    """Train on the base classes; test on them, on the new ones, and on all together.

    Args:
        parts: of a method's runs those that are wanted (train, base, new, all); none: all of them.
        epoch: of the weights that are tested; 0: the last.
    """
    methods = study.methods or (ZERO_SHOT, "CoOp", "CoCoOp", "SHIP")
    if not study.methods and is_embedded(dataset):
        methods += ("SHIP:miniclip_textpoint", *study.tuned(dataset), "CoOp-all")
    shots = 16 if study.shots is None else study.shots
    chains = []
    for seed in study.seeds:
        for method in methods:
            place, title = study.place(method, dataset, shots, seed), f"{method} seed {seed}"
            home = f"{study.output}/base2new"
            subset = "all" if method.partition(":")[0].endswith("-all") else "base"
            trained = "" if method == ZERO_SHOT else f"{home}/train_{subset}/{place}"
            jobs = {}
            if trained:
                jobs["train"] = study.job(method, dataset, seed, trained, subset, f"{title}, training", shots=shots)
            for part in ("base", "new", "all"):
                if part == "base" and trained and subset == "base" and part not in parts:
                    continue  # the training tests on them
                if part == "all" and study.foreign and trainer_of(method.partition(":")[0]) != "SHIP":
                    continue  # CoOp's own data sets know no such test
                name = f"{title}, {'joint' if part == 'all' else part}"
                job = study.job(method, dataset, seed, f"{home}/test_{part}/{place}", part, name, shots=shots)
                jobs[part] = replace(job, eval_only=True, model_dir=trained, load_epoch=epoch)
            chosen = tuple(job for part, job in jobs.items() if not parts or part in parts)
            if chosen:
                chains.append(Chain(chosen))
    return chains


# -- one run a method: told apart among its own classes and among all --------------------------------------


def learners(study: Study, dataset: str) -> list[Chain]:
    """Every learner alone and with SHIP's features."""
    methods = study.methods
    if not methods:
        methods = (ZERO_SHOT,)
        for learner in ("CoOp", "CoCoOp", "CLIPAdapter", "TipAdapter", "TipAdapterF", "LinearProbe", "GDA"):
            methods += (learner, "SHIP" if learner == "CoOp" else f"SHIP+{learner}")
        methods += study.tuned(dataset)
        if is_embedded(dataset):  # as validation likes them
            methods += ("CoOp:miniclip_ep200", "CLIPAdapter:miniclip_tuned")
    shots = 16 if study.shots is None else study.shots
    home = _home(study, "learners")
    return [
        Chain((study.job(m, dataset, seed, f"{home}/{study.place(m, dataset, shots, seed)}", study.subset,
                         f"{m} seed {seed}", shots=shots),))
        for seed in study.seeds
        for m in methods
    ]  # fmt: skip


def few_shot(study: Study, dataset: str, all_shots: Sequence[int] = (1, 2, 4, 8, 16)) -> list[Chain]:
    """Curves over the number of training images a class."""
    methods = study.methods or (ZERO_SHOT, "CoOp", "SHIP", "CLIPAdapter", *study.tuned(dataset))
    return [
        Chain((study.job(m, dataset, seed, f"{study.output}/few_shot/{study.place(m, dataset, shots, seed)}", "gzsl",
                         f"{m}, {shots} shots, seed {seed}", shots=shots),))
        for seed in study.seeds
        for m in methods
        for shots in all_shots
    ]  # fmt: skip


def ablation(study: Study, dataset: str, rows: Sequence[str] = ()) -> list[Chain]:
    """SHIP with one thing changed at a time, as the paper has it, and around the config that validation chose."""
    known = {**ROWS, **BEYOND}
    for row in rows:
        if row not in known:
            raise unknown("row of the ablation", row, known)
    tuned, home = study.tuned(dataset), _home(study, "ablation")
    shots, chains = 16 if study.shots is None else study.shots, []
    for seed in study.seeds:
        for row, keys in known.items():
            if (rows and row not in rows) or (row.startswith("tuned") and not tuned):
                continue
            method = tuned[0] if row.startswith("tuned") else "SHIP"
            place = f"{dataset}/shots_{shots}/{row}/{study.config_of(method, dataset)}/seed{seed}"
            job = study.job(method, dataset, seed, f"{home}/{place}", study.subset, f"{row} seed {seed}", shots=shots)
            scale = "30.0" if is_embedded(dataset) else "100.0"  # CLIP's own logit scale
            pairs = ((f"TRAINER.{key}", scale if value == "CLIP's" else value) for key, value in keys.items())
            chains.append(Chain((with_keys(job, *pairs),)))
    return chains


def gzsl(study: Study, dataset: str) -> list[Chain]:
    """Generalized zero-shot learning: seen classes with all their training images, unseen ones by name.

    Each method runs twice: within the seen classes, half of which play unseen ones, to choose the penalty on seen
    classes' logits (calibrated stacking), then in earnest. No test image has a say in it.
    """
    methods = study.methods or (ZERO_SHOT, "CoOp", "CLIPAdapter", "SHIP", "SHIP+CLIPAdapter", *study.tuned(dataset))
    shots, chains = -1 if study.shots is None else study.shots, []
    for seed in study.seeds:
        for method in methods:
            place, title = study.place(method, dataset, shots, seed), f"{method} seed {seed}"
            dev = f"{study.output}/gzsl_dev/{place}"
            penalty = study.job(method, dataset, seed, dev, "dev", f"{title}, penalty", shots=shots)
            job = study.job(method, dataset, seed, f"{study.output}/gzsl/{place}", "gzsl", title, shots=shots)
            chains.append(Chain((penalty, replace(job, asks={"TEST.BASE_PENALTY": (dev, "best_penalty")}))))
    return chains


# -- transfer -----------------------------------------------------------------------------------------------


def targets_of(source: str) -> tuple[str, ...]:
    """What a transfer from a data set is tested on."""
    if is_embedded(source):
        return ("miniworld", "minisource_shifted")
    return (*(name for name in ELEVEN if name != "imagenet"), *(VARIANTS if source == "imagenet" else ()))


def cross_dataset(study: Study, source: str, targets: Sequence[str] = ()) -> list[Chain]:
    """Everything is trained on a source and tested on all classes of each target.

    SHIP's generator is trained on the source; from it synthetic features of a target's classes are made of their names
    alone, and the learner is tuned on these. CoOp's and CoCoOp's contexts are carried over.
    """
    methods = study.methods or (ZERO_SHOT, "CoOp", "CoCoOp", "SHIP")
    shots, chains = 16 if study.shots is None else study.shots, []
    home = f"{study.output}/cross_dataset/{source}"

    def job(method: str, dataset: str, seed: int, title: str) -> Job:
        folder = f"{home}/{study.place(method, dataset, shots, seed, source)}"
        return study.job(method, dataset, seed, folder, "all", f"{method} seed {seed}, {title}", shots=shots)

    for seed in study.seeds:
        for method in methods:
            trainer = trainer_of(method.partition(":")[0])
            if trainer == "SHIP":
                first = with_keys(
                    job(method, source, seed, f"generator on {source}"), ("TRAINER.SHIP.GENERATOR.ONLY", "True")
                )
            else:
                first = job(method, source, seed, source if trainer == ZERO_SHOT else f"training on {source}")
            jobs = [first]
            for target in targets or targets_of(source):
                then = job(method, target, seed, target)
                if trainer == "SHIP":
                    keys = ("TRAINER.SHIP.REAL", "False"), ("TRAINER.SHIP.GENERATOR.FROM", first.folder)
                    then = with_keys(then, *keys)
                elif trainer != ZERO_SHOT:
                    then = replace(then, eval_only=True, model_dir=first.folder)
                jobs.append(then)
            chains.append(Chain(tuple(jobs)))
    return chains


def _home(study: Study, name: str) -> str:
    return f"{study.output}/{name}" + ("" if study.subset == "gzsl" else f"_{study.subset}")
