"""Zero-shot CLIP: hand-written prompts, nothing learned."""

from __future__ import annotations

import torch
from dassl.engine import TRAINER_REGISTRY
from torch import nn
from yacs.config import CfgNode as CN

from trainers.prompting.clip import normalise
from trainers.prompting.learner import CosineClassifier, hand_written
from trainers.prompting.templates import IMAGENET_TEMPLATES
from trainers.prompting.trainer import PromptTrainer


def extend_cfg(cfg: CN) -> None:
    """Add TRAINER.ZEROSHOTCLIP."""
    cfg.TRAINER.ZEROSHOTCLIP = CN()
    cfg.TRAINER.ZEROSHOTCLIP.PREC = "fp16"  # fp16, fp32, amp, bf16


@TRAINER_REGISTRY.register()
class ZeroshotCLIP(PromptTrainer):
    """One prompt a class, from the data set's own template."""

    node = "ZEROSHOTCLIP"

    def templates(self) -> list[str]:
        return [self.template]

    def build_learner(self) -> nn.Module:
        means = [hand_written(self.clip, self.dataset.classnames, template) for template in self.templates()]
        self.class_features = normalise(torch.stack(means).mean(dim=0))  # (C, d)
        return nn.Identity()

    def classifier(self) -> CosineClassifier:
        return CosineClassifier(self.class_features, self.clip.logit_scale)

    def train(self) -> None:
        raise ValueError(f"{self.cfg.TRAINER.NAME} has nothing to train: run it with --eval-only")

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        if directory:
            raise ValueError(f"{self.cfg.TRAINER.NAME} has no weights to load: leave out --model-dir")


@TRAINER_REGISTRY.register()
class ZeroshotCLIP2(ZeroshotCLIP):
    """The normalised mean over seven ImageNet templates and, but for ImageNet, the data set's own."""

    def templates(self) -> list[str]:
        own = self.template
        return list(dict.fromkeys([*IMAGENET_TEMPLATES, *([] if self.cfg.DATASET.NAME == "ImageNet" else [own])]))
