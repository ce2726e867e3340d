"""AUROC, FPR95 and OpenworldAUC, against their definitions written out, and scikit-learn's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from shipclip.detection import auroc, fpr_at, openworld_auc

SCORES = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=30)


@given(SCORES, SCORES)
def test_auroc_counts_pairs_and_agrees_with_scikit_learn(known: list[float], unknown: list[float]):
    found = auroc(torch.tensor(known), torch.tensor(unknown))
    pairs = [(a > b) + (a == b) / 2 for a in known for b in unknown]
    assert found == pytest.approx(100 * sum(pairs) / len(pairs))
    truth = [1] * len(known) + [0] * len(unknown)
    assert found == pytest.approx(100 * roc_auc_score(truth, known + unknown))


@given(SCORES, SCORES)
def test_fpr95_is_that_of_the_first_threshold_that_keeps_95_percent(known: list[float], unknown: list[float]):
    fpr, tpr, _ = roc_curve([1] * len(known) + [0] * len(unknown), known + unknown, drop_intermediate=False)
    wanted = fpr[next(i for i, rate in enumerate(tpr) if rate >= 0.95 - 1e-9)]
    assert fpr_at(torch.tensor(known), torch.tensor(unknown)) == pytest.approx(100 * wanted)


def test_openworld_auc_counts_pairs_that_are_right_in_all_three_ways():
    rng = torch.Generator().manual_seed(0)
    logits, labels, n_base = torch.randn(60, 5, generator=rng), torch.randint(5, (60,), generator=rng), 3
    logits[torch.arange(60), labels] += 1.5
    right = pairs = 0
    for b in (i for i in range(60) if labels[i] < n_base):
        for n in (i for i in range(60) if labels[i] >= n_base):
            pairs += 1
            r_b, r_n = (logits[i, n_base:].max() - logits[i, :n_base].max() for i in (b, n))
            g = logits[b, :n_base].argmax() == labels[b]
            h = logits[n, n_base:].argmax() + n_base == labels[n]
            right += bool(g and h and r_b < r_n)
    assert 0 < right < pairs
    assert openworld_auc(logits, labels, n_base) == pytest.approx(100 * right / pairs)


def test_openworld_auc_is_no_matter_of_how_many_images_there_are_of_each_half():
    rng = torch.Generator().manual_seed(1)
    logits, labels = torch.randn(40, 4, generator=rng), torch.arange(40) % 4
    more = torch.cat([logits, *[logits[labels >= 2]] * 3]), torch.cat([labels, *[labels[labels >= 2]] * 3])
    assert openworld_auc(*more, 2) == pytest.approx(openworld_auc(logits, labels, 2))
