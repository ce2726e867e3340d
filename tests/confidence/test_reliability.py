"""Calibration errors, Brier score and risk-coverage curves, against their definitions written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shipclip import evaluate, reliability
from shipclip.reliability import (
    adaptive_calibration_error,
    brier_score,
    expected_calibration_error,
    risk_coverage,
)


def some(n: int = 300, classes: int = 7, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(n, classes, generator=rng), torch.randint(classes, (n,), generator=rng)


def confidence_and_hit(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    confidence, predicted = logits.double().softmax(dim=1).max(dim=1)
    return confidence, (predicted == labels).double()


def test_ece_is_guo_et_als_equation_3():
    confidence, hit = confidence_and_hit(*some())
    wanted = 0.0
    for m in range(1, 16):
        rows = [i for i, c in enumerate(confidence.tolist()) if (m - 1) / 15 < c <= m / 15]
        if rows:
            gap = np.mean([hit[i].item() for i in rows]) - np.mean([confidence[i].item() for i in rows])
            wanted += len(rows) / len(hit) * abs(gap)
    assert expected_calibration_error(confidence, hit) == pytest.approx(wanted, abs=1e-12)


def test_adaptive_ece_has_bins_of_equal_size():
    confidence, hit = confidence_and_hit(*some(n=301))
    order = np.argsort(confidence.numpy(), kind="stable")
    wanted = sum(
        len(rows) / 301 * abs(hit.numpy()[rows].mean() - confidence.numpy()[rows].mean())
        for rows in np.array_split(order, 15)
    )
    assert adaptive_calibration_error(confidence, hit) == pytest.approx(wanted, abs=1e-12)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_both_errors_lie_between_0_and_1_and_vanish_where_confidence_is_the_truth(pairs: list):
    confidence, hit = torch.tensor([p for p, _ in pairs]).double(), torch.tensor([float(h) for _, h in pairs]).double()
    for error in (expected_calibration_error, adaptive_calibration_error):
        assert 0 <= error(confidence, hit) <= 1
        assert error(hit, hit) == 0


def test_the_brier_score_is_the_squared_distance_to_the_truth():
    logits, labels = some(n=20)
    p = logits.double().softmax(dim=1)
    wanted = np.mean([sum((p[i, c].item() - (c == labels[i].item())) ** 2 for c in range(7)) for i in range(20)])
    assert brier_score(p, labels) == pytest.approx(wanted)
    assert brier_score(torch.eye(3).double(), torch.tensor([0, 1, 2])) == 0
    assert brier_score(torch.eye(3).double(), torch.tensor([1, 2, 0])) == 2


def test_the_risk_at_a_coverage_is_the_error_among_the_most_confident():
    confidence, hit = confidence_and_hit(*some(n=40))
    coverage, risk = risk_coverage(confidence, hit)
    order = sorted(range(40), key=lambda i: -confidence[i].item())
    for k in (1, 7, 40):
        assert coverage[k - 1] == k / 40
        assert risk[k - 1].item() == pytest.approx(1 - np.mean([hit[i].item() for i in order[:k]]))


def test_the_order_of_equally_confident_images_is_no_matter():
    confidence = torch.tensor([0.9, 0.5, 0.5, 0.5])
    for hit in ([1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0]):
        assert risk_coverage(confidence, torch.tensor(hit))[1].tolist() == pytest.approx([0, 1 / 3, 4 / 9, 1 / 2])


def test_a_diagram_has_every_image_in_one_bin():
    found = reliability.reliability(*some())
    assert sum(found["bins"]["count"]) == 300
    weighted = sum(
        n * abs(a - c)
        for n, a, c in zip(found["bins"]["count"], found["bins"]["accuracy"], found["bins"]["confidence"], strict=True)
    )
    assert found["ece"] == pytest.approx(weighted / 300, abs=1e-2)
    assert found["coverage"][-1] == [100.0, pytest.approx(100 - _accuracy(*some()), abs=1e-2)]


def _accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return 100 * (logits.argmax(dim=1) == labels).double().mean().item()


def test_a_test_measures_both_halves_among_all_and_among_their_own():
    logits, labels = some(classes=6)
    found = evaluate.confidence(logits, labels, n_base=4)["confidence"]
    new = labels >= 4
    assert found["new"]["brier"] == pytest.approx(brier_score(logits[new].double().softmax(dim=1), labels[new]))
    own = logits[new][:, 4:].double().softmax(dim=1)
    assert found["own_new"]["brier"] == pytest.approx(brier_score(own, labels[new] - 4))
    assert "bins" in found["new"] and "bins" not in found["own_new"]
    assert 0 <= found["openworld_auc"] <= 100 and math.isfinite(found["ece"])
    assert set(evaluate.confidence(logits, labels)["confidence"]) == {
        *("ece", "adaptive_ece", "brier", "aurc", "bins", "coverage")
    }
    assert evaluate.confidence(logits[:0], labels[:0]) == {}
