"""GDA agrees with the authors' code: few-shot classification, and base classes with new ones."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from shipclip.backbones.base import Backbone, normalise
from shipclip.features.bank import FeatureBank
from shipclip.learners.gda import ALPHAS, GDA, GDAOptions, discriminant
from shipclip.texts import Texts

from .formula import abs_sum, read, wave

GOLDEN = read("gda")
BASE, NEW = tuple(f"base {i}" for i in range(5)), tuple(f"new {i}" for i in range(4))
COVARIANCE = {"few_shots": "ridge", "base_to_new": "mean"}


class Case:
    """A case's features, by the recipe, and the learner that was given them."""

    def __init__(self, name: str):
        self.wanted: dict[str, Any] = GOLDEN["cases"][name]
        d, k0, shots = (self.wanted[key] for key in ("d", "k0", "shots"))
        centres = unit(unit(wave((1, d), k0, 1.0)) + 0.5 * unit(wave((9, d), k0 + 1, 1.0)))
        self.text = unit(centres + self.wanted["text_noise"] * unit(wave((9, d), k0 + 2, 1.0)))

        def images(y: Tensor, k: int) -> Tensor:
            return unit(centres[y] + self.wanted["noise"] * unit(wave((len(y), d), k0 + k, 1.0)))

        base, new = torch.arange(5), torch.arange(5, 9)
        train, val = base.repeat_interleave(shots), base.repeat_interleave(8)
        self.test_labels, self.new_labels = base.repeat_interleave(2), new.repeat_interleave(2)
        self.train = FeatureBank(images(train, 3)[None], train)
        self.val = FeatureBank(images(val, 4)[None], val)
        self.test, self.test_new = images(self.test_labels, 5), images(self.new_labels, 6)
        self.gda = GDA(Sized(d), BASE, GDAOptions(covariance=COVARIANCE[name.rpartition("_")[0]]), 0, Texts())  # type: ignore[arg-type]
        self.gda._text_features = {BASE: self.text[:5], NEW: self.text[5:]}
        self.gda.prepare(self.train, self.val)

    def agree(self, found: Tensor, name: str) -> None:
        """Held to 1e-4 of the array's largest number; of a large array a sum and the first eight are known."""
        if name in self.wanted:
            wanted = torch.tensor(self.wanted[name])
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4 * wanted.abs().max().item())
        else:
            assert abs_sum(found) == pytest.approx(self.wanted[f"{name}_abs_sum"], rel=1e-4)
            first = torch.tensor(self.wanted[f"{name}_first8_of_row0"])
            torch.testing.assert_close(found.flatten()[:8], first, rtol=0, atol=1e-4 * found.abs().max().item())


class Sized(Backbone):
    """A backbone that nothing is asked of but its size: class features are the recipe's."""

    device = torch.device("cpu")

    def __init__(self, dim: int):
        self.dim, self.logit_scale = dim, 100.0


def unit(x: Tensor) -> Tensor:
    return normalise(x)


@pytest.fixture(scope="module", params=GOLDEN["cases"])
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


@pytest.fixture(scope="module", params=[name for name in GOLDEN["cases"] if name.startswith("base_to_new")])
def with_new(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def test_the_formula_gives_the_recipes_features(case: Case):
    found = {
        "text": case.text,
        "xtr": case.train.features,
        "xv": case.val.features,
        "xt": case.test,
        "xn": case.test_new,
    }
    for name, total in case.wanted.get("features_abs_sum", {}).items():
        assert abs_sum(found[name]) == pytest.approx(total, rel=1e-4), name


def test_means_precision_and_weights(case: Case):
    case.agree(case.gda.means, "mus")
    case.agree(case.gda.precision, "precision")
    weight, bias = discriminant(case.gda.means, case.gda.precision)
    case.agree(weight.T, "W")
    case.agree(bias - math.log(5), "b")


def test_alpha_is_the_first_best_on_validation_images(case: Case):
    assert GOLDEN["recipe"]["alpha_grid"] == list(ALPHAS)
    assert case.gda.alpha.item() == pytest.approx(case.wanted["best_alpha"])
    x, labels, first, accuracies = case.val.features[0], case.val.labels, [], []
    for alpha in ALPHAS:
        case.gda.alpha.data.fill_(alpha)
        logits = case.gda.classifier(BASE)(x)
        first.append(logits[0])
        accuracies.append(100 * (logits.argmax(dim=1) == labels).float().mean().item())
    case.gda.alpha.data.fill_(case.wanted["best_alpha"])
    wanted = torch.tensor(case.wanted["val_logits_first_by_alpha"])
    for row, figures in zip(first, wanted, strict=True):
        torch.testing.assert_close(row, figures, rtol=0, atol=1e-4 * figures.abs().max().item())
    assert accuracies == pytest.approx(case.wanted["val_acc_by_alpha"])
    assert max(accuracies) == pytest.approx(case.wanted["best_val_acc"])


def accuracy(logits: Tensor, labels: Tensor) -> float:
    return 100 * (logits.argmax(dim=1) == labels).float().mean().item()


def test_logits_and_accuracy_of_test_images(case: Case):
    logits, returned = case.gda.classifier(BASE)(case.test), case.wanted["returned"]
    case.agree(logits, "test_logits")
    wanted = returned[0] if isinstance(returned, list) else returned
    assert accuracy(logits, case.test_labels) == pytest.approx(wanted)


def test_new_classes_have_means_and_a_precision_of_their_own(with_new: Case):
    means, precision = with_new.gda.borrow(with_new.text[5:])
    with_new.agree(means, "mu_new")
    with_new.agree(precision, "precision_new")
    weight, bias = discriminant(means, precision)
    with_new.agree(weight.T, "W_new")
    with_new.agree(bias - math.log(4), "b_new")


def test_logits_and_accuracy_of_test_images_of_new_classes(with_new: Case):
    logits = with_new.gda.classifier(NEW)(with_new.test_new)
    with_new.agree(logits, "test_logits_new")
    assert accuracy(logits, with_new.new_labels - 5) == pytest.approx(with_new.wanted["returned"][1])
