"""Telling two kinds of images apart by a score: known from unknown ones, base from new ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def auroc(known: Tensor, unknown: Tensor) -> float:
    """The probability, in percent, that a known image's score is above an unknown one's; equal scores count half.

    (N,), (M,) scores, higher for known images. The area under the ROC curve (Mann and Whitney's statistic).
    """
    both = torch.cat([known, unknown]).double()
    _, place, count = both.unique(return_inverse=True, return_counts=True)
    last = count.cumsum(0)
    rank = (last - (count - 1) / 2)[place]  # of equal ones the mean, from 1
    n, m = len(known), len(unknown)
    return 100 * (rank[:n].sum().item() - n * (n + 1) / 2) / (n * m)


def fpr_at(known: Tensor, unknown: Tensor, kept: float = 0.95) -> float:
    """FPR95: how many unknown images, in percent, are taken for known at the threshold that keeps 95 % of the known."""
    least = known.sort(descending=True).values[math.ceil(kept * len(known) - 1e-9) - 1]
    return 100 * (unknown >= least).double().mean().item()


def openworld_auc(logits: Tensor, labels: Tensor, n_base: int) -> float:
    """OpenworldAUC in percent (Hua et al., ICML 2025): of all pairs of a base and a new image those in which each is
    classified right among its own classes and the new image ranks above the base one,

        E [ y_b = g(x_b) ] [ r(x_b) < r(x_n) ] [ y_n = h(x_n) ].

    One classifier gives all three here: g and h are its best base and its best new class, and r(x) is by how much its
    largest new logit is above its largest base logit. It asks for base, new and their distinction at once, whatever
    the numbers of base and new images.

    Args:
        logits: among all classes, (N, C).
        labels: (N,).
        n_base: how many classes, the first ones, are base classes.
    """
    base_best, g = logits[:, :n_base].max(dim=1)
    new_best, h = logits[:, n_base:].max(dim=1)
    r, is_base = (new_best - base_best).double(), labels < n_base
    base, new = r[is_base & (g == labels)], r[~is_base & (h + n_base == labels)]
    below = torch.searchsorted(base.sort().values, new)  # base images that rank strictly below each new one
    return 100 * below.sum().item() / max(1, int(is_base.sum()) * int((~is_base).sum()))
