"""A run's settings: CoOp's and SHIP's keys as YAML files have them, and the objects that are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from .data.protocol import DatasetOptions
from .errors import UserError
from .features.source import FeatureOptions
from .features.transforms import InputOptions
from .generators import GENERATORS
from .learners import LEARNERS, Learner
from .optim import OptimOptions
from .options import Tree, key_of, option, read, tree_of
from .synthesis import GeneratorChoice, ShipOptions

SHIP, GENERATOR = "SHIP", "SHIPGenerator"  # the method, and its first stage alone
SHIPS_OWN = {"PREC", "LOGIT_SCALE", "N_CTX", "CTX_INIT"}  # keys of a learner's for which SHIP has some of its own
ENSEMBLE = "ZeroshotCLIP2"  # zero-shot CLIP with CoOp's ensemble of templates


@dataclass(frozen=True)
class BackboneOptions:
    name: str = ""  # one of OpenAI's names, MiniCLIP, open_clip:NAME/WEIGHTS or hf-hub:...
    path: str = ""  # a weight file; empty: the name is looked up
    activation: str = option("", choices=("", "quickgelu", "gelu"))  # of a weight file that does not tell


@dataclass(frozen=True)
class TrainOptions:
    checkpoint_freq: int = option(0, least=0)  # epochs between checkpoints; 0: only the last is kept


@dataclass(frozen=True)
class TestOptions:
    # Taken off base classes' logits where base and new classes stand together (calibrated stacking); reported beside
    # the plain figures. A run on "dev" tells the best one.
    base_penalty: float = 0.0
    final_model: str = option("last_step", choices=("last_step", "best_val"))
    split: str = option("test", choices=("test", "val"))
    no_test: bool = False
    predictions: bool = False  # write predictions.csv: path, label, prediction, probability and the five best


@dataclass(frozen=True)
class BatchOptions:
    batch_size: int = option(32, least=1)


@dataclass(frozen=True)
class LoaderOptions:
    train_x: BatchOptions = field(default_factory=BatchOptions)
    test: BatchOptions = field(default_factory=BatchOptions)
    num_workers: int = option(4, least=0, most=1024)  # processes that read images


@dataclass(frozen=True)
class RunOptions:
    seed: int = option(-1, least=-(2**31), most=2**32 - 1)  # negative: a new one each time
    resume: str = ""  # folder of a run to go on with


@dataclass(frozen=True)
class Settings:
    """Everything that a run is told.

    Attributes:
        method: TRAINER.NAME: a learner's, SHIP's, or SHIPGenerator.
        learner, options: the learner, and its own options.
        precision: fp32, fp16, amp or bf16.
        ship: SHIP's own options; None of a learner by itself.
        generator: options of SHIP's generator.
    """

    method: str
    learner: type[Learner]
    options: Any
    precision: str
    seed: int = -1
    backbone: BackboneOptions = field(default_factory=BackboneOptions)
    dataset: DatasetOptions = field(default_factory=DatasetOptions)
    input: InputOptions = field(default_factory=InputOptions)
    features: FeatureOptions = field(default_factory=FeatureOptions)
    optim: OptimOptions = field(default_factory=OptimOptions)
    train: TrainOptions = field(default_factory=TrainOptions)
    test: TestOptions = field(default_factory=TestOptions)
    batch_size: int = 32
    test_batch_size: int = 32
    workers: int = 4
    resume: str = ""
    ship: ShipOptions | None = None
    generator: Any = None

    @staticmethod
    def of(tree: Mapping[str, Any]) -> Settings:
        """Settings from nested keys; keys of others are left alone.

        Raises:
            UserError: a value that no run can work with, by its key.
        """
        trainer = node(tree, "TRAINER")
        method, ship, generator = trainer.get("NAME"), None, None
        if method in (SHIP, GENERATOR):
            own = node(trainer, "SHIP", "TRAINER.")
            ship = read(ShipOptions, own, "TRAINER.SHIP.")
            if method == GENERATOR:
                ship = replace(ship, generator=replace(ship.generator, only=True))
            cls = GENERATORS.get(ship.generator.name, "TRAINER.SHIP.GENERATOR.NAME")
            generator = read(cls.Options, node(own, "GENERATOR", "TRAINER.SHIP."), "TRAINER.SHIP.GENERATOR.")
            learner = LEARNERS.get(ship.learner, "TRAINER.SHIP.LEARNER")
            if learner.sees != "features":
                raise UserError(
                    f"TRAINER.SHIP.LEARNER is {ship.learner!r}, which sees images, and SHIP synthesizes features: "
                    f"choose one of {', '.join(sorted(cls.__name__ for cls in LEARNERS if cls.sees == 'features'))}"
                )
        else:
            name = "ZeroshotCLIP" if method == ENSEMBLE else method
            learner = LEARNERS.get(name, "TRAINER.NAME", (SHIP, GENERATOR, ENSEMBLE))
        given = dict(node(trainer, learner.node(), "TRAINER.") if learner.node() in trainer else {})
        if ship:  # it has keys of these names itself
            given = {key: value for key, value in given.items() if key not in SHIPS_OWN}
            known = {key_of(f.name) for f in fields(learner.Options)}
            given |= {key: value for key, value in (("N_CTX", ship.n_ctx), ("CTX_INIT", ship.ctx_init)) if key in known}
        options = read(learner.Options, given, f"TRAINER.{learner.node()}.")
        loader = read(LoaderOptions, tree.get("DATALOADER", {}), "DATALOADER.")
        run = read(RunOptions, {key: tree[key] for key in ("SEED", "RESUME") if key in tree})
        return Settings(
            method=method,
            learner=learner,
            options=options,
            precision=ship.prec if ship else options.prec,
            seed=run.seed,
            backbone=read(BackboneOptions, node(node(tree, "MODEL"), "BACKBONE", "MODEL."), "MODEL.BACKBONE."),
            dataset=read(DatasetOptions, node(tree, "DATASET"), "DATASET."),
            input=read(InputOptions, tree.get("INPUT", {}), "INPUT."),
            features=read(FeatureOptions, tree.get("FEATURES", {}), "FEATURES."),
            optim=read(OptimOptions, tree.get("OPTIM", {}), "OPTIM."),
            train=read(TrainOptions, tree.get("TRAIN", {}), "TRAIN."),
            test=read(TestOptions, tree.get("TEST", {}), "TEST."),
            batch_size=loader.train_x.batch_size,
            test_batch_size=loader.test.batch_size,
            workers=loader.num_workers,
            resume=run.resume,
            ship=ship,
            generator=generator,
        )

    @property
    def name(self) -> str:
        """What the method is called in tables: SHIP, SHIP+GDA, CoOp ..."""
        other = self.ship and self.ship.learner != ShipOptions().learner
        return f"{self.method}+{self.ship.learner}" if other and self.ship else self.method


def node(tree: Mapping[str, Any], key: str, where: str = "") -> Mapping[str, Any]:
    """The group of keys called `key`.

    Raises:
        UserError: there is none.
    """
    found = tree.get(key)
    if not isinstance(found, Mapping):
        raise UserError(f"the settings have no group {where}{key}: they are damaged, or another program's")
    return found


def ship_tree() -> Tree:
    """SHIP's keys with their defaults: all generators' own options stand in one node.

    Raises:
        TypeError: two generators give one key different defaults.
    """
    node = tree_of(GeneratorChoice)
    for cls in GENERATORS:
        for key, value in tree_of(cls.Options).items():
            if node.setdefault(key, value) != value:
                raise TypeError(f"generator {cls.__name__} has another default for {key} than a generator before it")
    return {**tree_of(ShipOptions), "GENERATOR": node}


def nodes_of(tree: Mapping[str, Any]) -> set[str]:
    """The nodes under TRAINER that a run with these settings reads."""
    trainer = tree["TRAINER"]
    name = {ENSEMBLE: "ZeroshotCLIP"}.get(trainer["NAME"], trainer["NAME"])
    if name in (SHIP, GENERATOR):
        learner = trainer["SHIP"]["LEARNER"]
        return {"SHIP"} | ({LEARNERS.get(learner).node()} if learner in LEARNERS else set())
    return {LEARNERS.get(name).node()} if name in LEARNERS else set()


def default_tree() -> Tree:
    """All keys that the library reads, with their defaults."""
    nodes = {cls.node(): tree_of(cls.Options) for cls in LEARNERS}
    return {
        **tree_of(RunOptions),
        "DATASET": tree_of(DatasetOptions),
        "MODEL": {"BACKBONE": tree_of(BackboneOptions)},
        "INPUT": tree_of(InputOptions),
        "FEATURES": tree_of(FeatureOptions),
        "DATALOADER": tree_of(LoaderOptions),
        "OPTIM": tree_of(OptimOptions),
        "TRAIN": tree_of(TrainOptions),
        "TEST": tree_of(TestOptions),
        "TRAINER": {"NAME": "", "SHIP": ship_tree(), **nodes},
    }
