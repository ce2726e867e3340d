"""Which images are held out, and that no test image is among what is chosen on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import shipclip
from shipclip import plan, trials
from shipclip.backbones import load_backbone
from shipclip.choose import Figures, too_many
from shipclip.features.source import FeatureSource
from shipclip.heldout import rounds_of
from shipclip.recipe import Recipe
from shipclip.settings import Settings
from shipclip.task import Item, LabelSpace, Task
from shipclip.trials import HeldOut, trial_of
from tests.in_use.conftest import SHORT, names


def task(counts: list[int], by_name: int = 0, val: int = 0) -> Task:
    """Classes with so many training images each, and some by name."""
    classes = tuple(f"class {i}" for i in range(len(counts) + by_name))
    train = [Item(f"{label}/{i}", label, classes[label]) for label, n in enumerate(counts) for i in range(n)]
    held = [Item(f"val/{label}/{i}", label, classes[label]) for label in range(len(counts)) for i in range(val)]
    return Task("some", LabelSpace(classes, len(counts), len(counts) if by_name else 0), train, held)


def test_below_five_images_a_class_every_image_is_held_out_once():
    whole = task([6, 4, 9])
    rounds = rounds_of(whole, 1, cheap=False, away=False)
    assert len(rounds) == 3
    held = [i for part in rounds for i in part.held]
    assert sorted(held) == list(range(19))
    for part in rounds:
        assert not set(part.rows) & set(part.held) and len(part.rows) + len(part.held) == 19
        assert {item.label for item in part.task.train} == {0, 1, 2}


def test_from_five_on_a_fifth_of_each_class_is_held_out():
    whole = task([5, 10, 20])
    (part,) = rounds_of(whole, 1, cheap=False, away=False)
    counts = [sum(whole.train[i].label == label for i in part.held) for label in range(3)]
    assert counts == [1, 2, 4]


def test_cheap_learners_are_cross_validated_until_a_fifth_is_enough():
    assert len(rounds_of(task([10] * 5), 1, cheap=True, away=False)) == 5
    assert len(rounds_of(task([100] * 5), 1, cheap=True, away=False)) == 1
    assert len(rounds_of(task([100] * 5), 1, cheap=True, away=True)) == 5  # a class a round would say nothing
    assert len(rounds_of(task([5] * 150), 1, cheap=True, away=True)) == 1


def test_own_validation_images_are_what_is_held_out():
    whole = task([4, 4, 4], val=2)
    (part,) = rounds_of(whole, 1, cheap=True, away=False)
    assert part.held == list(range(12, 18)) and part.rows == list(range(12))
    assert [item.impath for item in part.task.test] == [item.impath for item in whole.val]


def test_each_class_is_taken_away_once_with_all_its_images():
    whole = task([4] * 7, by_name=2)
    rounds = rounds_of(whole, 1, cheap=True, away=True)
    assert sorted(label for part in rounds for label in part.away) == list(range(7))
    for part in rounds:
        labels = part.task.labels
        gone = {whole.labels.names[label] for label in part.away}
        assert sorted(labels.names) == sorted(whole.labels.names)
        assert set(labels.by_name) == gone | {"class 7", "class 8"}
        assert not gone & {item.classname for item in part.task.train}
        for item in (*part.task.train, *part.task.test):
            assert labels.names[item.label] == item.classname
        for label, name in enumerate(whole.labels.names):
            assert labels.names[part.columns[label]] == name
        assert {whole.train[i].label for i in part.shown}.isdisjoint(part.away)


@pytest.mark.parametrize(("shown", "by_name"), [(36, 18), (10, 5), (10, 30), (10, 1)])
def test_a_learner_is_judged_among_as_many_classes_by_name_for_each_with_images_as_the_fit_has(
    shown: int, by_name: int
):
    rounds, C = rounds_of(task([5] * shown, by_name), 1, True, away=True), shown + by_name
    away = torch.zeros(len(rounds), C, dtype=torch.bool)
    for row, part in zip(away, rounds, strict=True):
        row[part.away] = True
    names = away | (torch.arange(C) >= shown)
    labels = torch.tensor([part.away[0] for part in rounds])
    rest = torch.zeros(len(rounds), 1)
    held = HeldOut(torch.zeros(len(rounds), C), labels, names, away, rest, rest, rest)
    left_out = too_many(held)
    assert not (left_out & ~(names & ~away)).any()
    counts, n_shown = (names & ~left_out).sum(dim=1), (~names).sum(dim=1)
    assert ((counts - n_shown * by_name / shown).abs() <= 0.5).logical_or(counts == away.sum(dim=1)).all()


def test_a_classs_only_image_is_never_taken_from_it():
    whole = task([1, 4, 4])
    for part in rounds_of(whole, 1, cheap=True, away=False):
        assert 0 in {item.label for item in part.task.train}
        assert 0 not in {item.label for item in part.task.test}


def test_two_classes_are_too_few_to_take_one_away():
    assert all(not part.away for part in rounds_of(task([4, 4]), 1, cheap=True, away=True))


def test_the_choice_follows_the_seed():
    whole = task([6] * 6, by_name=1)
    held = [[part.held for part in rounds_of(whole, seed, True, True)] for seed in (1, 1, 2)]
    assert held[0] == held[1] != held[2]


@pytest.fixture(scope="module")
def trial(photos: Path):
    from shipclip.api import _task

    clip = load_backbone("MiniCLIP")
    recipe = _recipe(photos)
    whole = _task(photos, None, None, (), recipe.dataset, 1)
    settings = Settings.of(recipe.tree("CLIPAdapter", True))
    source = FeatureSource(clip, whole, settings.input, settings.features, 1, 0)
    rounds = rounds_of(whole, 1, True, True)
    return whole, source, rounds, trial_of(settings, source, rounds, 1, look=True)


def test_a_trial_tells_of_each_held_out_image_in_the_whole_tasks_order(trial):
    whole, source, rounds, found = trial
    held = found.held
    assert len(held) == sum(len(part.held) for part in rounds)
    wanted = [whole.train[i].label for part in rounds for i in part.held]
    assert held.labels.tolist() == wanted
    assert held.logits.shape == (len(held), len(whole.labels.names))
    away = [label in part.away for part in rounds for label in (whole.train[i].label for i in part.held)]
    assert held.shown.tolist() == [not one for one in away]
    assert held.by_name[:, whole.labels.n_trained :].all() and not held.away[:, whole.labels.n_trained :].any()
    plain = trials.plain_features(source)
    first = rounds[0]
    assert torch.equal(held.features[: len(first.held)], plain[first.held])
    nearest = (plain[first.held] @ plain[first.rows].T).amax(dim=1)
    assert torch.allclose(held.near[: len(first.held)], nearest)


def test_better_than_chance_among_all_classes(trial):
    held = trial[-1].held
    figures = Figures.of(held)
    assert figures.base > 100 / 8 and figures.new is not None


def test_it_is_looked_at_after_each_of_few_epochs_and_ends_as_it_would_without(trial, photos: Path):
    _, source, rounds, found = trial
    assert list(found.epochs) == [1, 2, 3, 4]
    assert torch.equal(found.epochs[4].logits, found.held.logits)
    settings = Settings.of({**_tree(photos)})
    again = trial_of(settings, source, rounds, 1)
    assert again.epochs == {} and torch.equal(again.held.logits, found.held.logits)


@pytest.mark.parametrize(("images", "fewer", "epochs"), [(640, 320, 8), (640, 640, 4), (30, 20, 4)])
def test_fewer_images_are_given_as_many_updates(photos: Path, images: int, fewer: int, epochs: int):
    """Batches of 32; fewer images than that are one batch as well."""
    settings = Settings.of({**_tree(photos)})
    assert settings.batch_size == 32
    longer = trials.updates_ratio(settings, images, fewer)
    assert trials.as_long(settings, longer).optim.max_epoch == epochs


def _recipe(photos: Path) -> Recipe:
    facts = {"backbone": "MiniCLIP", "backbone_path": "", "precision": "fp32", "seed": 1}
    return Recipe.of(SHORT, str(photos), -1, **facts)


def _tree(photos: Path):
    return _recipe(photos).tree("CLIPAdapter", True)


def test_no_choice_sees_a_test_image(photos: Path, monkeypatch: pytest.MonkeyPatch):
    """What is settled is the same, to the bit, without the test images."""
    seen: list[HeldOut] = []
    settle = plan.settle

    def kept(*args):
        found = settle(*args)
        seen.append(found.held)
        return found

    monkeypatch.setattr("shipclip.api.settle", kept)
    whole = shipclip.fit(photos, backbone="MiniCLIP", learner="LinearProbe", reject=0.1, options=SHORT)
    files = sorted((photos / "train").rglob("*.png"))
    listed = shipclip.fit(
        images=files, labels=[file.parent.name for file in files], new_names=names()[6:8],
        backbone="MiniCLIP", learner="LinearProbe", reject=0.1, options=SHORT,
    )  # fmt: skip
    assert whole.figures["total"] and "total" not in listed.figures
    assert torch.equal(seen[0].logits, seen[1].logits)
    assert whole.calibration == listed.calibration and whole.rejection == listed.rejection


def test_a_round_that_takes_classes_away_needs_no_validation_images(photos: Path, tmp_path: Path, capsys):
    """It has none, and the fit itself chooses its epoch on those that there are."""
    shutil.copytree(photos, tmp_path / "photos")
    shutil.copytree(photos / "test", tmp_path / "photos" / "val")
    options = {**SHORT, "TEST.FINAL_MODEL": "best_val"}
    model = shipclip.fit(tmp_path / "photos", backbone="MiniCLIP", learner="CLIPAdapter", options=options)
    assert capsys.readouterr().out.count("Deploy the model with the best val performance") == 1
    assert model.figures["held_out"]["accuracy"]["new"] is not None
