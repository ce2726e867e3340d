"""SHIP: learn to synthesize features of new classes from their names, then tune CoOp on both.

Wang et al., "Improving Zero-Shot Generalization for CLIP with Synthesized Prompts", ICCV 2023. Inside Dassl's
life cycle stage 1 runs right before the first epoch; the epochs are those of stage 2.
"""

from __future__ import annotations

import os
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import torch
from dassl.data.datasets import build_dataset
from dassl.engine import TRAINER_REGISTRY
from dassl.optim import build_lr_scheduler
from dassl.utils import Registry
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from trainers.prompting import checkpoints
from trainers.prompting.clip import normalise
from trainers.prompting.features import FeatureBank
from trainers.prompting.prompts import ClassTokens, PromptLearner
from trainers.prompting.rng import stream
from trainers.prompting.trainer import Classifier, PromptTrainer, cross_entropy_and_accuracy

from .synthesis import add_synthetic
from .vae import VAE

GENERATORS = Registry("GENERATOR")  # TRAINER.SHIP.GENERATOR.NAME
GENERATORS.register(VAE)

COLLAPSED_KL = 0.1  # nats; below it every latent gives nearly the same feature


@TRAINER_REGISTRY.register()
class SHIP(PromptTrainer):
    """Generator pre-stage, then CoOp over base and new classes on real and synthetic features."""

    node = "SHIP"

    def check_cfg(self, cfg: CN) -> None:
        super().check_cfg(cfg)
        generator = cfg.TRAINER.SHIP.GENERATOR
        if generator.NAME not in GENERATORS.registered_names():
            raise ValueError(
                f"TRAINER.SHIP.GENERATOR.NAME is {generator.NAME!r}: choose one of "
                f"{', '.join(GENERATORS.registered_names())}"
            )
        if generator.EPOCHS < 1:
            raise ValueError(f"TRAINER.SHIP.GENERATOR.EPOCHS is {generator.EPOCHS}: give at least 1")
        self.drop_last = cfg.TRAINER.SHIP.DROP_LAST

    # -- building ---------------------------------------------------------------------------------------

    def build_learner(self) -> nn.Module:
        options, names = self.options, self.dataset.classnames
        learner = PromptLearner(self.clip, options.N_CTX, options.CTX_INIT, rng=stream(self.seed, "context"))
        self.classes = ClassTokens.of(self.clip, names, learner.n_ctx)
        return learner

    def build_scheduler(self) -> torch.optim.lr_scheduler.LRScheduler:
        if not self.options.STEP_SCHEDULE:
            return super().build_scheduler()
        optim = self.cfg.OPTIM.clone()
        optim.defrost()
        optim.MAX_EPOCH *= len(self.train_loader_x)  # Dassl counts the schedule in its own steps
        return build_lr_scheduler(self.optim, optim)

    def new_classnames(self) -> list[str]:
        """Names of the classes without images: from a file, those that the data set has no image of, or the half
        that it keeps for testing."""
        file, dataset = self.options.NEW_CLASSNAMES, self.dataset
        trained = self.trained_names()
        if file:
            names = read_classnames(file)
            twice = sorted(set(names) & set(trained))
            if twice:
                raise ValueError(f"{file} names {twice[0]!r}, which has images already: take it out")
        elif len(trained) < len(dataset.classnames):
            names = dataset.classnames[len(trained) :]
        elif self.cfg.DATASET.SUBSAMPLE_CLASSES == "base":
            names = getattr(dataset, "new_classnames", None) or self._classnames_of_the_new_half()
        else:
            raise ValueError(
                f"SHIP needs names of new classes, and DATASET.SUBSAMPLE_CLASSES {self.cfg.DATASET.SUBSAMPLE_CLASSES} "
                "leaves none over: train on base, name a file of class names in TRAINER.SHIP.NEW_CLASSNAMES, or (with "
                "images of your own) write them into classnames.txt"
            )
        return names

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
        base, new = self.trained_names(), self.new_classnames()
        self.n_base, self.n_new = len(base), len(new)
        self.all_classes = ClassTokens.of(self.clip, [*base, *new], self.model.n_ctx)
        print(f"SHIP: {self.n_base} base classes with images, {self.n_new} new classes by name")
        super().before_train()
        options = self.options.GENERATOR
        self.generator = GENERATORS.get(options.NAME)(self.clip, [*base, *new], options, self.seed)
        self.fit_generator()

    def fit_generator(self) -> None:
        """Train the generator, or go on from its last checkpoint in OUTPUT_DIR/generator."""
        folder = os.path.join(self.output_dir, "generator")
        optimizer = self.generator.optimizer()
        start = 0
        for place in (folder, os.path.join(self.cfg.RESUME or self.output_dir, "generator")):
            if checkpoints.last_epoch(place):
                start = checkpoints.resume(place, self.generator, optimizer, scaler=self.generator.scaler)
                break
        last, every = self.options.GENERATOR.EPOCHS, self.options.GENERATOR.CHECKPOINT_FREQ
        began = time.time()

        def on_epoch(epoch: int, losses: dict[str, float]) -> None:
            pace = (time.time() - began) / (epoch - start)
            scalars = " ".join(f"{name} {value:.4f}" for name, value in losses.items())
            print(f"generator epoch [{epoch}/{last}] time {pace:.3f} {scalars}")
            for name, value in losses.items():
                self.write_scalar(f"generator/{name}", value, epoch - 1)
            if epoch == last or (every > 0 and epoch % every == 0):
                state = {"state_dict": self.generator.state_dict(), "optimizer": optimizer.state_dict()}
                if self.generator.scaler:
                    state["scaler"] = self.generator.scaler.state_dict()
                checkpoints.save(folder, state, epoch)
            if epoch == last and losses.get("kl", COLLAPSED_KL) < COLLAPSED_KL:
                print(
                    f"Warning: the KL term ends at {losses['kl']:.3f} nats, below {COLLAPSED_KL}: the posterior has "
                    "collapsed and all latents give nearly the same feature; lower TRAINER.SHIP.GENERATOR.KL_WEIGHT"
                )

        self.generator.fit(super().training_bank, optimizer, start, on_epoch)
        self.generator.eval().requires_grad_(False)

    def training_bank(self, epoch: int) -> FeatureBank:
        """Stage 2's features; where every epoch has fresh views, they are not those of stage 1."""
        return super().training_bank(self.options.GENERATOR.EPOCHS + epoch)

    # -- stage 2 ----------------------------------------------------------------------------------------

    def loss(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        features, labels = add_synthetic(self.generator, features, labels, self.n_base, self.n_new, self.rng)
        class_features = normalise(self.clip.text(self.model(self.all_classes))[0])  # (C, d)
        logits = self.options.LOGIT_SCALE * features.to(class_features.dtype) @ class_features.T  # (2B, C)
        return cross_entropy_and_accuracy(logits, labels)

    def step_schedule(self) -> None:
        if self.options.STEP_SCHEDULE:
            self.update_lr()
        else:
            super().step_schedule()

    def classifier(self) -> Classifier:
        class_features = normalise(self.clip.text(self.model(self.classes))[0])  # (C, d)
        return lambda x: self.clip.logit_scale * x.to(class_features.dtype) @ class_features.T


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
