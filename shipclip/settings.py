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
from .options import Tree, at_least, key_of, one_of, read, tree_of
from .precision import NAMES
from .synthesis import GeneratorChoice, ShipOptions

SHIP, GENERATOR = "SHIP", "SHIPGenerator"  # the method, and its first stage alone
SHIPS_OWN = {"PREC", "LOGIT_SCALE", "N_CTX", "CTX_INIT"}  # keys of a learner's for which SHIP has some of its own
ENSEMBLE = "ZeroshotCLIP2"  # zero-shot CLIP with CoOp's ensemble of templates


@dataclass(frozen=True)
class BackboneOptions:
    name: str = ""  # one of OpenAI's names, MiniCLIP, open_clip:NAME/WEIGHTS or hf-hub:...
    path: str = ""  # a weight file; empty: the name is looked up
    activation: str = ""  # quickgelu or gelu, of a weight file that does not tell


@dataclass(frozen=True)
class TrainOptions:
    checkpoint_freq: int = 0  # epochs between checkpoints; 0: only the last is kept


@dataclass(frozen=True)
class TestOptions:
    # Taken off base classes' logits where base and new classes stand together (calibrated stacking); reported beside
    # the plain figures. A run on "dev" tells the best one.
    base_penalty: float = 0.0
    final_model: str = "last_step"  # or best_val
    split: str = "test"
    no_test: bool = False
    predictions: bool = False  # write predictions.csv: path, label, prediction, probability and the five best


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
        trainer = tree["TRAINER"]
        method, ship, generator = trainer["NAME"], None, None
        if method in (SHIP, GENERATOR):
            ship = read(ShipOptions, trainer["SHIP"], "TRAINER.SHIP.")
            ship.check()
            if method == GENERATOR:
                ship = replace(ship, generator=replace(ship.generator, only=True))
            cls = GENERATORS.get(ship.generator.name, "TRAINER.SHIP.GENERATOR.NAME")
            generator = read(cls.Options, trainer["SHIP"]["GENERATOR"], "TRAINER.SHIP.GENERATOR.")
            at_least(generator, "TRAINER.SHIP.GENERATOR.", epochs=1, batch_size=1)
            learner = LEARNERS.get(ship.learner, "TRAINER.SHIP.LEARNER")
            if learner.sees != "features":
                raise UserError(
                    f"TRAINER.SHIP.LEARNER is {ship.learner!r}, which sees images, and SHIP synthesizes features: "
                    f"choose one of {', '.join(sorted(cls.__name__ for cls in LEARNERS if cls.sees == 'features'))}"
                )
        else:
            name = "ZeroshotCLIP" if method == ENSEMBLE else method
            learner = LEARNERS.get(name, "TRAINER.NAME", (SHIP, GENERATOR, ENSEMBLE))
        node = dict(trainer.get(learner.node(), {}))
        if ship:  # it has keys of these names itself
            node = {key: value for key, value in node.items() if key not in SHIPS_OWN}
            known = {key_of(f.name) for f in fields(learner.Options)}
            node |= {key: trainer["SHIP"][key] for key in ("N_CTX", "CTX_INIT") if key in known}
        options = read(learner.Options, node, f"TRAINER.{learner.node()}.")
        precision = ship.prec if ship else options.prec
        one_of(precision, f"TRAINER.{'SHIP' if ship else learner.node()}.PREC", NAMES)
        loader, test = tree.get("DATALOADER", {}), read(TestOptions, tree.get("TEST", {}), "TEST.")
        one_of(test.final_model, "TEST.FINAL_MODEL", ("last_step", "best_val"))
        settings = Settings(
            method=method,
            learner=learner,
            options=options,
            precision=precision,
            seed=tree.get("SEED", -1),
            backbone=read(BackboneOptions, tree["MODEL"]["BACKBONE"], "MODEL.BACKBONE."),
            dataset=read(DatasetOptions, tree["DATASET"], "DATASET."),
            input=read(InputOptions, tree.get("INPUT", {}), "INPUT."),
            features=read(FeatureOptions, tree.get("FEATURES", {}), "FEATURES."),
            optim=read(OptimOptions, tree.get("OPTIM", {}), "OPTIM."),
            train=read(TrainOptions, tree.get("TRAIN", {}), "TRAIN."),
            test=test,
            batch_size=loader.get("TRAIN_X", {}).get("BATCH_SIZE", 32),
            test_batch_size=loader.get("TEST", {}).get("BATCH_SIZE", 32),
            workers=loader.get("NUM_WORKERS", 4),
            resume=tree.get("RESUME", ""),
            ship=ship,
            generator=generator,
        )
        for key, value in (("TRAIN_X", settings.batch_size), ("TEST", settings.test_batch_size)):
            if value < 1:
                raise UserError(f"DATALOADER.{key}.BATCH_SIZE is {value}: give at least 1")
        one_of(settings.backbone.activation, "MODEL.BACKBONE.ACTIVATION", ("", "quickgelu", "gelu"))
        return settings

    @property
    def name(self) -> str:
        """What the method is called in tables: SHIP, SHIP+GDA, CoOp ..."""
        other = self.ship and self.ship.learner != ShipOptions().learner
        return f"{self.method}+{self.ship.learner}" if other and self.ship else self.method


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


def unread(settings: Settings, keys: list[str]) -> list[str]:
    """Those of the given keys under TRAINER that the run does not read."""
    trainer: dict[str, set[str]] = {settings.learner.node(): {key_of(f.name) for f in fields(settings.options)}}
    if settings.ship:
        own = trainer[settings.learner.node()]
        own -= SHIPS_OWN
        trainer["SHIP"] = {key_of(f.name) for f in fields(ShipOptions)}
        shared = {
            f"GENERATOR.{key_of(f.name)}" for cls in (GeneratorChoice, type(settings.generator)) for f in fields(cls)
        }
        trainer["SHIP"] |= shared
        if "n_ctx" not in {f.name for f in fields(settings.options)}:
            trainer["SHIP"] -= {"N_CTX", "CTX_INIT"}
    known = {"TRAINER.NAME"} | {f"TRAINER.{node}.{key}" for node, own in trainer.items() for key in own}
    return [key for key in dict.fromkeys(keys) if key.startswith("TRAINER.") and key not in known]


def default_tree() -> Tree:
    """All keys that the library reads, with their defaults."""
    nodes = {cls.node(): tree_of(cls.Options) for cls in LEARNERS}
    return {
        "SEED": -1,
        "RESUME": "",
        "DATASET": tree_of(DatasetOptions),
        "MODEL": {"BACKBONE": tree_of(BackboneOptions)},
        "INPUT": tree_of(InputOptions),
        "FEATURES": tree_of(FeatureOptions),
        "DATALOADER": {"TRAIN_X": {"BATCH_SIZE": 32}, "TEST": {"BATCH_SIZE": 32}, "NUM_WORKERS": 4},
        "OPTIM": tree_of(OptimOptions),
        "TRAIN": tree_of(TrainOptions),
        "TEST": tree_of(TestOptions),
        "TRAINER": {"NAME": "", "SHIP": ship_tree(), **nodes},
    }
