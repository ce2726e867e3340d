"""Whole runs on a user's own images: an ImageFolder with classes of which there is nothing but the name."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import train
from shipclip import tuning
from shipclip.run import Run

BASE, NEW = ("blue checkered star", "brown plain heart", "cyan wavy oval"), ("red dotted ring", "green plain cross")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes with two to four images, two with a name alone, test images of all."""
    root = tmp_path / "my photos"
    for number, name in enumerate((*BASE, *NEW)):
        for part, count in (("train", 2 + number if name in BASE else 0), ("test", 2)):
            for i in range(count):
                (root / part / name).mkdir(parents=True, exist_ok=True)
                Image.effect_noise((70, 64), 30 + 20 * number).save(root / part / name / f"{i}.png")
    (root / "classnames.txt").write_text("\n".join(NEW))
    return root


def run(root: Path, output: Path, trainer: str, *options: Any, status: int = 0) -> dict[str, Any]:
    """Short run with MiniCLIP; returns results.json."""
    config = f"configs/trainers/{trainer}/miniclip.yaml"
    flags = ["--root", str(root), "--output-dir", str(output), "--trainer", trainer, "--config-file", config]
    flags += ["--eval-only"] if trainer == "ZeroshotCLIP" else []
    short = ["OPTIM.MAX_EPOCH", "2", "TRAINER.SHIP.GENERATOR.EPOCHS", "2", "FEATURES.VIEWS", "2"]
    command = [*flags, "--seed", "1", "DATASET.NAME", "ImageFolder", *short, *map(str, options)]
    assert train.main(command) == status
    return json.loads((output / "results.json").read_text()) if not status else {}


def listing(root: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


@pytest.mark.parametrize("trainer", ["SHIP", "CoOp", "CoCoOp", "ZeroshotCLIP"])
def test_one_command_trains_and_reports_base_new_and_joint(trainer: str, photos: Path, tmp_path: Path, capsys):
    before = listing(photos)
    figures = run(photos, tmp_path / "o", trainer)["figures"]
    assert (figures["base_total"], figures["new_total"], figures["total"]) == (6, 4, 10)
    for prefix in ("", "own_"):
        b, n = (figures[f"{prefix}{half}_accuracy"] for half in ("base", "new"))
        assert figures[f"{prefix}h"] == pytest.approx(2 * b * n / (b + n) if b + n else 0)
    assert "(each among its own classes)" in capsys.readouterr().out
    assert listing(photos) == before  # nothing is written among the user's images


def test_ship_learns_the_names_without_images(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    run(photos, tmp_path / "o", "SHIP")
    assert "SHIP: 3 base classes with images, 2 new classes by name" in capsys.readouterr().out


def test_no_test_images_are_needed(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    shutil.rmtree(photos / "test")
    assert run(photos, tmp_path / "o", "SHIP")["figures"] == {}
    assert "There are no test images" in capsys.readouterr().out
    assert (tmp_path / "o" / "prompt_learner" / "model.pth.tar-2").is_file()


def test_one_image_a_class_is_enough(photos: Path, tmp_path: Path):
    assert run(photos, tmp_path / "o", "SHIP", "DATASET.NUM_SHOTS", 1)["figures"]["total"] == 10


def test_a_damaged_image_stops_the_run_with_its_path(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    bad = photos / "train" / BASE[1] / "0.png"
    bad.write_bytes(bad.read_bytes()[:80])
    run(photos, tmp_path / "o", "SHIP", status=2)
    error = capsys.readouterr().err
    assert f"error: the image {bad} cannot be read" in error and error.count("\n") == 1


def test_a_damaged_image_whose_name_is_no_text_is_told(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    """File names of old archives are not always UTF-8."""
    bad = os.path.join(os.fsencode(photos / "train" / BASE[1]), b"p\xe9.png")
    with open(bad, "wb"):
        pass
    run(photos, tmp_path / "o", "SHIP", status=2)
    assert "cannot be read (it is empty)" in capsys.readouterr().err
    run(photos, tmp_path / "s", "SHIP", "DATASET.ON_BAD_IMAGE", "skip")
    assert "\\udce9.png cannot be read (it is empty)" in (tmp_path / "s" / "log.txt").read_text()


def test_damaged_images_can_be_left_out_of_every_split(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    bad = [photos / "train" / BASE[1] / "0.png", photos / "test" / NEW[0] / "1.png"]
    for file in bad:
        file.write_bytes(b"")
    figures = run(photos, tmp_path / "o", "SHIP", "DATASET.ON_BAD_IMAGE", "skip")["figures"]
    assert (figures["base_total"], figures["new_total"]) == (6, 3)
    log = (tmp_path / "o" / "log.txt").read_text()
    assert all(f"Left out: the image {file} cannot be read (it is empty)" in log for file in bad)
    assert "1 of 9 train images left out" in log and "1 of 10 test images left out" in log


def test_a_folder_that_vanishes_while_it_is_read_is_one_sentence(photos: Path, tmp_path: Path, monkeypatch, capsys):
    original = Run.resume  # the first thing that training does

    def vanish(self: Run, *args: Any) -> int:
        shutil.rmtree(photos / "train", ignore_errors=True)
        return original(self, *args)

    monkeypatch.setattr(Run, "resume", vanish)
    run(photos, tmp_path / "o", "SHIP", status=2)
    error = capsys.readouterr().err
    assert "cannot be read (No such file or directory)" in error and error.count("\n") == 1
    assert not (tmp_path / "o" / "results.json").exists()


def test_a_class_specific_context_needs_images_of_every_class(photos: Path, tmp_path: Path, capsys):
    run(photos, tmp_path / "o", "CoOp", "TRAINER.COOP.CSC", True, "TRAINER.COOP.CTX_INIT", "", status=2)
    assert "2 classes have no training image, so TRAINER.COOP.CSC cannot" in capsys.readouterr().err


def test_classes_without_images_are_not_trained_against(photos: Path, tmp_path: Path, monkeypatch):
    """CoOp's cross entropy runs over the classes that it has images of: names alone change nothing in training."""
    seen = []
    original = tuning.loss

    def recorded(*args):
        summary = original(*args)
        seen.append(summary["loss"].item())
        return summary

    monkeypatch.setattr(tuning, "loss", recorded)
    run(photos, tmp_path / "with", "CoOp")
    (photos / "classnames.txt").unlink()
    shutil.rmtree(photos / "test")
    run(photos, tmp_path / "without", "CoOp")
    half = len(seen) // 2
    assert half and seen[:half] == pytest.approx(seen[half:], rel=1e-6)


def test_without_a_config_file_the_trainers_own_is_taken(photos: Path, tmp_path: Path, capsys):
    args = train.parse_args(["--trainer", "SHIP", "--root", str(photos), "DATASET.NAME", "ImageFolder"])
    cfg = train.setup_cfg(args)
    assert cfg.MODEL.BACKBONE.NAME == "ViT-B/16" and cfg.INPUT.TRANSFORMS
    cfg = train.setup_cfg(train.parse_args(["--trainer", "SHIP"]))
    assert (cfg.DATASET.NAME, cfg.MODEL.BACKBONE.NAME) == ("MiniWorld", "MiniCLIP")
    assert (cfg.DATASET.SUBSAMPLE_CLASSES, cfg.DATASET.NUM_SHOTS, cfg.DATASET.ROOT) == ("base", 16, "data")
    assert train.main(["--trainer", "NoSuch"]) == 2
    assert "the trainer 'NoSuch' has no config of its own" in capsys.readouterr().err
