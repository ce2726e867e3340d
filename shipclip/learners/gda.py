"""Gaussian discriminant analysis, without training ("A Hard-to-Beat Baseline for Training-free CLIP-based
Adaptation", Wang et al., ICLR 2024)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..backbones.base import Backbone
from ..features.bank import FeatureBank
from ..options import option
from ..texts import Texts
from .base import LEARNERS, Classifier, ClassLearner, TrainingFreeOptions

NEIGHBOURS, COPIES = 64, 16  # of an unseen class: training features near its text feature, and copies of the latter
ALPHAS = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)  # tried on validation images; of equal ones the first


@dataclass(frozen=True)
class GDAOptions(TrainingFreeOptions):
    # Weight of the Gaussians' logits; 0: chosen on validation images, 1 where there are none.
    alpha: float = option(0.0, least=0)
    # Of the classes with images: "ridge", Kubokawa and Srivastava's estimate of the pooled covariance (eq. 4, the
    # authors' few-shot code), or "mean", the inverse of the classes' mean covariance (their base-to-new code).
    covariance: str = option("ridge", choices=("ridge", "mean"))


@LEARNERS.register
class GDA(ClassLearner):
    """Logits = scale * x T^T + ALPHA * (x S^-1 mu_c - mu_c S^-1 mu_c / 2 - log C), equal priors (eq. 5, 6).

    mu_c: mean of a class's features over all views. A class without images gets for its mean that of the 64 training
    features nearest to its text feature and of 16 copies of the text feature; the covariance of those classes is
    estimated anew, around their text features (the paper's base-to-new setting).
    """

    Options = GDAOptions
    wants_validation = True
    of_each_class = ("means",)

    def __init__(self, backbone: Backbone, names: Sequence[str], options: GDAOptions, seed: int, texts: Texts):
        super().__init__(backbone, names, options, seed, texts)
        d, device = backbone.dim, backbone.device
        self.register_buffer("features", torch.zeros(0, d, device=device))  # (N, d)
        self.register_buffer("means", torch.zeros(0, d, device=device))  # (C, d)
        self.register_buffer("precision", torch.zeros(0, d, device=device))  # S^-1, (d, d)
        self.alpha = nn.Parameter(torch.tensor(options.alpha or 1.0, device=device), requires_grad=False)

    def prepare(self, bank: FeatureBank, validation: FeatureBank | None) -> None:
        views = [bank.of_view(view) for view in range(len(bank.features))]
        features = torch.cat(views) if len(views) > 1 else views[0]  # (V N, d)
        labels = bank.labels.repeat(len(bank.features))
        self.features = features
        self.means = torch.stack([of.mean(dim=0) for of in by_class(features, labels, len(self.names))])
        if self.options.covariance == "ridge":
            self.precision = precision_matrix(features - self.means[labels])
        else:
            self.precision = inverse_of_mean(features, labels, len(self.names))
        if not self.options.alpha and validation is not None and len(validation):
            self.alpha.data.fill_(self.best_alpha(validation.of_view(0), validation.labels))

    def chosen(self) -> dict[str, float]:
        return {"alpha": float(self.alpha)}

    def best_alpha(self, x: Tensor, labels: Tensor) -> float:
        """The first of ALPHAS with the highest accuracy on features (N, d) among the classes that they are of."""
        shown = labels.unique()
        text = self.scale(None) * x @ self.text_features(self.names)[shown].T
        weight, bias = discriminant(self.means[shown], self.precision)
        gaussians = x @ weight.T + bias
        hits = [int((shown[(text + alpha * gaussians).argmax(dim=1)] == labels).sum()) for alpha in ALPHAS]
        return ALPHAS[hits.index(max(hits))]

    def add_classes(self, names: Sequence[str], features: Tensor) -> None:
        self.features = torch.cat([self.features, features.flatten(0, 1)])
        self.means, self.names = torch.cat([self.means, features.mean(dim=1)]), (*self.names, *names)

    def classifier(self, names: Sequence[str], scale: float | None = None) -> Classifier:
        class_features, factor = self.text_features(names), self.scale(scale)
        place = self.places(names)
        seen = place >= 0
        weight, bias = torch.empty_like(class_features), class_features.new_empty(len(names))
        weight[seen], bias[seen] = discriminant(self.means[place[seen]], self.precision)
        if not seen.all():
            weight[~seen], bias[~seen] = discriminant(*self.borrow(class_features[~seen]))
        bias = bias - math.log(len(names))
        alpha = self.alpha
        return lambda x: factor * x @ class_features.T + alpha * (x @ weight.T + bias)  # (B, C)

    def borrow(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Means (C, d) and shared precision (d, d) of unseen classes, from their text features (C, d)."""
        k = min(NEIGHBOURS, len(self.features))
        means, precision = [], text.new_zeros(text.shape[1], text.shape[1])
        for t in text:
            near = self.features[(self.features @ t).topk(k).indices]  # (k, d)
            means.append((near.sum(dim=0) + COPIES * t) / (k + COPIES))
            precision += precision_matrix(near - t)
        return torch.stack(means), precision / len(text)


def discriminant(means: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """Weights mu_c S^-1, (C, d), and biases -mu_c S^-1 mu_c / 2, (C,)."""
    weight = means @ precision
    return weight, -(weight * means).sum(dim=1) / 2


def precision_matrix(centred: Tensor) -> Tensor:
    """Kubokawa and Srivastava's ridge-like estimate, d ((N - 1) S + tr(S) I)^-1, of centred features (N, d): (d, d)."""
    N, d = centred.shape
    covariance = centred.T @ centred / max(N - 1, 1)
    ridge = (N - 1) * covariance + covariance.trace() * torch.eye(d, device=centred.device)
    return d * torch.linalg.pinv(ridge, hermitian=True)


def inverse_of_mean(features: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """Pseudo-inverse of the mean over classes of their unbiased covariances, of features (N, d): (d, d)."""
    total = features.new_zeros(features.shape[1], features.shape[1])
    for of in by_class(features, labels, n_classes):
        total += of.T.cov()
    return torch.linalg.pinv(total / n_classes, hermitian=True)


def by_class(features: Tensor, labels: Tensor, n_classes: int) -> tuple[Tensor, ...]:
    """The features (N, d) of each class, in their order."""
    counts = torch.bincount(labels, minlength=n_classes).tolist()
    return features[labels.argsort(stable=True)].split(counts)
