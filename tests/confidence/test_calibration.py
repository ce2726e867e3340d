"""Temperature and distance-aware factors."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from shipclip.confidence import Calibration, calibrate, distance_scores, fit_temperature
from shipclip.learners import LEARNERS
from shipclip.reliability import reliability
from shipclip.texts import Texts
from shipclip.trials import HeldOut


def drawn(temperature: float, n: int = 20000) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are `temperature` times those that the labels were drawn by."""
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(n, 5, generator=rng)
    return temperature * z, torch.multinomial(z.softmax(dim=1), 1, generator=rng)[:, 0]


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_logits_were_scaled_by_is_found(temperature: float):
    logits, labels = drawn(temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.03)


def test_no_other_temperature_is_likelier():
    logits, labels = drawn(2.0, n=500)
    T = fit_temperature(logits, labels)
    at = lambda t: F.cross_entropy(logits.double() / t, labels, reduction="sum").item() + math.log(t) ** 2 / 2  # noqa: E731
    assert all(at(T) <= at(T * factor) for factor in (0.98, 0.999, 1.001, 1.02))


def test_a_few_images_that_are_all_right_do_not_make_it_certain():
    logits = 3 * torch.eye(4)
    assert 0.5 < fit_temperature(logits, torch.arange(4)) <= 1


def test_predictions_stay_what_they_were():
    logits, _ = drawn(1.0, n=200)
    way = Calibration(1.7, True)
    assert torch.equal(way(logits, torch.rand(5) + 0.5).argmax(dim=1), logits.argmax(dim=1))


def test_the_factor_is_that_of_the_most_probable_class():
    logits = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    calibrated = Calibration(2.0, True)(logits, torch.tensor([1.0, 0.5]))
    assert calibrated.tolist() == [[1.0, 0.5], [0.25, 0.75]]


def test_distance_aware_factors_are_wang_et_als(clip):
    """exp(-mean distance to the 5 nearest base classes), tuned over zero-shot."""
    names = [f"thing number {i}" for i in range(9)]
    coop = LEARNERS.get("CoOp")(clip, names, LEARNERS.get("CoOp").Options(n_ctx=4), 1, Texts())
    shown = torch.arange(9) < 7
    tuned = coop.classifier(names).class_features.detach()
    plain = coop.text_features(names)
    found = distance_scores(coop, names, shown)
    for c in range(9):
        s = {}
        for kind, features in (("tuned", tuned), ("plain", plain)):
            distances = sorted((features[c] - features[b]).norm().item() for b in range(7))[:5]
            s[kind] = math.exp(-sum(distances) / 5), distances[0]
        wanted = 1.0 if s["tuned"][1] < 0.05 else s["tuned"][0] / s["plain"][0]
        assert found[c].item() == pytest.approx(wanted, rel=1e-4)
    assert found[:7].tolist() == [1.0] * 7  # a class with images is one of them


def test_a_learner_that_tunes_no_class_features_has_factors_of_1(clip):
    learner = LEARNERS.get("CLIPAdapter")(clip, ["a", "b", "c"], LEARNERS.get("CLIPAdapter").Options(), 1, Texts())
    assert distance_scores(learner, ["a", "b", "c"], torch.tensor([True, True, False])).tolist() == [1, 1, 1]


def held_out(logits: torch.Tensor, labels: torch.Tensor, away: list[int], scores: torch.Tensor) -> HeldOut:
    M, C = logits.shape
    mask = torch.zeros(C, dtype=torch.bool)
    mask[away] = True
    everywhere = mask.expand(M, C)
    return HeldOut(logits, labels, everywhere, everywhere, scores.expand(M, C), torch.zeros(M, 4), torch.zeros(M))


def test_the_temperature_is_that_of_classes_that_were_shown():
    logits, labels = drawn(2.0, n=4000)
    rows = labels == 4  # class 4 was taken away, and its images are too sure by far
    logits[rows] *= 10
    way = calibrate(held_out(logits, labels, [4], torch.ones(5)))
    assert way.temperature == pytest.approx(fit_temperature(logits[~rows], labels[~rows]))


@pytest.mark.parametrize(("score", "wanted"), [(0.5, True), (2.0, False)])
def test_distance_aware_is_chosen_where_it_makes_classes_by_name_less_wrong(score: float, wanted: bool):
    logits, labels = drawn(2.0, n=4000)  # so T is 2, and predictions of class 4 are twice as sure as they may be
    predicted = logits.argmax(dim=1) == 4
    logits[predicted] *= 2
    way = calibrate(held_out(logits, labels, [4], torch.tensor([1.0, 1, 1, 1, score])))
    assert way.distance_aware is wanted


def test_calibration_lowers_the_error():
    logits, labels = drawn(3.0)
    way = calibrate(held_out(logits, labels, [], torch.ones(5)))
    after = way(logits, torch.ones(5))
    assert reliability(after, labels)["ece"] < 2 < 15 < reliability(logits, labels)["ece"]
