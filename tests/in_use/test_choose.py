"""--learner auto."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import shipclip
from shipclip.choose import CHEAP, Candidate, Figures, simplest
from shipclip.errors import UserError
from shipclip.trials import HeldOut
from tests.in_use.conftest import SHORT, names


def test_all_cheap_learners_are_tried_alone_and_with_ships_features(chosen: shipclip.Classifier):
    tried = [row["learner"] for row in chosen.chosen["tried"]]
    assert sorted(tried) == sorted([*CHEAP, *(f"SHIP+{learner}" for learner in CHEAP if learner != "ZeroshotCLIP")])


def test_what_was_chosen_comes_first_and_the_others_by_their_worth(chosen: shipclip.Classifier):
    rows = chosen.chosen["tried"]
    worth = [(row["h"], -row["nll"]) for row in rows[1:]]
    assert worth == sorted(worth, reverse=True)
    name = chosen.tree["TRAINER"]["NAME"]
    learner = type(chosen.learner).__name__
    assert rows[0]["learner"] == chosen.chosen["learner"] == (f"SHIP+{learner}" if name == "SHIP" else learner)
    assert (chosen.generator is not None) == (name == "SHIP")


def candidate(name: str, h: float, parts: list[float]) -> Candidate:
    return Candidate(name, False, 0, Figures(h, None, h, 1.0, torch.tensor(parts, dtype=torch.float64)), None, 0.0)


def test_the_simplest_within_a_standard_error_of_the_best_is_taken():
    """The error of the difference, class by class."""
    best = candidate("best", 70.0, [-10, 10, -10, 10])
    worse = candidate("worse", 68.0, [-9, 9, -11, 11])  # surely so: differences of -1 or 1, their error is 0.6
    noisy = candidate("noisy", 68.0, [10, -10, -10, 10])  # 20 or 0, and 8
    assert simplest([worse, best]) is best
    assert simplest([noisy, best]) is noisy
    assert simplest([worse, best, noisy]) is best


def test_parts_of_h_are_its_derivatives():
    """H with one class left out, as the parts have it."""
    rng = torch.Generator().manual_seed(0)
    labels, away = torch.arange(600) % 6, torch.zeros(600, 6, dtype=torch.bool)
    away[:300, :3], away[300:, 3:] = True, True  # each class is shown in one round and by name in the other
    away = torch.cat([away, torch.zeros(600, 1, dtype=torch.bool)], dim=1)
    by_name = away | torch.tensor([False] * 6 + [True])
    logits = torch.randn(600, 7, generator=rng) + torch.nn.functional.one_hot(labels, 7) * (1 + labels[:, None] / 3)
    held = HeldOut(logits, labels, by_name, away, torch.ones(600, 7), torch.zeros(600, 1), torch.zeros(600))
    whole = Figures.of(held)
    assert whole.parts.mean().item() == pytest.approx(0, abs=1e-9)
    for c in range(6):
        rows = labels != c
        without = Figures.of(HeldOut(*(getattr(held, name)[rows] for name in HeldOut.__dataclass_fields__)))
        assert without.h - whole.h == pytest.approx(-whole.parts[c].item() / 5, abs=0.35)


def test_without_classes_by_name_those_that_were_taken_away_do_not_count(photos: Path):
    files = sorted((photos / "train").rglob("*.png"))
    wish = {"labels": [file.parent.name for file in files], "learner": "GDA", "reject": 0.1, "options": SHORT}
    found = shipclip.fit(images=files, backbone="MiniCLIP", **wish).figures["held_out"]["accuracy"]
    assert found["new"] is None and found["h"] == found["base"] > 100 / 6


def test_h_is_the_harmonic_mean_of_shown_classes_and_classes_by_name(chosen: shipclip.Classifier):
    for row in chosen.chosen["tried"]:
        assert row["h"] == pytest.approx(2 * row["base"] * row["new"] / max(row["base"] + row["new"], 1e-9))


def test_what_was_chosen_is_in_the_model_and_on_its_card(chosen: shipclip.Classifier, chosen_folder: Path):
    opened = shipclip.load(chosen_folder)
    assert opened.chosen == chosen.chosen and opened.tree == chosen.tree
    card = (chosen_folder / "README.md").read_text()
    assert "## How the learner was chosen" in card and "| SHIP+CLIPAdapter" in card


def test_without_names_learners_stand_alone_and_accuracy_decides(photos: Path):
    files = sorted((photos / "train").rglob("*.png"))
    model = shipclip.fit(
        images=files, labels=[file.parent.name for file in files], backbone="MiniCLIP", learner="auto", options=SHORT
    )
    rows = model.chosen["tried"]
    assert len(rows) == len(CHEAP) and all(row["new"] is None and row["h"] == row["base"] for row in rows)
    assert model.generator is None


def test_alone_a_learner_goes_by_the_names_without_ships_features(photos: Path):
    chosen = shipclip.fit(photos, backbone="MiniCLIP", learner="auto", alone=True, options=SHORT)
    assert {row["learner"] for row in chosen.chosen["tried"]} == set(CHEAP)
    assert all(row["new"] is not None for row in chosen.chosen["tried"])
    fixed = shipclip.fit(photos, backbone="MiniCLIP", learner="CLIPAdapter", alone=True, options=SHORT)
    assert fixed.generator is None and fixed.classes == [*sorted(names()[:6]), *names()[6:8]]


def test_gdas_weight_is_chosen_on_held_out_images(photos: Path):
    files = sorted((photos / "train").rglob("*.png"))
    labels = [file.parent.name for file in files]
    model = shipclip.fit(images=files, labels=labels, backbone="MiniCLIP", learner="GDA", options=SHORT)
    assert float(model.learner.alpha) == model.chosen["alpha"] == model.tree["TRAINER"]["GDA"]["ALPHA"]
    named = shipclip.fit(photos, backbone="MiniCLIP", learner="GDA", options=SHORT)
    assert float(named.learner.alpha) == 1  # chosen on classes with images alone it would cost those by name


def test_epochs_are_chosen_on_held_out_images(photos: Path, capsys: pytest.CaptureFixture):
    model = shipclip.fit(photos, backbone="MiniCLIP", learner="CLIPAdapter", epochs="auto", options=SHORT)
    epochs = model.chosen["epochs"]
    assert 1 <= epochs <= 4 and capsys.readouterr().out.count("\nepoch [") == epochs
    short = {key: value for key, value in SHORT.items() if key != "OPTIM.MAX_EPOCH"}
    fixed = shipclip.fit(photos, backbone="MiniCLIP", learner="CLIPAdapter", epochs=3, options=short)
    assert fixed.tree["OPTIM"]["MAX_EPOCH"] == 3


def test_held_out_images_change_nothing_of_what_is_learned(photos: Path):
    with_them, without = (
        shipclip.fit(photos, backbone="MiniCLIP", learner="LinearProbe", calibrate=calibrate, options=SHORT)
        for calibrate in (True, False)
    )
    assert with_them.learner.weight.equal(without.learner.weight)
    assert with_them.calibration.temperature != 1.0 == without.calibration.temperature
    assert "held_out" not in without.figures and "uncalibrated" not in without.figures


MISTAKES = {
    "auto without": ({"learner": "auto", "calibrate": False}, "--learner auto needs held-out images"),
    "reject without": ({"reject": 0.1, "calibrate": False}, "--reject needs held-out images"),
    "rate": ({"reject": 1.5}, "the rate of wrongly rejected images is 1.5: give one between 0 and 1"),
    "epochs": ({"epochs": "many"}, "the number of epochs is 'many': give 1 or more, or auto"),
    "learner": ({"learner": "otto"}, "learner is 'otto': choose one of .*, auto"),
    "one image each": ({"learner": "auto", "shots": 1}, "no class has two images, so there is nothing to choose"),
    "a class called unknown": ({"reject": 0.1, "new_names": ["Unknown"]}, "a class is called 'unknown'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(mistake: str, photos: Path):
    arguments, sentence = MISTAKES[mistake]
    with pytest.raises(UserError, match=sentence):
        shipclip.fit(photos, backbone="MiniCLIP", **{"learner": "GDA", "options": SHORT, **arguments})


def test_one_image_each_can_still_be_fitted(photos: Path, capsys: pytest.CaptureFixture):
    model = shipclip.fit(photos, backbone="MiniCLIP", learner="TipAdapter", shots=1, options=SHORT)
    assert model.calibration.temperature == 1.0 or model.figures["held_out"]["images"]
    assert model.classes == [*sorted(names()[:6]), *names()[6:8]]
