"""Tip-Adapter and Tip-Adapter-F: training features as a cache that votes (Zhang et al., ECCV 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from trainers.prompting.clip import FrozenCLIP, normalise
from trainers.prompting.features import FeatureBank
from trainers.prompting.learner import LEARNERS, Classifier, ClassLearner


@LEARNERS.register()
class TipAdapter(ClassLearner):
    """Logits = scale * x T^T + ALPHA * exp(-BETA (1 - x K^T)) L (eq. 6), nothing trained.

    K: the training images' features, each the mean over its views; L: their labels, one-hot. A class without images
    gets no votes.
    """

    node = "TIPADAPTER"
    defaults: dict[str, Any] = {
        "ALPHA": 1.0,  # weight of the votes
        "BETA": 5.5,  # how fast a vote fades with distance
    }
    training_free = True

    def __init__(self, clip: FrozenCLIP, names: Sequence[str], options: CN, seed: int, template: str):
        super().__init__(clip, names, options, seed, template)
        self.register_buffer("keys", torch.zeros(0, clip.dim, device=clip.device))  # (N, d)
        self.register_buffer("labels", torch.zeros(0, dtype=torch.long, device=clip.device))  # (N,)

    def prepare(self, bank: FeatureBank) -> None:
        self.keys.data = normalise(bank.features.mean(dim=0))
        self.labels = bank.labels

    def classifier(self, names: Sequence[str], scale: float | None = None) -> Classifier:
        class_features, factor = self.text_features(names), self.scale(scale)
        place = self.places(names)  # (C,)
        votes_for = (self.labels[:, None] == place).to(self.keys.dtype)  # (N, C)

        def logits(x: Tensor) -> Tensor:
            x = x.to(self.keys.dtype)
            affinity = x @ self.keys.T  # (B, N)
            votes = torch.exp(-self.options.BETA * (1 - affinity)) @ votes_for
            return factor * x @ class_features.T + self.options.ALPHA * votes  # (B, C)

        return logits


@LEARNERS.register()
class TipAdapterF(TipAdapter):
    """The same with trained keys."""

    node = "TIPADAPTERF"
    training_free = False

    def __init__(self, clip: FrozenCLIP, names: Sequence[str], options: CN, seed: int, template: str):
        super().__init__(clip, names, options, seed, template)
        del self.keys
        self.keys = nn.Parameter(torch.zeros(0, clip.dim, device=clip.device))
