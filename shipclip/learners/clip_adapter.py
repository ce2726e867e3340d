"""CLIP-Adapter: a bottleneck on the image feature, mixed with the feature itself (Gao et al., IJCV 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..backbones.base import Backbone, normalise
from ..options import option
from ..precision import product
from ..rng import seeded
from ..texts import Texts
from .base import LEARNERS, Classifier, Learner, LearnerOptions


@dataclass(frozen=True)
class CLIPAdapterOptions(LearnerOptions):
    ratio: float = option(0.2, least=0, most=1)  # share of the adapted feature
    reduction: int = option(4, least=1)  # the bottleneck's width is d / REDUCTION


@dataclass(frozen=True)
class AdapterClassifier:
    """Logits = scale * x' text^T, x' = ratio * adapter(x) + (1 - ratio) * x, of unit length.

    Attributes:
        adapter: (B, d) -> (B, d).
        ratio: share of the adapted feature.
        text: class features, (C, d).
        scale: of cosine similarities.
    """

    adapter: nn.Module
    ratio: float
    text: Tensor
    scale: float

    def adapt(self, features: Tensor) -> Tensor:
        """Adapted features of unit length, (B, d) -> (B, d)."""
        return normalise(self.ratio * self.adapter(features) + (1 - self.ratio) * features)

    def __call__(self, x: Tensor) -> Tensor:
        return product(self.scale * self.adapt(x.to(torch.float32)), self.text.T)  # (B, C)


@LEARNERS.register
class CLIPAdapter(Learner):
    """x' = RATIO * ReLU(W2 ReLU(W1 x)) + (1 - RATIO) * x against the hand-written prompts' class features (eq. 4, 5).

    Class features are frozen, so classes without images are classified as well.
    """

    Options = CLIPAdapterOptions
    each_class_alone = True

    def __init__(self, backbone: Backbone, names: Sequence[str], options: CLIPAdapterOptions, seed: int, texts: Texts):
        super().__init__(backbone, names, options, seed, texts)
        hidden = max(1, backbone.dim // options.reduction)
        with seeded(seed, "adapter"):
            down, up = nn.Linear(backbone.dim, hidden, bias=False), nn.Linear(hidden, backbone.dim, bias=False)
        self.adapter = nn.Sequential(down, nn.ReLU(), up, nn.ReLU()).to(backbone.device)

    def classifier(self, names: Sequence[str], scale: float | None = None) -> Classifier:
        return AdapterClassifier(self.adapter, self.options.ratio, self.text_features(names), self.scale(scale))
