"""Dassl's life cycle around the library: what every trainer here is."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from dassl.config import get_cfg_default
from dassl.data.datasets import build_dataset
from dassl.engine import TRAINER_REGISTRY, TrainerX
from dassl.utils import load_checkpoint, load_pretrained_weights
from tabulate import tabulate
from torch import Tensor

from shipclip.backbones import load_backbone
from shipclip.errors import UserError
from shipclip.learners import Learner
from shipclip.run import LEARNER
from shipclip.session import TRAINING, Session, taken
from shipclip.settings import Settings

from .config import extend_cfg, plain
from .tasks import task_of_dataset


class LibraryTrainer(TrainerX):
    """Builds the task from a Dassl data set, and lets a session of the library train and test the method."""

    def check_cfg(self, cfg: Any) -> None:
        self.settings = Settings.of(cfg)

    def build_data_loader(self) -> None:
        """The data set. There are no loaders: the library reads images by itself."""
        cfg = self.cfg
        self.dataset = build_dataset(cfg)
        self.task = task_of_dataset(self.dataset, cfg, self.settings.dataset)
        names = self.task.labels.names
        self.train_loader_x = self.train_loader_u = self.val_loader = self.test_loader = None
        self.num_classes, self.lab2cname = len(names), dict(enumerate(names))
        self.num_source_domains = len(cfg.DATASET.SOURCE_DOMAINS)
        self.dm = SimpleNamespace(dataset=self.dataset, num_classes=self.num_classes, lab2cname=self.lab2cname)
        if cfg.VERBOSE:
            counts = [[f"# {part}", f"{len(self.task.part(part)):,}"] for part in ("train", "val", "test")]
            print(tabulate([["Dataset", cfg.DATASET.NAME], ["# classes", f"{self.num_classes:,}"], *counts]))

    def build_model(self) -> None:
        s, cfg, defaults = self.settings, self.cfg, get_cfg_default()
        backbone = load_backbone(s.backbone.name, s.backbone.path, s.precision, self.device, s.backbone.activation)
        extend_cfg(defaults)
        self.session = Session.of(plain(cfg), self.task, backbone, cfg.OUTPUT_DIR, plain(defaults))
        self.session.tell = self.tell
        self.method, self.model = self.session.method, self.session.method.learner
        self.task = self.method.task
        if cfg.MODEL.INIT_WEIGHTS:
            refuse_unfit(cfg.MODEL.INIT_WEIGHTS, self.model)
            load_pretrained_weights(self.model, cfg.MODEL.INIT_WEIGHTS)
        stage = self.session.stage
        self.optim, self.sched, self.max_epoch = stage.optimizer, stage.scheduler, stage.epochs
        if self.optim is not None:
            self.register_model(LEARNER, self.model, self.optim, self.sched)

    # -- the life cycle ---------------------------------------------------------------------------------

    def train(self) -> None:
        if self.session.lock:
            self.session.train()
            return
        with taken(self.session, TRAINING):  # another train.py than ours
            self.session.train()

    def test(self, split: str | None = None, **_: Any) -> float:
        """Evaluate; on the test set also write results.json. Returns the accuracy in percent."""
        return self.session.test(split or "")

    def tell(self, logits: Tensor, labels: Tensor) -> Mapping[str, float]:
        """The figures of Dassl's evaluator, which prints them."""
        self.evaluator.reset()
        self.evaluator.process(logits, labels)
        return self.evaluator.evaluate()

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """The weights of a finished run: see `Session.load`."""
        self.session.load(directory, epoch)

    def model_inference(self, x: Tensor) -> Tensor:
        return self.method.classifier()(x)


def refuse_unfit(file: str, model: torch.nn.Module) -> None:
    """Refuse weights (MODEL.INIT_WEIGHTS) of which nothing fits, or that are no state dict: Dassl goes on without a
    word that anybody would read."""
    content = load_checkpoint(file)
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"MODEL.INIT_WEIGHTS: {file} holds no state dict: save model.state_dict() there")
    own = model.state_dict()
    shapes = {name.removeprefix("module."): value.shape for name, value in state.items()}
    if not any(
        name in shapes and shapes[name] == value.shape for name, value in own.items() if hasattr(value, "shape")
    ):
        raise UserError(f"MODEL.INIT_WEIGHTS: no tensor in {file} has the name and size of one that is trained here")


def register(learner: type[Learner]) -> type[LibraryTrainer]:
    """The Dassl trainer, of the learner's own name, that tunes it on real images alone."""
    trainer = type(learner.__name__, (LibraryTrainer,), {"__doc__": learner.__doc__, "__module__": learner.__module__})
    TRAINER_REGISTRY.register(trainer)
    return trainer


__all__ = ["LibraryTrainer", "register"]
