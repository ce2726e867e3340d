"""How far probabilities can be trusted: calibration errors, Brier score, and the risk that is left at each coverage."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BINS = 15  # Guo et al., ICML 2017
COVERAGES = 20  # points of a risk-coverage curve that are kept


def reliability(logits: Tensor, labels: Tensor, drawn: bool = True) -> dict[str, Any]:
    """What is measured of the probabilities softmax(logits), (N, C), against labels (N,); nothing where N is 0.

    Args:
        logits, labels: as said.
        drawn: with what pictures need, bins and coverage.

    Returns:
        ece, adaptive_ece: in percent.
        brier: 0 ... 2.
        aurc: area under the risk-coverage curve, in percent.
        bins: the reliability diagram, of each non-empty bin the mean confidence and the accuracy in percent, and the
            number of images.
        coverage: the curve, [coverage, risk] in percent.
    """
    if not len(labels):
        return {}
    probabilities = logits.double().softmax(dim=1)
    confidence, predictions = probabilities.max(dim=1)
    hit = (predictions == labels).double()
    out: dict[str, Any] = {
        "ece": 100 * expected_calibration_error(confidence, hit),
        "adaptive_ece": 100 * adaptive_calibration_error(confidence, hit),
        "brier": brier_score(probabilities, labels),
        "aurc": 100 * risk_coverage(confidence, hit)[1].mean().item(),
    }
    return out | {"bins": diagram(confidence, hit), "coverage": curve(confidence, hit)} if drawn else out


def expected_calibration_error(confidence: Tensor, hit: Tensor, bins: int = BINS) -> float:
    """sum_m |B_m| / N * |accuracy(B_m) - confidence(B_m)|, B_m the images of confidence ((m - 1) / M, m / M].

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 3. Confidence and hit (0 or 1) are (N,).
    """
    return _gap(confidence, hit, equal_width(confidence, bins))


def adaptive_calibration_error(confidence: Tensor, hit: Tensor, bins: int = BINS) -> float:
    """The same over bins of equal numbers of images (Nguyen and O'Connor, EMNLP 2015; Nixon et al., CVPRW 2019)."""
    return _gap(confidence, hit, equal_mass(confidence, bins))


def brier_score(probabilities: Tensor, labels: Tensor) -> float:
    """Mean over images of sum_c (p_c - [label is c])^2 (Brier, 1950): (N, C), (N,) -> 0 ... 2."""
    wanted = torch.nn.functional.one_hot(labels, probabilities.shape[1])
    return (probabilities - wanted).square().sum(dim=1).mean().item()


def risk_coverage(confidence: Tensor, hit: Tensor) -> tuple[Tensor, Tensor]:
    """Coverages k / N, and the error rate among the k most confident images: both (N,).

    El-Yaniv and Wiener, JMLR 2010. Images of equal confidence count with their mean error, so their order is no
    matter. The mean of the risks is the area under the curve (Geifman and El-Yaniv, NeurIPS 2017).
    """
    order = confidence.argsort(descending=True, stable=True)
    _, group = torch.unique_consecutive(confidence[order], return_inverse=True)
    error = (1 - hit[order]).double()
    sums = torch.zeros(int(group.max()) + 1, dtype=torch.float64).index_add(0, group, error)
    error = (sums / group.bincount())[group]
    count = torch.arange(1, len(error) + 1, dtype=torch.float64)
    return count / len(error), error.cumsum(0) / count


def equal_width(confidence: Tensor, bins: int) -> Tensor:
    """Each image's bin among ((m - 1) / M, m / M], from 0: (N,)."""
    return (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)


def equal_mass(confidence: Tensor, bins: int) -> Tensor:
    """Each image's bin among M of (nearly) as many images, the least confident first: (N,)."""
    out = torch.empty(len(confidence), dtype=torch.long)
    for i, rows in enumerate(confidence.argsort(stable=True).tensor_split(bins)):
        out[rows] = i
    return out


def diagram(confidence: Tensor, hit: Tensor, bins: int = BINS) -> dict[str, list[float]]:
    """The reliability diagram: confidence and accuracy in percent, and count, of each bin that has images."""
    place = equal_width(confidence, bins)
    there = place.unique().tolist()
    rows = [place == i for i in there]
    return {
        "confidence": [round(100 * confidence[of].mean().item(), 3) for of in rows],
        "accuracy": [round(100 * hit[of].mean().item(), 3) for of in rows],
        "count": [int(of.sum()) for of in rows],
    }


def curve(confidence: Tensor, hit: Tensor, points: int = COVERAGES) -> list[list[float]]:
    """The risk-coverage curve at a few coverages, [coverage, risk] in percent."""
    coverage, risk = risk_coverage(confidence, hit)
    steps = torch.arange(1, points + 1)
    kept = sorted({max(0, -(-len(coverage) * i // points) - 1) for i in steps.tolist()})
    return [[round(100 * coverage[i].item(), 2), round(100 * risk[i].item(), 3)] for i in kept]


def _gap(confidence: Tensor, hit: Tensor, place: Tensor) -> float:
    """Mean over images of their bin's |accuracy - confidence|."""
    size = int(place.max()) + 1
    difference = torch.zeros(size, dtype=torch.float64).index_add(0, place, (hit - confidence).double())
    return difference.abs().sum().item() / len(confidence)
