"""CLIP-Adapter: a bottleneck on the image feature, mixed with the feature itself (Gao et al., IJCV 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from trainers.prompting.clip import FrozenCLIP, normalise
from trainers.prompting.learner import LEARNERS, Classifier, Learner
from trainers.prompting.rng import seeded


@LEARNERS.register()
class CLIPAdapter(Learner):
    """x' = RATIO * ReLU(W2 ReLU(W1 x)) + (1 - RATIO) * x against the hand-written prompts' class features (eq. 4, 5).

    Class features are frozen, so classes without images are classified as well.
    """

    node = "CLIPADAPTER"
    defaults: dict[str, Any] = {
        "RATIO": 0.2,  # share of the adapted feature
        "REDUCTION": 4,  # the bottleneck's width is d / REDUCTION
    }

    def __init__(self, clip: FrozenCLIP, names: Sequence[str], options: CN, seed: int, template: str):
        super().__init__(clip, names, options, seed, template)
        hidden = max(1, clip.dim // options.REDUCTION)
        with seeded(seed, "adapter"):
            down, up = nn.Linear(clip.dim, hidden, bias=False), nn.Linear(hidden, clip.dim, bias=False)
        self.adapter = nn.Sequential(down, nn.ReLU(), up, nn.ReLU()).to(clip.device)

    def adapt(self, features: Tensor) -> Tensor:
        """Adapted features of unit length, (B, d) -> (B, d)."""
        ratio = self.options.RATIO
        return normalise(ratio * self.adapter(features) + (1 - ratio) * features)

    def classifier(self, names: Sequence[str], scale: float | None = None) -> Classifier:
        class_features, factor = self.text_features(names), self.scale(scale)
        return lambda x: factor * self.adapt(x.to(torch.float32)) @ class_features.T  # (B, C)
