"""Linear probe: a linear classifier on image features, started from text features (Radford et al., ICML 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode as CN

from trainers.prompting.clip import FrozenCLIP
from trainers.prompting.learner import LEARNERS, Classifier, ClassLearner


@LEARNERS.register()
class LinearProbe(ClassLearner):
    """Logits = scale * x W^T + b; a class that training did not show keeps its text feature and no bias."""

    node = "LINEARPROBE"
    defaults: dict[str, Any] = {
        "INIT": "text",  # W starts from the hand-written prompts' class features, or from zero
    }

    def __init__(self, clip: FrozenCLIP, names: Sequence[str], options: CN, seed: int, template: str):
        super().__init__(clip, names, options, seed, template)
        if options.INIT not in ("text", "zero"):
            raise ValueError(f"TRAINER.LINEARPROBE.INIT is {options.INIT!r}: choose text or zero")
        weight = self.text_features(self.names).clone()
        self.weight = nn.Parameter(weight if options.INIT == "text" else torch.zeros_like(weight))  # (C, d)
        self.bias = nn.Parameter(torch.zeros(len(weight), device=weight.device))

    def classifier(self, names: Sequence[str], scale: float | None = None) -> Classifier:
        place, factor = self.places(names), self.scale(scale)
        known = place >= 0
        weight = torch.where(known[:, None], self.weight[place], self.text_features(names))
        bias = torch.where(known, self.bias[place], 0.0)
        return lambda x: factor * x.to(weight.dtype) @ weight.T + bias  # (B, C)
