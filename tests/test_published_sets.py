"""Whole runs on small trees of published data sets with kinds of classes and splits of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import train
from tests.data.layouts import LAYOUTS


def run(root: Path, output: Path, dataset: str, trainer: str, *options: Any, flags: tuple[str, ...] = ()) -> dict:
    config = f"configs/trainers/{trainer}/miniclip.yaml"
    command = ["--root", str(root), "--output-dir", str(output), "--trainer", trainer, "--seed", "1", *flags]
    command += ["--config-file", config, "--dataset-config-file", f"configs/datasets/{dataset}.yaml"]
    short = ["OPTIM.MAX_EPOCH", "2", "TRAINER.SHIP.GENERATOR.EPOCHS", "2", "FEATURES.VIEWS", "1"]
    assert train.main([*command, *short, *map(str, options)]) == 0
    return json.loads((output / "results.json").read_text())["figures"]


@pytest.fixture
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The data sets of small real images."""
    for name in request.param:
        LAYOUTS[name][0](tmp_path / "data")
    rng = np.random.default_rng(0)
    for file in (tmp_path / "data").rglob("*"):
        if file.suffix in (".jpg", ".JPEG"):
            Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(file, format="JPEG")
    return tmp_path / "data"


@pytest.mark.parametrize("tree", [("CUB",)], indirect=True)
def test_generalized_zero_shot_sets_give_s_u_and_h(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    figures = run(tree, tmp_path / "o", "cub", "SHIP")
    assert (figures["base_total"], figures["new_total"]) == (4, 5)
    assert "SHIP: 2 base classes with images, 1 new classes by name" in (out := capsys.readouterr().out)
    assert "(among all classes, mean over classes)" in out
    run(tree, tmp_path / "base", "cub", "SHIP", "DATASET.SUBSAMPLE_CLASSES", "base")
    trained = ("--eval-only", "--model-dir", str(tmp_path / "base"))
    unseen = run(tree, tmp_path / "new", "cub", "SHIP", "DATASET.SUBSAMPLE_CLASSES", "new", flags=trained)
    assert unseen["accuracy"] == 100 and unseen["total"] == 5  # one class alone


@pytest.mark.parametrize("tree", [("CUB",)], indirect=True)
def test_the_penalty_is_chosen_where_there_are_no_validation_images(tree: Path, tmp_path: Path):
    options = ("DATASET.SUBSAMPLE_CLASSES", "dev", "DATASET.NUM_SHOTS", -1)
    figures = run(tree, tmp_path / "o", "cub", "SHIP", *options)
    assert (figures["base_total"], figures["new_total"]) == (1, 1)  # of three training images of each seen class
    assert "best_penalty" in figures


@pytest.mark.parametrize("tree", [("ImageNet", "ImageNetR")], indirect=True)
def test_imagenet_is_trained_on_and_its_variants_are_for_testing_alone(tree: Path, tmp_path: Path, capsys):
    options = ("DATASET.NUM_SHOTS", 2, "TEST.FINAL_MODEL", "best_val")
    figures = run(tree, tmp_path / "o", "imagenet", "CoOp", *options)
    assert figures["total"] == 6
    assert "Warning: the validation images are the test images" in capsys.readouterr().out
    trained = ("--eval-only", "--model-dir", str(tmp_path / "o"), "--load-epoch", "2")
    assert run(tree, tmp_path / "r", "imagenet_r", "CoOp", flags=trained)["total"] == 6
    command = ["--root", str(tree), "--output-dir", str(tmp_path / "t"), "--trainer", "CoOp", "--config-file"]
    command += ["configs/trainers/CoOp/miniclip.yaml", "DATASET.NAME", "ImageNetR"]
    assert train.main(command) == 2
    assert "ImageNetR has no training images of the all classes: use --eval-only" in capsys.readouterr().err
