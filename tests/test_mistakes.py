"""What a run says when something is wrong: one sentence on a mistake of the user's, a traceback of anybody else's."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml

import train
from shipclip.learners.coop import CoOp
from shipclip.presets import CONFIGS
from tests.runs import MINIWORLD, arguments, run

GENERATOR = "TRAINER.SHIP.GENERATOR"
MISTAKES = {
    "unknown key": ((f"{GENERATOR}.KL_WIGHT", "1.0"), rf"unknown .* {GENERATOR}.KL_WIGHT; .* {GENERATOR}.KL_WEIGHT\?"),
    "odd options": (("OPTIM.LR",), "'OPTIM.LR' stands alone"),
    "wrong type": (("OPTIM.LR", "fast"), "OPTIM.LR"),
    "precision": (("TRAINER.SHIP.PREC", "fp8"), "TRAINER.SHIP.PREC is 'fp8': choose one of fp32, fp16, amp, bf16"),
    "subset": (("DATASET.SUBSAMPLE_CLASSES", "old"), "SUBSAMPLE_CLASSES is 'old': choose one of all, base, new"),
    "image size": (("INPUT.SIZE", "(224, 224)"), r"is \(224, 224\), but MiniCLIP reads images of 64 x 64"),
    "weights": (("MODEL.BACKBONE.PATH", "nowhere.pt"), "no CLIP weight file at nowhere.pt"),
    "no new names": (("DATASET.SUBSAMPLE_CLASSES", "all"), "train on base, name a file of class names"),
    "generator": ((f"{GENERATOR}.NAME", "GAN9"), f"{GENERATOR}.NAME is 'GAN9': choose one of GAN, Gaussian, MLP, VAE"),
    "views": (("FEATURES.VIEWS", "-1"), "FEATURES.VIEWS is -1"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_sentence(mistake: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    options, sentence = MISTAKES[mistake]
    command = arguments(data, tmp_path / "o", "SHIP")
    if len(options) == 2 and options[0] in command:  # a default of the tests': replace it
        command[command.index(options[0]) + 1] = options[1]
    else:
        command += options
    assert train.main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert re.search(sentence, error), error
    assert not (tmp_path / "o" / "results.json").exists()


def test_a_missing_data_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture):
    command = arguments(tmp_path / "nowhere", tmp_path / "o", "CoOp")
    command[command.index(str(MINIWORLD))] = "configs/datasets/caltech101.yaml"
    assert train.main(command) == 2
    assert "nowhere/caltech-101, which is not there" in capsys.readouterr().err


def test_a_missing_config_file_is_named(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    command = arguments(data, tmp_path / "o", "CoOp")
    command[command.index("--config-file") + 1] = "configs/no.yaml"
    assert train.main(command) == 2
    assert "there is no config file configs/no.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("workers", ["0", "2"])
def test_an_unreadable_image_is_named(workers: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    shutil.copytree(data, tmp_path / "data")
    bad = sorted((tmp_path / "data" / "miniworld" / "images").glob("*/test_*.png"))[0]
    bad.write_bytes(bad.read_bytes()[:200])
    command = arguments(tmp_path / "data", tmp_path / "o", "CoOp", "DATALOADER.NUM_WORKERS", workers)
    assert train.main(command) == 2
    error = capsys.readouterr().err
    assert f"the image {bad} cannot be read" in error and error.count("\n") == 1


def test_a_checkpoint_of_another_method_is_refused(trained: Path, data: Path, tmp_path: Path, capsys):
    flags = ("--eval-only", "--model-dir", str(trained))
    assert train.main(arguments(data, tmp_path / "o", "CoCoOp", flags=flags)) == 2
    assert "does not fit this model: it has no meta_net" in capsys.readouterr().err


def test_a_missing_epoch_is_named(trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    flags = ("--eval-only", "--model-dir", str(trained), "--load-epoch", "7")
    assert train.main(arguments(data, tmp_path / "o", "SHIP", flags=flags)) == 2
    assert "there is no model.pth.tar-7 in" in capsys.readouterr().err


@pytest.mark.parametrize("trainer", ["SHIP", "CoOp", "GDA"])
def test_evaluating_what_was_never_trained_is_refused(trainer: str, data: Path, tmp_path: Path, capsys):
    assert train.main(arguments(data, tmp_path / "o", trainer, flags=("--eval-only",))) == 2
    error = capsys.readouterr().err
    assert f"--eval-only needs --model-dir, the folder of a trained run of {trainer}" in error
    assert error.count("\n") == 1 and not (tmp_path / "o" / "results.json").exists()


def test_without_a_trainer_the_choice_is_told(capsys: pytest.CaptureFixture):
    assert train.main([]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no trainer is chosen: give --trainer ") and error.count("\n") == 1
    assert all(name in error for name in ("CoOp", "SHIP", "ZeroshotCLIP", "MaPLe"))


@pytest.mark.parametrize("kind", [ValueError, KeyError, RuntimeError])
def test_a_bug_in_somebodys_learner_keeps_its_traceback(kind: type, data: Path, tmp_path: Path, monkeypatch):
    def broken(*args, **kwargs):
        raise kind("of the author's")

    monkeypatch.setattr(CoOp, "classifier", broken)
    with pytest.raises(kind, match="of the author's"):
        train.main(arguments(data, tmp_path / "o", "CoOp"))


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, OSError])
def test_what_the_machine_lacks_is_one_sentence(kind: type, data: Path, tmp_path: Path, monkeypatch, capsys):
    def broken(*args, **kwargs):
        raise kind("no room is left")

    monkeypatch.setattr(CoOp, "classifier", broken)
    assert train.main(arguments(data, tmp_path / "o", "CoOp")) == 2
    assert capsys.readouterr().err == "error: no room is left\n"


def test_a_mistakes_traceback_is_in_the_log_alone(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    shutil.copytree(data, tmp_path / "data")
    bad = sorted((tmp_path / "data" / "miniworld" / "images").glob("*/test_*.png"))[0]
    bad.write_bytes(b"")
    assert train.main(arguments(tmp_path / "data", tmp_path / "o", "CoOp")) == 2
    assert "Traceback" not in "".join(capsys.readouterr())
    log = (tmp_path / "o" / "log.txt").read_text()
    assert "Traceback" in log and log.splitlines()[-1].startswith(f"error: the image {bad} cannot be read")


def test_a_mistake_that_is_seen_before_anything_runs_leaves_no_trace(data: Path, tmp_path: Path):
    assert train.main(arguments(data, tmp_path / "o", "CoOp", "OPTIM.NAME", "foo")) == 2
    assert not (tmp_path / "o").exists()


# -- images' size and colours are the backbone's ------------------------------------------------------------------

VIT = str(CONFIGS / "trainers" / "CoOp" / "vit_b16_ctxv1.yaml")
INPUT = {"SIZE": [64, 64], "INTERPOLATION": "bicubic", "PIXEL_MEAN": [0.48145466, 0.4578275, 0.40821073]}


def on_miniclip(data: Path, output: Path, *files: Path) -> list[str]:
    """A ViT's config on MiniCLIP."""
    command = ["--root", str(data), "--output-dir", str(output), "--trainer", "CoOp", "--seed", "1"]
    for file in (VIT, *files):
        command += ["--config-file", str(file)]
    short = ["DATASET.NUM_SHOTS", "2", "OPTIM.MAX_EPOCH", "1", "FEATURES.VIEWS", "1", "DATALOADER.NUM_WORKERS", "0"]
    return [*command, "--dataset-config-file", str(MINIWORLD), "MODEL.BACKBONE.NAME", "MiniCLIP", *short]


def test_the_backbones_name_alone_makes_a_config_of_anothers_work(data: Path, tmp_path: Path):
    assert train.main(on_miniclip(data, tmp_path / "o")) == 0
    assert (tmp_path / "o" / "results.json").is_file()


def test_an_old_file_that_names_the_images_size_is_read(data: Path, tmp_path: Path):
    (tmp_path / "old.yaml").write_text(yaml.safe_dump({"INPUT": INPUT}))
    assert train.main(on_miniclip(data, tmp_path / "o", tmp_path / "old.yaml")) == 0


def test_a_contradiction_of_the_backbone_is_told(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    command = on_miniclip(data, tmp_path / "o")
    assert train.main([*command, "INPUT.PIXEL_MEAN", "[0.5, 0.5, 0.5]"]) == 2
    error = capsys.readouterr().err
    assert "INPUT.PIXEL_MEAN is (0.5, 0.5, 0.5), but MiniCLIP was trained with" in error and error.count("\n") == 1


# -- keys that nothing reads --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trainer", "key", "value"),
    [
        ("SHIP", "TRAINER.COOP.N_CTX", 16),
        ("SHIP", "TRAINER.SHIP.GENERATOR.CRITIC_STEPS", 3),
        ("CoOp", "TRAINER.SHIP.N_CTX", 8),
        ("CoOp", "TRAINER.MAPLE.PROMPT_DEPTH", 2),
    ],
)
def test_a_key_that_the_run_does_not_read_is_told(trainer: str, key: str, value: int, data: Path, tmp_path: Path):
    run(data, tmp_path / "o", trainer, key, value)
    log = (tmp_path / "o" / "log.txt").read_text()
    assert f"Note: nothing reads {key} in a run of {trainer}\n" in log


def test_keys_that_the_run_reads_are_not_told(data: Path, tmp_path: Path):
    run(data, tmp_path / "o", "SHIP", "TRAINER.SHIP.N_CTX", 4, "TRAINER.SHIP.GENERATOR.KL_WEIGHT", 0.05)
    assert "nothing reads" not in (tmp_path / "o" / "log.txt").read_text()
