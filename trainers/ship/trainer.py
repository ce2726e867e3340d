"""SHIP: learn to synthesize features of new classes from their names, then tune CoOp on both.

Wang et al., "Improving Zero-Shot Generalization for CLIP with Synthesized Prompts", ICCV 2023. Inside Dassl's
life cycle stage 1 runs right before the first epoch; the epochs are those of stage 2.
"""

from __future__ import annotations

import os
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from dassl.data.datasets import build_dataset
from dassl.engine import TRAINER_REGISTRY
from dassl.optim import build_lr_scheduler
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from trainers.learners import LEARNERS
from trainers.prompting import checkpoints, results
from trainers.prompting.features import FeatureBank, FeatureLoader
from trainers.prompting.rng import stream
from trainers.prompting.trainer import PromptTrainer

from . import stage1
from .generators import GENERATORS
from .quality import measure
from .synthesis import add_synthetic, agreement, objective, synthetic_bank


@TRAINER_REGISTRY.register()
class SHIP(PromptTrainer):
    """Generator pre-stage, then a learner over base and new classes on real and synthetic features."""

    node = "SHIP"

    @classmethod
    def nodes(cls, cfg: CN) -> set[str]:
        learner = cfg.TRAINER.SHIP.LEARNER  # a misspelt one is told of by check_cfg
        return {cls.node} | {LEARNERS.get(learner).node for known in LEARNERS.registered_names() if known == learner}

    def check_cfg(self, cfg: CN) -> None:
        super().check_cfg(cfg)
        options = cfg.TRAINER.SHIP
        for key, value, known in (
            ("GENERATOR.NAME", options.GENERATOR.NAME, GENERATORS.registered_names()),
            ("LEARNER", options.LEARNER, LEARNERS.registered_names()),
            ("SYNTHETIC_CLASSES", options.SYNTHETIC_CLASSES, ["new", "all"]),
        ):
            if value not in known:
                raise ValueError(f"TRAINER.SHIP.{key} is {value!r}: choose one of {', '.join(sorted(known))}")
        for node, key, least in (
            ("GENERATOR", "EPOCHS", 1),
            ("GENERATOR", "BATCH_SIZE", 1),
            ("GENERATOR", "CRITIC_STEPS", 1),
            ("", "SYNTHETIC_SHARE", 0),
            ("", "SYNTHETIC_SHOTS", 0),
        ):
            value = (options[node] if node else options)[key]
            if value < least:
                name = f"TRAINER.SHIP.{node + '.' if node else ''}{key}"
                raise ValueError(f"{name} is {value}: give at least {least}")
        if options.NEW_CLASSNAMES and not options.REAL:
            raise ValueError(
                "TRAINER.SHIP.NEW_CLASSNAMES adds classes to real ones, and with TRAINER.SHIP.REAL False there are "
                "none: leave one of the two out"
            )
        if options.JOINT_WEIGHT <= 0 and options.OWN_WEIGHT <= 0:
            raise ValueError("TRAINER.SHIP.JOINT_WEIGHT and OWN_WEIGHT are both 0, so there is no loss: raise one")
        self.drop_last = options.DROP_LAST
        self.needs_training_images = options.REAL

    # -- building ---------------------------------------------------------------------------------------

    def build_data_loader(self) -> None:
        super().build_data_loader()
        if not self.options.REAL:
            shots = self.cfg.DATASET.NUM_SHOTS if self.cfg.DATASET.NUM_SHOTS > 0 else 16
            self.synthetic_shots = shots
            self.train_loader_x = FeatureLoader(
                shots * self.num_classes, self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE, self.drop_last
            )

    def build_learner(self) -> nn.Module:
        options = self.options
        self.base_names = self.trained_names() if options.REAL else []
        self.new_names = self.new_classnames() if options.REAL else list(self.dataset.classnames)
        self.n_base, self.n_new = len(self.base_names), len(self.new_names)
        self.names = [*self.base_names, *self.new_names]  # labels of both stages index them
        learner = LEARNERS.get(options.LEARNER)
        own = self.cfg.TRAINER[learner.node].clone()
        if "N_CTX" in own:
            own.defrost()
            own.N_CTX, own.CTX_INIT = options.N_CTX, options.CTX_INIT
        return learner(self.clip, self.names, own, self.seed, self.template)

    def build_scheduler(self) -> torch.optim.lr_scheduler.LRScheduler:
        if not self.options.STEP_SCHEDULE:
            return super().build_scheduler()
        optim = self.cfg.OPTIM.clone()
        optim.defrost()
        optim.MAX_EPOCH *= len(self.train_loader_x)  # Dassl counts the schedule in its own steps
        return build_lr_scheduler(self.optim, optim)

    def new_classnames(self) -> list[str]:
        """Names of the classes without images: from a file, those that the data set has no image of, or the half
        that it keeps for testing. None in a run that only evaluates."""
        dataset, trained = self.dataset, self.trained_names()
        if self.options.NEW_CLASSNAMES:
            return read_classnames(self.options.NEW_CLASSNAMES)
        if len(trained) < len(dataset.classnames):
            return dataset.classnames[len(trained) :]
        if self.cfg.DATASET.SUBSAMPLE_CLASSES == "base":
            return getattr(dataset, "new_classnames", None) or self._classnames_of_the_new_half()
        return []

    def check_new_classnames(self) -> None:
        if self.options.GENERATOR.ONLY:
            return
        twice = sorted(set(self.new_names) & set(self.base_names))
        if twice:
            raise ValueError(f"{self.options.NEW_CLASSNAMES} names {twice[0]!r}, which has images already: take it out")
        if not self.new_names:
            raise ValueError(
                f"SHIP needs names of new classes, and DATASET.SUBSAMPLE_CLASSES {self.cfg.DATASET.SUBSAMPLE_CLASSES} "
                "leaves none over: train on base, name a file of class names in TRAINER.SHIP.NEW_CLASSNAMES, or (with "
                "images of your own) write them into classnames.txt"
            )

    def _classnames_of_the_new_half(self) -> list[str]:
        """For data sets that don't tell, CoOp's own."""
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.DATASET.SUBSAMPLE_CLASSES = "new"
        cfg.VERBOSE = False
        with redirect_stdout(StringIO()):  # it has told about this data set once
            return build_dataset(cfg).classnames

    # -- stage 1 ----------------------------------------------------------------------------------------

    def before_train(self) -> None:
        self.check_new_classnames()
        print(f"SHIP: {self.n_base} base classes with images, {self.n_new} new classes by name")
        super().before_train()

    def prepare_learner(self) -> None:
        """Stage 1 comes first: what a learner is prepared with may be synthetic."""
        options = self.options.GENERATOR
        if options.FROM:
            own_options = stage1.options_of_run(options.FROM, options)
            file = checkpoints.find(os.path.join(options.FROM, "generator"))
            self.generator = self.build_generator(self.names, own_options)
            epoch = checkpoints.load(file, self.generator)
            print(f'Took the generator from "{file}" (epoch = {epoch})')
        else:
            self.generator = self.build_generator(self.names, options)
            stage1.fit(self, super().training_bank)
        self.generator.eval().requires_grad_(False)
        if options.ONLY:
            self.max_epoch = 0
        else:
            super().prepare_learner()

    def build_generator(self, names: list[str], options: CN) -> nn.Module:
        return GENERATORS.get(options.NAME)(self.clip, names, options, self.seed)

    # -- stage 2 ----------------------------------------------------------------------------------------

    def training_bank(self, epoch: int) -> FeatureBank:
        """Stage 2's features; where every epoch has fresh views, they are not those of stage 1. Without real ones,
        synthetic features of all classes, made anew in each epoch."""
        if self.options.REAL:
            return super().training_bank(self.options.GENERATOR.EPOCHS + epoch)
        labels = torch.arange(self.n_new).repeat_interleave(self.synthetic_shots)
        return synthetic_bank(self.generator, labels, 1, stream(self.seed, "synthetic", epoch))

    def preparation_bank(self) -> FeatureBank:
        """Real features, then SYNTHETIC_SHOTS of each new class under as many views."""
        real = super().preparation_bank()
        if not self.options.REAL:
            return real
        shots = self.options.SYNTHETIC_SHOTS or max(1, round(len(real) / self.n_base))
        labels = torch.arange(self.n_base, self.n_base + self.n_new).repeat_interleave(shots)
        made = synthetic_bank(self.generator, labels, len(real.features), stream(self.seed, "preparation"))
        features = torch.cat([real.features, made.features], dim=1)
        return FeatureBank(features, torch.cat([real.labels, made.labels]))

    def loss(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        options, n_real = self.options, len(features) if self.options.REAL else 0
        if options.REAL:
            features, labels = add_synthetic(
                self.generator,
                features,
                labels,
                self.n_base,
                self.n_new,
                self.rng,
                options.SYNTHETIC_SHARE,
                options.SYNTHETIC_CLASSES,
            )
        weights = torch.full(labels.shape, options.SYNTHETIC_WEIGHT, device=labels.device)
        weights[:n_real] = 1.0
        if options.FILTER:
            weights *= agreement(features, labels, self.model.text_features(self.names), n_real)
        classify = self.model.classifier(self.names, options.LOGIT_SCALE)
        summary = objective(classify(features), labels, weights, self.n_base, options)
        if options.ANCHOR_WEIGHT:
            summary["loss"] = summary["loss"] + options.ANCHOR_WEIGHT * self.anchor(classify)
        return summary

    def anchor(self, classify: Any) -> Tensor:
        """Mean of 1 - cosine similarity of the learner's class features and the hand-written prompts'."""
        if not hasattr(classify, "class_features"):
            raise ValueError(
                f"TRAINER.SHIP.ANCHOR_WEIGHT needs class features, and {self.options.LEARNER} learns none: set it to 0"
            )
        return (1 - (classify.class_features * self.model.text_features(self.names)).sum(dim=1)).mean()

    def step_schedule(self) -> None:
        if self.options.STEP_SCHEDULE:
            self.update_lr()
        else:
            super().step_schedule()

    # -- testing ----------------------------------------------------------------------------------------

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        if not self.options.GENERATOR.ONLY:
            super().load_model(directory, epoch)
        if directory and self.options.MEASURE and not hasattr(self, "generator"):
            self.load_generator(directory)

    def load_generator(self, directory: str) -> None:
        """The generator of a finished run, for the classes at hand; none if it was taken from another run and that
        is gone."""
        for place in (directory, self.options.GENERATOR.FROM):
            folder = os.path.join(place, "generator")
            if place and checkpoints.last_epoch(folder):
                own = self.options.GENERATOR
                options = stage1.options_of_run(place, own) if place == own.FROM else own
                self.generator = self.build_generator(self.dataset.classnames, options)
                checkpoints.load(checkpoints.find(folder), self.generator)
                self.generator.eval().requires_grad_(False)
                return

    def test(self, split: str | None = None) -> float:
        if not self.options.GENERATOR.ONLY:
            return super().test(split)
        results.write(self, self.further_figures(self.test_bank("test")) if self.items["test"] else {})
        return 0.0

    def base_classes(self) -> int:
        """None where no class has real images in training (cross-data-set transfer)."""
        return super().base_classes() if self.options.REAL else 0

    def further_figures(self, bank: FeatureBank) -> dict[str, Any]:
        """How good synthetic features are, of base and of new classes where the data set has both."""
        if not self.options.MEASURE or not hasattr(self, "generator"):
            return {}
        names, n_base = self.dataset.classnames, self.base_classes()
        halves = {"base": bank.labels < n_base, "new": bank.labels >= n_base}
        if not n_base:
            half = self.cfg.DATASET.SUBSAMPLE_CLASSES if self.options.REAL else "new"
            halves = {half: torch.ones_like(bank.labels, dtype=torch.bool)}
        return {
            "synthetic": {
                half: measure(self.generator, bank.features[0, rows], bank.labels[rows], names, self.seed)
                for half, rows in halves.items()
                if rows.any()
            }
        }


def read_classnames(file: str) -> list[str]:
    """Class names from a text file, a name a line; blank lines do not count.

    Raises:
        FileNotFoundError, ValueError: naming the file, and the line where there is one.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of class names at {path}: check TRAINER.SHIP.NEW_CLASSNAMES")
    names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not names:
        raise ValueError(f"{path} holds no class name: write one a line")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{path} names {name!r} twice: name each class once")
    return names
