"""Transfer between data sets and generalized zero-shot learning, as whole runs on small worlds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from dassl.data.datasets import build_dataset

import train
from shipclip.data.miniworld import MiniWorld
from shipclip.features.source import Source
from shipclip.miniclip import scene, world
from shipclip.task import Task
from tests.runs import SMALL, arguments, run, status

SOURCE = "configs/datasets/minisource.yaml"
GENERATOR = "TRAINER.SHIP.GENERATOR"


def images(subset: str, data: Path, shots: int = 2, seed: int = 1) -> Task:
    options = ("DATASET.SUBSAMPLE_CLASSES", subset, "DATASET.NUM_SHOTS", shots, "SEED", seed)
    return build_dataset(train.setup_cfg(train.parse_args(arguments(data, Path("x"), "CoOp", *options)))).task


def paths(items: list) -> set[str]:
    return {item.impath for item in items}


def test_gzsl_trains_on_base_and_tests_on_all(data: Path):
    joint, base, everything = (images(subset, data) for subset in ("gzsl", "base", "all"))
    assert paths(joint.train) == paths(base.train) and paths(joint.val) == paths(base.val)
    assert paths(joint.test) == paths(everything.test)
    assert joint.labels.names == everything.labels.names and joint.labels.n_base == 36


@pytest.mark.parametrize("seed", [1, 2])
def test_dev_holds_no_test_image_and_no_new_class(seed: int, data: Path):
    dev, base, everything = (images(subset, data, seed=seed) for subset in ("dev", "base", "all"))
    assert dev.labels.names == base.labels.names and dev.labels.n_base == 18
    assert {item.label for item in dev.train} == set(range(18)) and not dev.val
    assert paths(dev.train) <= paths(base.train)
    assert not paths(dev.test) & paths(dev.train) and not paths(dev.test) & paths(everything.test)
    left_over = SMALL["train"] - 2 + SMALL["val"]  # of each class
    assert len(dev.test) == 36 * left_over


def test_one_gzsl_run_has_the_figures_of_training_on_base_and_testing_on_all(data: Path, tmp_path: Path):
    """The same images, updates and classes: one process in place of three."""
    for trainer in ("CoOp", "SHIP"):
        one = run(data, tmp_path / trainer / "one", trainer, "DATASET.SUBSAMPLE_CLASSES", "gzsl")["figures"]
        run(data, tmp_path / trainer / "base", trainer)
        flags = ("--eval-only", "--model-dir", str(tmp_path / trainer / "base"))
        joint = run(data, tmp_path / trainer / "all", trainer, "DATASET.SUBSAMPLE_CLASSES", "all", flags=flags)
        assert {k: v for k, v in joint["figures"].items() if k != "synthetic"} == {
            k: v for k, v in one.items() if k != "synthetic"
        }
        assert joint["figures"].get("synthetic") == one.get("synthetic")


def test_the_penalty_is_chosen_on_dev_and_reported_beside_the_plain_figures(data: Path, tmp_path: Path):
    dev = run(data, tmp_path / "dev", "CoOp", "DATASET.SUBSAMPLE_CLASSES", "dev")["figures"]
    options = ("DATASET.SUBSAMPLE_CLASSES", "gzsl", "TEST.BASE_PENALTY", dev["best_penalty"])
    figures = run(data, tmp_path / "gzsl", "CoOp", *options)["figures"]
    plain = run(data, tmp_path / "plain", "CoOp", "DATASET.SUBSAMPLE_CLASSES", "gzsl")["figures"]
    assert {key: figures[key] for key in plain} == plain and "best_penalty" not in figures
    if dev["best_penalty"]:
        assert "calibrated_mean_class_h" in figures


# -- transfer ---------------------------------------------------------------------------------------------------


@pytest.fixture
def worlds(data: Path, tmp_path: Path) -> Path:
    """A root with a small MiniWorld and a small second world."""
    (tmp_path / "miniworld").symlink_to(data / "miniworld")
    world.render_dataset(tmp_path / "minisource", 0, scene.SOURCE, world.source_classes())
    return tmp_path


def generator_of_the_source(worlds: Path) -> Path:
    folder = worlds / "source"
    flags = ("--dataset-config-file", SOURCE)
    options = ("DATASET.SUBSAMPLE_CLASSES", "all", f"{GENERATOR}.ONLY", True)
    result = run(worlds, folder, "SHIP", *options, flags=flags)
    assert result["dataset"] == "MiniSource" and not list(folder.glob("prompt_learner/*"))
    return folder


def test_ship_carries_a_generator_over_and_sees_no_image_of_the_target(worlds: Path, monkeypatch):
    source = generator_of_the_source(worlds)
    seen = []
    original = Source.views

    def recorded(self, items, training, count=1):
        seen.append((self.task.dataset, training))
        return original(self, items, training, count)

    monkeypatch.setattr(Source, "views", recorded)
    options = ("DATASET.SUBSAMPLE_CLASSES", "all", "TRAINER.SHIP.REAL", False, f"{GENERATOR}.FROM", source)
    result = run(worlds, worlds / "target", "SHIP", *options)
    assert seen == [("MiniWorld", False)]  # the test images, at the end
    assert result["figures"]["total"] == 72 * SMALL["test"]
    taken = torch.load(source / "generator" / "model.pth.tar-4", weights_only=True)["state_dict"]["prompt.ctx"]
    assert not (worlds / "target" / "generator").exists() and taken.abs().sum() > 0
    log = (worlds / "target" / "log.txt").read_text()
    assert "SHIP: 0 base classes with images, 72 new classes by name" in log and "Took the generator from" in log
    again = run(worlds, worlds / "again", "SHIP", *options)
    assert again["figures"] == result["figures"]


def test_a_generator_is_taken_over_with_its_own_shape_and_kind(worlds: Path):
    """ImageNet's config has another encoder than the targets' has."""
    flags = ("--dataset-config-file", SOURCE)
    shape = (f"{GENERATOR}.ENCODER_HIDDEN", 48, f"{GENERATOR}.NAME", "MLP", f"{GENERATOR}.LATENT", "posterior")
    options = ("DATASET.SUBSAMPLE_CLASSES", "all", f"{GENERATOR}.ONLY", True, *shape)
    run(worlds, worlds / "source", "SHIP", *options, flags=flags)
    options = ("DATASET.SUBSAMPLE_CLASSES", "all", "TRAINER.SHIP.REAL", False, f"{GENERATOR}.FROM", worlds / "source")
    first = run(worlds, worlds / "target", "SHIP", *options)["figures"]
    trained = ("--eval-only", "--model-dir", str(worlds / "target"))
    assert run(worlds, worlds / "again", "SHIP", *options, flags=trained)["figures"] == first
    assert first["synthetic"]


def test_a_target_may_have_test_images_alone_as_imagenets_variants_do(worlds: Path, monkeypatch, capsys):
    source = generator_of_the_source(worlds)
    original = MiniWorld.read_split
    monkeypatch.setattr(MiniWorld, "read_split", lambda self: replace(original(self), train=[], val=[]))
    options = ("DATASET.SUBSAMPLE_CLASSES", "all", "TRAINER.SHIP.REAL", False, f"{GENERATOR}.FROM", source)
    result = run(worlds, worlds / "target", "SHIP", *options)
    assert result["figures"]["total"] == 72 * SMALL["test"]
    assert status(worlds, worlds / "real", "CoOp", "DATASET.SUBSAMPLE_CLASSES", "all") == 2
    assert "has no training images" in capsys.readouterr().err


def test_a_source_without_a_generator_is_named(worlds: Path, capsys: pytest.CaptureFixture):
    options = ("DATASET.SUBSAMPLE_CLASSES", "all", "TRAINER.SHIP.REAL", False, f"{GENERATOR}.FROM", worlds / "no")
    assert status(worlds, worlds / "target", "SHIP", *options) == 2
    error = capsys.readouterr().err
    assert f"there is no finished run of SHIP with a generator in {worlds / 'no'}" in error and error.count("\n") == 1
    assert "check TRAINER.SHIP.GENERATOR.FROM" in error


def test_the_worlds_share_no_class_and_no_image():
    assert not set(world.source_classes()) & set(world.downstream_classes())
    assert len(set(world.source_classes())) == 36
    assert set(world.source_classes()) <= set(world.classnames())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("TRAINER.SHIP.SYNTHETIC_SHARE", -1.0), "TRAINER.SHIP.SYNTHETIC_SHARE is -1.0: give at least 0"),
        ((f"{GENERATOR}.NAME", "GAN", f"{GENERATOR}.CRITIC_STEPS", 0), "GENERATOR.CRITIC_STEPS is 0: give at least 1"),
        ((f"{GENERATOR}.BATCH_SIZE", 0), f"{GENERATOR}.BATCH_SIZE is 0: give at least 1"),
        (("TRAINER.SHIP.REAL", False, "TRAINER.SHIP.NEW_CLASSNAMES", "x.txt"), "leave one of the two out"),
    ],
)
def test_options_that_make_no_sense_are_one_sentence(options, sentence: str, data: Path, tmp_path: Path, capsys):
    assert status(data, tmp_path / "o", "SHIP", *options) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


@pytest.mark.parametrize("options", [("TRAINER.SHIP.LEARNER", "GDA"), (f"{GENERATOR}.ONLY", True)])
def test_what_has_one_state_has_no_best_one(options, data: Path, tmp_path: Path):
    best = ("TEST.FINAL_MODEL", "best_val", "DATASET.SUBSAMPLE_CLASSES", "gzsl")
    assert run(data, tmp_path / "o", "SHIP", *best, *options)["figures"]
