from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from sklearn.metrics import f1_score

from shipclip import evaluate
from shipclip.task import Item, LabelSpace, Task


def test_joint_figures_by_hand():
    labels = torch.tensor([0, 1, 2, 2, 3, 4])  # five classes: 0, 1, 2 are base
    logits = torch.tensor(
        [
            [9.0, 0, 0, 1, 2],
            [0, 5, 1, 2, 7],  # taken for class 4; among base classes rightly for 1
            [0, 1, 5, 0, 4],
            [0, 0, 8, 1, 1],
            [0, 0, 1, 6, 3],
            [8, 0, 0, 7, 1],  # taken for class 0; among new classes for 3
        ]
    )
    found = evaluate.figures(logits, labels, 3)
    assert found["accuracy"] == pytest.approx(100 * 4 / 6)
    assert (found["base_correct"], found["base_total"]) == (3, 4)
    assert (found["new_correct"], found["new_total"]) == (1, 2)
    assert found["h"] == pytest.approx(2 * 75 * 50 / 125)
    assert (found["own_base_accuracy"], found["own_new_accuracy"]) == (100, 50)
    # Mean over classes: S of classes 0, 1, 2 is (1 + 0 + 1) / 3, U of 3, 4 is (1 + 0) / 2.
    S, U = 200 / 3, 50.0
    assert found["base_mean_class_accuracy"] == pytest.approx(S) and found["new_mean_class_accuracy"] == pytest.approx(
        U
    )
    assert found["mean_class_h"] == pytest.approx(2 * S * U / (S + U))
    last = evaluate.summary(found, mean_over_classes=True).splitlines()[-1]
    assert last == "S 66.7%, U 50.0%, H 57.1% (among all classes, mean over classes)"


def test_a_half_without_test_images_has_no_figure():
    found = evaluate.figures(torch.tensor([[1.0, 0, 0], [0, 1, 0]]), torch.tensor([0, 1]), 2)
    assert found["base_accuracy"] == 100 and found["new_total"] == 0
    assert "new_accuracy" not in found and "h" not in found and "own_h" not in found
    assert evaluate.summary(found) == "base 100.0% (each among its own classes)\nbase 100.0% (among all classes)\n"


def test_a_penalty_on_base_classes_by_hand():
    """Gaps between the best base and the best new logit: 3, 1 (base images), 2, -1 (new images)."""
    logits = torch.tensor([[5.0, 0, 2, 0], [0, 4, 0, 3], [4, 0, 2, 0], [0, 1, 0, 2]])
    labels = torch.tensor([0, 1, 2, 3])
    assert evaluate.figures(logits, labels, 2)["mean_class_h"] == pytest.approx(2 * 100 * 50 / 150)
    found = evaluate.calibrated(logits, labels, 2, 2.5)  # image 1 goes to the new classes, image 2 rightly so
    assert (found["calibrated_base_accuracy"], found["calibrated_new_accuracy"]) == (50, 100)
    assert found["calibrated_mean_class_h"] == pytest.approx(2 * 50 * 100 / 150)
    assert evaluate.calibrated(logits, labels, 2, 0.0)["calibrated_h"] == evaluate.figures(logits, labels, 2)["h"]


def test_the_best_penalty_is_between_the_gaps_and_the_smallest_of_equals():
    logits = torch.tensor([[5.0, 0, 2, 0], [0, 4, 0, 0], [4, 0, 2, 0], [0, 1, 0, 2]])  # gaps 3, 4, 2, -1
    labels = torch.tensor([0, 1, 2, 3])
    assert evaluate.best_penalty(logits, labels, 2) == pytest.approx(2.5)
    assert evaluate.figures(evaluate.penalised(logits, 2, 2.5), labels, 2)["h"] == 100
    separable = logits - torch.tensor([3.0, 3, 0, 0])  # right as it is
    assert evaluate.best_penalty(separable, labels, 2) == 0


@pytest.mark.parametrize("seed", range(8))
def test_the_best_penalty_is_that_of_trying_each(seed: int):
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(40, 5, generator=rng, dtype=torch.float64)
    logits[:, :3] += 1.0
    labels = torch.randint(0, 5, (40,), generator=rng)

    def h(penalty: float) -> float:
        return evaluate.calibrated(logits, labels, 3, penalty).get("calibrated_mean_class_h", 0.0)

    found = evaluate.best_penalty(logits, labels, 3)
    gaps = (logits[:, :3].amax(dim=1) - logits[:, 3:].amax(dim=1)).sort().values
    tried = [0.0, *((gaps[1:] + gaps[:-1]) / 2).tolist(), float(gaps[0]) - 1, float(gaps[-1]) + 1]
    reached = {penalty: h(penalty) for penalty in tried}
    best = pytest.approx(max(reached.values()))
    assert h(found) == best
    assert abs(found) <= min(abs(penalty) for penalty, one in reached.items() if one == best) + 1e-12


def test_predictions_among_own_classes():
    logits = torch.tensor([[1.0, 0, 5, 0], [0, 2, 9, 1], [7, 0, 0, 1]])
    assert evaluate.predict_among_own(logits, torch.tensor([0, 1, 3]), 2).tolist() == [0, 1, 3]
    assert evaluate.predict_among_own(logits, torch.tensor([0, 1, 3]), 0).tolist() == [2, 2, 0]


@pytest.mark.parametrize(("base", "new", "h"), [(80, 60, 68.5714), (0, 50, 0), (0, 0, 0)])
def test_the_harmonic_mean(base: float, new: float, h: float):
    assert evaluate.harmonic_mean(base, new) == pytest.approx(h, abs=1e-3)


def test_macro_f1_by_hand():
    labels, predictions = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 2])
    assert evaluate.macro_f1(predictions, labels) == pytest.approx(100 * (2 / 3 + 1 / 2) / 2)


def test_macro_f1_is_scikit_learns_to_the_bit():
    rng = torch.Generator().manual_seed(0)
    labels, predictions = (torch.randint(40, (300,), generator=rng) for _ in range(2))
    labels = labels.where(labels != 7, 8)  # a class that is predicted alone
    theirs = f1_score(labels, predictions, average="macro", labels=labels.unique(), zero_division=0)
    assert evaluate.macro_f1(predictions, labels) == 100 * theirs


def test_the_penalty_is_told_on_dev_and_used_where_it_is_given():
    logits, labels = (
        torch.tensor([[5.0, 0, 2, 0], [0, 4, 0, 0], [4, 0, 2, 0], [0, 1, 0, 2]]),
        torch.tensor([0, 1, 2, 3]),
    )
    joint = LabelSpace(("a", "b", "c", "d"), n_trained=2, n_base=2)
    plain = evaluate.all_figures(logits, labels, Task("Own", joint, subset="gzsl"))
    assert not {"best_penalty", "calibrated_h"} & set(plain)
    assert evaluate.all_figures(logits, labels, Task("Own", joint, subset="dev"))["best_penalty"] == 2.5
    assert evaluate.all_figures(logits, labels, Task("Own", joint), 2.5)["calibrated_h"] == 100


def test_predictions_are_a_row_an_image(tmp_path: Path):
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    items = [Item("a.png", 0), Item("b, c.png", 0)]
    evaluate.write_predictions(tmp_path / "predictions.csv", logits, items, ["cat", "dog"])
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert [(row["path"], row["label"], row["prediction"]) for row in rows] == [
        ("a.png", "cat", "cat"),
        ("b, c.png", "cat", "dog"),
    ]
    assert float(rows[0]["probability"]) == pytest.approx(logits[0].softmax(0)[0].item(), abs=1e-6)
    assert rows[1]["top5"] == "dog 0.7311; cat 0.2689"
