"""A trainer that learns a linear classifier of mean colours and notes which hooks are called."""

from __future__ import annotations

import pytest
import torch.nn.functional as F
from dassl.engine import TRAINER_REGISTRY, TrainerX
from dassl.optim import build_lr_scheduler, build_optimizer
from torch import nn


@TRAINER_REGISTRY.register()
class Toy(TrainerX):
    def __init__(self, cfg) -> None:
        self.calls: list[str] = []
        super().__init__(cfg)

    def __getattribute__(self, name):
        hooks = ("before_train", "before_epoch", "after_epoch", "after_train", "test", "check_cfg")
        if name in (*hooks, "run_epoch", "build_model", "build_data_loader", "load_model"):
            self.calls.append(name)
        return super().__getattribute__(name)

    def build_model(self) -> None:
        self.model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, self.num_classes))
        self.optim = build_optimizer(self.model, self.cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model("learner", self.model, self.optim, self.sched)

    def forward_backward(self, batch):
        assert self.model.training
        image, label, _ = self.parse_batch_train(batch)
        loss = F.cross_entropy(self.model(image), label)
        self.model_backward_and_update(loss)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {"loss": loss.item()}

    def model_inference(self, input):
        assert not self.model.training
        return super().model_inference(input)


@pytest.fixture
def toy(cfg):
    """A fresh trainer of the config, batches of 16: two an epoch."""

    def build(**options):
        cfg.DATALOADER.TRAIN_X.BATCH_SIZE = 16
        cfg.OPTIM.LR = 0.01
        cfg.merge_from_list([item for pair in options.items() for item in (pair[0].replace("__", "."), pair[1])])
        return Toy(cfg)

    return build
