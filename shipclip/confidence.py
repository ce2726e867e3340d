"""Probabilities that mean what they say: a temperature, and a factor for classes that have a name alone.

    p = softmax(g z / T),  g: the factor of the class with the largest logit

An image's logits are all divided by the same number, so what is predicted stays what it was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .learners import Learner

if TYPE_CHECKING:
    from .trials import HeldOut

NEIGHBOURS, NEAR = 5, 0.05  # of distance-aware calibration, the authors' code's
LEAST, MOST = 1e-2, 1e2  # temperatures
FEW = 10  # held-out images that a choice needs


@dataclass(frozen=True)
class Calibration:
    """How logits become probabilities.

    Attributes:
        temperature: T.
        distance_aware: whether g is that of Wang et al. for classes that have a name alone; else it is 1.
    """

    temperature: float = 1.0
    distance_aware: bool = False

    def factors(self, scores: Tensor) -> Tensor:
        """g of each class, from its `distance_scores`, (*, C)."""
        return scores if self.distance_aware else torch.ones_like(scores)

    def __call__(self, logits: Tensor, factors: Tensor) -> Tensor:
        """Calibrated logits, (N, C); factors are (C,), or (N, C)."""
        g = factors.to(logits).expand(logits.shape).gather(1, logits.argmax(dim=1, keepdim=True))
        return logits * (g / self.temperature)


PLAIN = Calibration()


def calibrate(held: HeldOut) -> Calibration:
    """The calibration of a learner, from what it says of held-out images.

    The temperature is fitted to images of classes that it was shown. Distance-aware it is where that brings the
    confidence nearer to the truth, (confidence - hit)^2 over images of which a class by name is predicted; where there
    are too few to say, as its authors have it.
    """
    T = fit_temperature(held.logits[held.shown], held.labels[held.shown]) if held.shown.any() else 1.0
    predicted = held.logits.argmax(dim=1)
    rows = held.by_name[torch.arange(len(held)), predicted]
    if not held.by_name.any() or held.shown.all() or rows.sum() < FEW:
        return Calibration(T, bool(held.by_name.any()))
    hit = (predicted == held.labels)[rows].double()

    def distance(way: Calibration) -> float:
        confidence = way(held.logits[rows], way.factors(held.scores[rows])).double().softmax(dim=1).amax(dim=1)
        return (confidence - hit).square().mean().item()

    return min((Calibration(T), Calibration(T, True)), key=distance)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The T that makes softmax(z / T) likeliest, for logits (N, C) and labels (N,) (Guo et al., ICML 2017).

    With few images it stays near 1: log T has the prior N(0, 1), which weighs as much as one image or two. Else images
    that are all right would make it as certain as can be.
    """
    z = logits.double()
    z = z - z.gather(1, labels[:, None])  # so that the label's logit is 0

    def badness(log_t: float) -> float:
        return (z / math.exp(log_t)).logsumexp(dim=1).sum().item() + log_t**2 / 2

    low, high = math.log(LEAST), math.log(MOST)
    for _ in range(5):  # each time a tenth of what was left
        step = (high - low) / 20
        best = min((low + i * step for i in range(21)), key=badness)
        low, high = max(best - step, math.log(LEAST)), min(best + step, math.log(MOST))
    return math.exp(best)


@torch.no_grad()
def distance_scores(learner: Learner, names: Sequence[str], shown: Tensor) -> Tensor:
    """Distance-aware calibration's factor of each class, (C,), of Wang et al., "Open-Vocabulary Calibration for
    Fine-tuned CLIP", ICML 2024.

    S(c) = exp(-mean distance of c's class feature to the K nearest ones of classes with images), once with the tuned
    class features and once with zero-shot CLIP's; the factor is S_tuned(c) / S_zeroshot(c). A class that tuning has
    moved away from those it was tuned on is less sure. It is 1 for a class that is (nearly) one of them, and where the
    learner tunes no class features.

    Args:
        learner: tuned.
        names: of the classes.
        shown: which of them have images, (C,) bool.
    """
    tuned = getattr(learner.eval().classifier(names), "class_features", None)
    if tuned is None or shown.all() or not shown.any():
        return torch.ones(len(names))
    tuned, plain = tuned.float().cpu(), learner.text_features(names).float().cpu()
    near_tuned, near_plain = (nearest(features, features[shown]) for features in (tuned, plain))
    scores = (near_plain.mean(dim=1) - near_tuned.mean(dim=1)).exp()
    return torch.where(near_tuned[:, 0] < NEAR, torch.ones_like(scores), scores)


def nearest(features: Tensor, others: Tensor) -> Tensor:
    """Distances to the K nearest of others, nearest first: (C, d), (B, d) -> (C, min(K, B))."""
    distances = torch.cdist(features, others, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.topk(min(NEIGHBOURS, len(others)), dim=1, largest=False).values
