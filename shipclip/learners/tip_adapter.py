"""Tip-Adapter and Tip-Adapter-F: training features as a cache that votes (Zhang et al., ECCV 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..backbones.base import Backbone, normalise
from ..errors import UserError
from ..features.bank import FeatureBank
from ..options import option
from ..precision import product
from ..texts import Texts
from .base import LEARNERS, Classifier, ClassLearner, LearnerOptions, TrainingFreeOptions

# Entries of one-hot votes, whose product grows with the square of the number of classes; on a GPU more of them, since
# sums of scattered numbers do not repeat there to the bit.
ONE_HOT = (1 << 20, 1 << 26)


@dataclass(frozen=True)
class TipAdapterOptions(TrainingFreeOptions):
    alpha: float = option(1.0, least=0)  # weight of the votes
    beta: float = option(5.5, least=0)  # how fast a vote fades with distance


@dataclass(frozen=True)
class TipAdapterFOptions(LearnerOptions):
    alpha: float = option(1.0, least=0)
    beta: float = option(5.5, least=0)


@dataclass(frozen=True)
class CacheClassifier:
    """Logits = scale * x text^T + alpha * exp(-beta (1 - x keys^T)) votes.

    Attributes:
        keys: (N, d).
        votes: which class each votes for: one-hot, (N, C), or of many its number, (N,), C where it is none of them.
        text: class features, (C, d).
        scale, alpha, beta: as above.
    """

    keys: Tensor
    votes: Tensor
    text: Tensor
    scale: float
    alpha: float
    beta: float

    def __call__(self, x: Tensor) -> Tensor:
        x = x.to(self.keys.dtype)
        affinity = product(x, self.keys.T)  # (B, N)
        votes = counted(torch.exp(-self.beta * (1 - affinity)), self.votes, len(self.text))
        return product(self.scale * x, self.text.T) + self.alpha * votes  # (B, C)


def counted(weights: Tensor, votes: Tensor, classes: int) -> Tensor:
    """Weights of votes (B, N), summed for each class: (B, C)."""
    if votes.dim() == 2:
        return product(weights, votes)
    sums = weights.new_zeros(weights.shape[0], classes + 1)
    return sums.scatter_add(1, votes.expand(weights.shape[0], -1), weights)[:, :classes]


@LEARNERS.register
class TipAdapter(ClassLearner):
    """Logits = scale * x T^T + ALPHA * exp(-BETA (1 - x K^T)) L (eq. 6), nothing trained.

    K: the training images' features, each the mean over its views; L: their labels, one-hot. A class without images
    gets no votes.
    """

    Options = TipAdapterOptions
    each_class_alone = True

    def __init__(self, backbone: Backbone, names: Sequence[str], options: TipAdapterOptions, seed: int, texts: Texts):
        super().__init__(backbone, names, options, seed, texts)
        device = backbone.device
        self.keys = nn.Parameter(torch.zeros(0, backbone.dim, device=device), requires_grad=False)  # (N, d)
        self.register_buffer("labels", torch.zeros(0, dtype=torch.long, device=device))  # (N,)

    def prepare(self, bank: FeatureBank, validation: FeatureBank | None) -> None:
        self.keys.data = normalise(bank.mean())
        self.labels = bank.labels

    def check_state(self, state: dict[str, Any], file: Any) -> None:
        super().check_state(state, file)
        labels, n = state["labels"], len(state.get("_extra_state", {"names": self.names})["names"])
        if len(labels) != len(state["keys"]) or (len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < n):
            raise UserError(
                f"{file} is damaged: its labels are not those of its {len(state['keys'])} keys and {n} classes"
            )

    def add_classes(self, names: Sequence[str], features: Tensor) -> None:
        new = torch.arange(len(names), device=self.labels.device) + len(self.names)
        self.keys.data = torch.cat([self.keys.data, features.flatten(0, 1)])
        self.labels = torch.cat([self.labels, new.repeat_interleave(features.shape[1])])
        self.names = (*self.names, *names)

    def classifier(self, names: Sequence[str], scale: float | None = None) -> Classifier:
        place = self.places(names)  # (C,)
        if len(self.keys) * len(self.names) <= ONE_HOT[self.keys.device.type == "cuda"]:
            votes = (self.labels[:, None] == place).to(self.keys.dtype)  # (N, C)
        else:
            number = torch.full((len(self.names) + 1,), len(place), device=place.device)  # the last: of no class
            number[place] = torch.arange(len(place), device=place.device)
            number[-1] = len(place)
            votes = number[self.labels]  # (N,)
        text, factor = self.text_features(names), self.scale(scale)
        return CacheClassifier(self.keys, votes, text, factor, self.options.alpha, self.options.beta)


@LEARNERS.register
class TipAdapterF(TipAdapter):
    """The same with trained keys."""

    Options = TipAdapterFOptions
    each_class_alone = True

    def __init__(self, backbone: Backbone, names: Sequence[str], options: TipAdapterFOptions, seed: int, texts: Texts):
        super().__init__(backbone, names, options, seed, texts)
        self.keys.requires_grad_(True)
