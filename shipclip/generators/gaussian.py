"""A Gaussian around each class's text feature: spread without synthesis."""

from __future__ import annotations

import torch
from torch import Tensor

from ..backbones.base import normalise
from ..features.bank import FeatureBank
from .base import GENERATORS
from .text_point import TextPoint


@GENERATORS.register
class Gaussian(TextPoint):
    """x_hat = t_c + std * z, normalised. The one thing fitted is std, (d,): the root mean square distance of base
    images' features from their classes' text features."""

    def build(self, rng: torch.Generator) -> None:
        self.register_buffer("std", torch.ones(self.backbone.dim))  # (d,)

    def finish(self, bank: FeatureBank) -> None:
        features = bank.features.to(bank.labels.device, torch.float32)
        distance = features - self.class_features()[bank.labels]  # (V, N, d)
        self.std = distance.square().mean(dim=(0, 1)).sqrt()

    def decode(self, z: Tensor, labels: Tensor) -> Tensor:
        return normalise(self.class_features()[labels.to(z.device)] + self.std * z)
