from __future__ import annotations

import pytest
import torch
from scipy.linalg import sqrtm

from shipclip.backbones.base import normalise
from shipclip.quality import frechet_distance, measure, transfer_accuracy


def test_the_frechet_distance_is_scipys():
    rng = torch.Generator().manual_seed(0)
    a = torch.randn(50, 4, generator=rng, dtype=torch.float64)
    b = 0.5 * torch.randn(40, 4, generator=rng, dtype=torch.float64) + 0.3
    roots = torch.tensor(sqrtm((a.T.cov() @ b.T.cov()).numpy()).real)
    wanted = (a.mean(0) - b.mean(0)).square().sum() + (a.T.cov() + b.T.cov() - 2 * roots).trace()
    assert frechet_distance(a, b) == pytest.approx(wanted.item(), rel=1e-6)


def test_a_set_is_at_distance_0_from_itself_and_one_feature_has_no_spread():
    a = torch.randn(6, 3, dtype=torch.float64)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a[:1], a[1:2]) == pytest.approx((a[0] - a[1]).square().sum().item())


class Echo:
    """Gives the class's direction with a little noise."""

    def __init__(self, centres: torch.Tensor, noise: float):
        self.centres, self.noise = centres, noise

    def sample(self, labels, rng):
        shape = (len(labels), self.centres.shape[1])
        return normalise(self.centres[labels] + self.noise * torch.randn(shape, generator=rng))


def test_good_and_bad_generators_are_told_apart():
    centres = normalise(torch.randn(3, 16, generator=torch.Generator().manual_seed(0)))
    labels = torch.arange(3).repeat_interleave(20)
    real = Echo(centres, 0.1).sample(labels, torch.Generator().manual_seed(1))
    good = measure(Echo(centres, 0.1), real, labels, ["a", "b", "c"], 0)
    bad = measure(Echo(centres[[1, 2, 0]], 0.1), real, labels, ["a", "b", "c"], 0)
    assert good["synthetic_to_real"] == good["real_to_synthetic"] == 100
    assert bad["synthetic_to_real"] == bad["real_to_synthetic"] == 0
    assert good["frechet"] < 0.2 < bad["frechet"] and good["mean_cosine"] > 0.98 > bad["mean_cosine"]
    assert list(good["classes"]) == ["a", "b", "c"]
    assert good["cosine"] == pytest.approx(sum(row["cosine"] for row in good["classes"].values()) / 3)


def test_the_cosine_is_the_mean_over_all_pairs():
    real = normalise(torch.randn(4, 8, generator=torch.Generator().manual_seed(0)))
    made = normalise(torch.randn(4, 8, generator=torch.Generator().manual_seed(1)))

    class Fixed:
        def sample(self, labels, rng):
            return made

    found = measure(Fixed(), real, torch.zeros(4, dtype=torch.long), ["a"], 0)
    pairs = [float(a @ b) for a in real for b in made]
    assert found["cosine"] == pytest.approx(sum(pairs) / 16, abs=1e-6)
    assert "synthetic_to_real" not in found  # one class alone is no classification


def test_transfer_accuracy_counts_hits():
    train = torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]])
    labels = torch.tensor([0, 0, 1, 1])
    test = torch.tensor([[1.0, 0], [0, 1], [0, 1], [0, 1]])  # the second is of class 0
    assert transfer_accuracy(train, test, labels) == 75


def test_classes_of_one_name_are_both_measured():
    class Same:
        def sample(self, labels, rng):
            return torch.eye(3)[labels]

    labels = torch.tensor([0, 1, 2])
    found = measure(Same(), torch.eye(3), labels, ["missile", "cup", "missile"], 0)
    assert list(found["classes"]) == ["missile (0)", "cup", "missile (2)"]
