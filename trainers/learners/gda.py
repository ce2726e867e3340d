"""Gaussian discriminant analysis, without training ("A Hard-to-Beat Baseline for Training-free CLIP-based
Adaptation", Wang et al., ICLR 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode as CN

from trainers.prompting.clip import FrozenCLIP
from trainers.prompting.features import FeatureBank
from trainers.prompting.learner import LEARNERS, Classifier, ClassLearner

NEIGHBOURS, COPIES = 64, 16  # of an unseen class: training features near its text feature, and copies of the latter


@LEARNERS.register()
class GDA(ClassLearner):
    """Logits = scale * x T^T + ALPHA * (x S^-1 mu_c - mu_c S^-1 mu_c / 2), equal priors (eq. 5, 6).

    mu_c: mean of a class's features over all views; S^-1 by Kubokawa and Srivastava's estimator (eq. 4). A class
    without images gets for its mean that of the 64 training features nearest to its text feature and of 16 copies of
    the text feature, as in the paper's base-to-new setting; the covariance is that of the classes with images.
    """

    node = "GDA"
    defaults: dict[str, Any] = {
        "ALPHA": 1.0,  # weight of the Gaussians' logits
    }
    training_free = True

    def __init__(self, clip: FrozenCLIP, names: Sequence[str], options: CN, seed: int, template: str):
        super().__init__(clip, names, options, seed, template)
        self.register_buffer("features", torch.zeros(0, clip.dim, device=clip.device))  # (N, d)
        self.register_buffer("means", torch.zeros(0, clip.dim, device=clip.device))  # (C, d)
        self.register_buffer("precision", torch.zeros(0, clip.dim, device=clip.device))  # S^-1, (d, d)

    def prepare(self, bank: FeatureBank) -> None:
        features, labels = bank.features.flatten(0, 1), bank.labels.repeat(len(bank.features))  # (V N, d)
        self.features = features
        self.means = torch.stack([features[labels == label].mean(dim=0) for label in range(len(self.names))])
        self.precision = precision_matrix(features - self.means[labels])

    def classifier(self, names: Sequence[str], scale: float | None = None) -> Classifier:
        class_features, factor = self.text_features(names), self.scale(scale)
        place = self.places(names)
        near = (class_features @ self.features.T).topk(min(NEIGHBOURS, len(self.features)), dim=1).indices  # (C, k)
        borrowed = self.features[near].sum(dim=1) + COPIES * class_features
        borrowed = borrowed / (near.shape[1] + COPIES)
        means = torch.where(place[:, None] >= 0, self.means[place], borrowed)  # (C, d)
        weight = means @ self.precision  # (C, d)
        bias = -(weight * means).sum(dim=1) / 2  # (C,)
        alpha = self.options.ALPHA
        return lambda x: factor * x @ class_features.T + alpha * (x @ weight.T + bias)  # (B, C)


def precision_matrix(centred: Tensor) -> Tensor:
    """Kubokawa and Srivastava's ridge-like estimate, d ((N - 1) S + tr(S) I)^-1, of centred features (N, d): (d, d)."""
    N, d = centred.shape
    covariance = centred.T @ centred / (N - 1)
    ridge = (N - 1) * covariance + covariance.trace() * torch.eye(d, device=centred.device)
    return d * torch.linalg.pinv(ridge, hermitian=True)
