"""Linear probe: a linear classifier on image features, started from text features (Radford et al., ICML 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..backbones.base import Backbone
from ..options import option
from ..precision import product
from ..texts import Texts
from .base import LEARNERS, Classifier, ClassLearner, LearnerOptions


@dataclass(frozen=True)
class LinearProbeOptions(LearnerOptions):
    # W starts from the hand-written prompts' class features, or from zero.
    init: str = option("text", choices=("text", "zero"))


@LEARNERS.register
class LinearProbe(ClassLearner):
    """Logits = scale * x W^T + b; a class that training did not show keeps its text feature and no bias."""

    Options = LinearProbeOptions
    each_class_alone = True
    of_each_class = ("weight", "bias")

    def __init__(self, backbone: Backbone, names: Sequence[str], options: LinearProbeOptions, seed: int, texts: Texts):
        super().__init__(backbone, names, options, seed, texts)
        weight = self.text_features(self.names).clone()
        self.weight = nn.Parameter(weight if options.init == "text" else torch.zeros_like(weight))  # (C, d)
        self.bias = nn.Parameter(torch.zeros(len(weight), device=weight.device))

    def classifier(self, names: Sequence[str], scale: float | None = None) -> Classifier:
        place, factor = self.places(names), self.scale(scale)
        known = place >= 0
        weight = torch.where(known[:, None], self.weight[place], self.text_features(names))
        bias = torch.where(known, self.bias[place], 0.0)
        return lambda x: product(factor * x.to(weight.dtype), weight.T) + bias  # (B, C)
