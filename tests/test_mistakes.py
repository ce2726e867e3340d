"""What a run says when something is wrong: one sentence on a mistake of the user's, a traceback of anybody else's."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import train
from shipclip.learners.coop import CoOp
from shipclip.miniclip import world
from shipclip.presets import CONFIGS
from shipclip.task import base_count
from tests.runs import MINIWORLD, arguments, run, status

GENERATOR = "TRAINER.SHIP.GENERATOR"
MISTAKES = {
    "unknown key": ((f"{GENERATOR}.KL_WIGHT", "1.0"), rf"unknown .* {GENERATOR}.KL_WIGHT; .* {GENERATOR}.KL_WEIGHT\?"),
    "odd options": (("OPTIM.LR",), "'OPTIM.LR' stands alone"),
    "wrong type": (("OPTIM.LR", "fast"), "OPTIM.LR"),
    "precision": (("TRAINER.SHIP.PREC", "fp8"), "TRAINER.SHIP.PREC is 'fp8': choose one of fp32, fp16, amp, bf16"),
    "data set": (
        ("DATASET.NAME", "miniworld"),
        r"DATASET.NAME is 'miniworld': choose one of .*; did you mean MiniWorld\?",
    ),
    "subset": (("DATASET.SUBSAMPLE_CLASSES", "old"), "SUBSAMPLE_CLASSES is 'old': choose one of all, base, new"),
    "image size": (("INPUT.SIZE", "(224, 224)"), r"is \(224, 224\), but MiniCLIP reads images of 64 x 64"),
    "weights": (("MODEL.BACKBONE.PATH", "nowhere.pt"), "no CLIP weight file at nowhere.pt"),
    "no new names": (("DATASET.SUBSAMPLE_CLASSES", "all"), "train on base, name a file of class names"),
    "generator": (
        (f"{GENERATOR}.NAME", "GAN9"),
        f"{GENERATOR}.NAME is 'GAN9': choose one of GAN, Gaussian, MLP, TextPoint, VAE",
    ),
    "views": (("FEATURES.VIEWS", "-1"), "FEATURES.VIEWS is -1"),
    "epochs": (("OPTIM.MAX_EPOCH", "-3"), "OPTIM.MAX_EPOCH is -3: give at least 1"),
    "no epochs": (("OPTIM.MAX_EPOCH", "0"), "OPTIM.MAX_EPOCH is 0: give at least 1"),
    "shots": (("DATASET.NUM_SHOTS", "-5"), "DATASET.NUM_SHOTS is -5: give at least -1"),
    "no shots": (("DATASET.NUM_SHOTS", "0"), "DATASET.NUM_SHOTS is 0: give -1 for all training images"),
    "final model": (
        ("TEST.FINAL_MODEL", "best-val"),
        "TEST.FINAL_MODEL is 'best-val': choose one of last_step, best_val",
    ),
    "split": (("TEST.SPLIT", "foo"), "TEST.SPLIT is 'foo': choose one of test, val"),
    "evaluator": (("TEST.EVALUATOR", "foo"), "TEST.EVALUATOR is 'foo': choose one of Classification"),
    "batch of none": (("DATALOADER.TRAIN_X.BATCH_SIZE", "0"), "TRAIN_X.BATCH_SIZE is 0: give at least 1"),
    "batch below none": (("DATALOADER.TEST.BATCH_SIZE", "-5"), "TEST.BATCH_SIZE is -5: give at least 1"),
    "workers": (("DATALOADER.NUM_WORKERS", "-1"), "DATALOADER.NUM_WORKERS is -1: give at least 0"),
    "infinite share": (
        ("TRAINER.SHIP.SYNTHETIC_SHARE", "1e999"),
        "SYNTHETIC_SHARE is inf: give at least 0 and at most",
    ),
    "share": (
        ("TRAINER.SHIP.SYNTHETIC_SHARE", "1e9"),
        "SYNTHETIC_SHARE is 1000000000.0: give at least 0 and at most 1000",
    ),
    "width": ((f"{GENERATOR}.HIDDEN", "-5"), f"{GENERATOR}.HIDDEN is -5: give at least 1 and at most 65536"),
    "huge": (
        (f"{GENERATOR}.HIDDEN", str(10**13)),
        f"{GENERATOR}.HIDDEN is 10000000000000: give at least 1 and at most",
    ),
    "no context": ((f"{GENERATOR}.N_CTX", "0"), f"{GENERATOR}.N_CTX is 0: give at least 1"),
    "decay": (("OPTIM.WEIGHT_DECAY", "-1"), "OPTIM.WEIGHT_DECAY is -1.0: give at least 0"),
    "momentum": (("OPTIM.MOMENTUM", "1.5"), "OPTIM.MOMENTUM is 1.5: give at least 0 and less than 1"),
    "nesterov": (
        ("OPTIM.SGD_NESTEROV", "True", "OPTIM.MOMENTUM", "0"),
        "SGD_NESTEROV needs momentum without dampening",
    ),
    "steps": (
        ("OPTIM.LR_SCHEDULER", "multi_step"),
        r"OPTIM.STEPSIZE is \(-1,\): give multi_step the epochs of its steps",
    ),
    "no number": (("OPTIM.LR", "nan"), "OPTIM.LR is nan: give more than 0"),
    "none": (("OPTIM.LR", "None"), "OPTIM.LR is 'None': give a number"),
    "crop": (("INPUT.RRCROP_SCALE", "(1.0, 0.5)"), r"INPUT.RRCROP_SCALE is \(1.0, 0.5\): give the smaller share first"),
    "mean": (("INPUT.PIXEL_MEAN", "[0.5]"), r"INPUT.PIXEL_MEAN is \(0.5,\): give 0 or 3 values"),
    "kernel": (("INPUT.GB_K", "-3"), "INPUT.GB_K is -3: give at least 1"),
    "seed": (("SEED", str(10**30)), "SEED is 10+: give at least"),
    "template": (("DATASET.TEMPLATE", "3"), "DATASET.TEMPLATE has '3': write {} once"),
    "group": (("OPTIM", "3"), "OPTIM is '3': it is a group of keys"),
    "anchor": (
        ("TRAINER.SHIP.LEARNER", "CLIPAdapter", "TRAINER.SHIP.ANCHOR_WEIGHT", "1"),
        "ANCHOR_WEIGHT needs class features, and CLIPAdapter learns none",
    ),
    "weights to start from": (("MODEL.INIT_WEIGHTS", str(MINIWORLD)), "miniworld.yaml cannot be read"),
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
    assert not (tmp_path / "o").exists()  # it was refused before anything was made


FLAGS = {
    "model without evaluation": (("--model-dir", "x"), "--model-dir is for --eval-only: give that too"),
    "epoch without evaluation": (("--load-epoch", "3"), "--load-epoch is for --eval-only: give that too"),
    "epoch 0": (("--eval-only", "--model-dir", "x", "--load-epoch", "0"), "--load-epoch is 0: give at least 1"),
    "going on with a test": (("--eval-only", "--model-dir", "x", "--resume", "y"), "--resume is for training"),
    "neither": (("--eval-only", "--no-train"), "--eval-only and --no-train contradict each other"),
    "mistyped resume": (("--resume", "nowhere"), "there is no checkpoint of a run in nowhere: check --resume"),
}


@pytest.mark.parametrize("mistake", FLAGS)
def test_flags_that_make_no_sense_are_one_sentence(mistake: str, data: Path, tmp_path: Path, capsys):
    flags, sentence = FLAGS[mistake]
    assert status(data, tmp_path / "o", "CoOp", flags=flags) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert not (tmp_path / "o" / "results.json").exists() and not (tmp_path / "o" / "config.json").exists()


def test_without_training_nothing_is_claimed(data: Path, tmp_path: Path):
    assert status(data, tmp_path / "o", "CoOp", flags=("--no-train",)) == 0
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("subset", ["new", "base"])
def test_contexts_of_each_class_serve_the_classes_of_their_training(subset: str, data: Path, tmp_path: Path, capsys):
    """Class i of the new half had the context of class i of the base half."""
    options = ("TRAINER.COOP.CSC", True, "TRAINER.COOP.CTX_INIT", "")
    trained = run(data, tmp_path / "o", "CoOp", *options)["figures"]
    flags = ("--eval-only", "--model-dir", str(tmp_path / "o"))
    command = arguments(data, tmp_path / "e", "CoOp", "DATASET.SUBSAMPLE_CLASSES", subset, *options, flags=flags)
    if subset == "base":
        assert train.main(command) == 0
        assert json.loads((tmp_path / "e" / "results.json").read_text())["figures"] == trained
    else:
        assert train.main(command) == 2
        error = capsys.readouterr().err
        count = len(world.downstream_classes()) - base_count(len(world.downstream_classes()))
        assert f"{count} classes have no training image, so TRAINER.COOP.CSC cannot give them a context" in error


def test_there_is_not_enough_memory_is_one_sentence(data: Path, tmp_path: Path, monkeypatch, capsys):
    def broken(*args, **kwargs):
        torch.empty(10**15)

    monkeypatch.setattr(CoOp, "classifier", broken)
    assert status(data, tmp_path / "o", "CoOp") == 2
    assert capsys.readouterr().err.startswith("error: there is not enough memory: lower the sizes")


def test_a_backbone_that_does_not_know_the_names_says_so_before_training(data: Path, tmp_path: Path, capsys):
    turned = " ".join(reversed(world.downstream_classes()[0].split()))
    (tmp_path / "names.txt").write_text(f"pangolin\n{turned}\n")
    options = ("TRAINER.SHIP.NEW_CLASSNAMES", tmp_path / "names.txt", "DATASET.SUBSAMPLE_CLASSES", "all")
    run(data, tmp_path / "o", "SHIP", *options)
    log = (tmp_path / "o" / "log.txt").read_text()
    count = len(world.downstream_classes()) + 2
    warning = (
        f"Warning: MiniCLIP has never seen the words of 1 of {count} class names ('pangolin'), so it knows nothing of "
        "them"
    )
    assert warning in log and log.index(warning) < log.index("generator epoch [1/")
    run(data, tmp_path / "known", "SHIP")
    assert "has never seen" not in (tmp_path / "known" / "log.txt").read_text()


def test_the_header_says_how_many_images_a_class(data: Path, tmp_path: Path):
    run(data, tmp_path / "o", "ZeroshotCLIP", "DATASET.NUM_SHOTS", -1)
    assert "(base classes, all images, seed 1)" in (tmp_path / "o" / "log.txt").read_text().splitlines()[0]


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
    assert status(data, tmp_path / "o", "CoCoOp", flags=flags) == 2
    assert "does not fit this model: it has no meta_net" in capsys.readouterr().err


def test_a_missing_epoch_is_named(trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    flags = ("--eval-only", "--model-dir", str(trained), "--load-epoch", "7")
    assert status(data, tmp_path / "o", "SHIP", flags=flags) == 2
    assert "there is no model.pth.tar-7 in" in capsys.readouterr().err


@pytest.mark.parametrize("trainer", ["SHIP", "CoOp", "GDA"])
def test_evaluating_what_was_never_trained_is_refused(trainer: str, data: Path, tmp_path: Path, capsys):
    assert status(data, tmp_path / "o", trainer, flags=("--eval-only",)) == 2
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
        status(data, tmp_path / "o", "CoOp")


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, OSError])
def test_what_the_machine_lacks_is_one_sentence(kind: type, data: Path, tmp_path: Path, monkeypatch, capsys):
    def broken(*args, **kwargs):
        raise kind("no room is left")

    monkeypatch.setattr(CoOp, "classifier", broken)
    assert status(data, tmp_path / "o", "CoOp") == 2
    assert capsys.readouterr().err == "error: no room is left\n"


def test_a_mistakes_traceback_is_in_the_log_alone(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    shutil.copytree(data, tmp_path / "data")
    bad = sorted((tmp_path / "data" / "miniworld" / "images").glob("*/test_*.png"))[0]
    bad.write_bytes(b"")
    assert status(tmp_path / "data", tmp_path / "o", "CoOp") == 2
    assert "Traceback" not in "".join(capsys.readouterr())
    log = (tmp_path / "o" / "log.txt").read_text()
    assert "Traceback" in log and log.splitlines()[-1].startswith(f"error: the image {bad} cannot be read")


def test_a_mistake_that_is_seen_before_anything_runs_leaves_no_trace(data: Path, tmp_path: Path):
    assert status(data, tmp_path / "o", "CoOp", "OPTIM.NAME", "foo") == 2
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
    ("trainer", "options"),
    [
        ("SHIP", {"TRAINER.COOP.N_CTX": 16, "TRAINER.SHIP.GENERATOR.CRITIC_STEPS": 3, "TEST.BASE_PENALTY": 1.0}),
        (
            "CoOp",
            {
                **{"TRAINER.SHIP.N_CTX": 8, "TRAINER.MAPLE.PROMPT_DEPTH": 2, "OPTIM.ADAM_EPS": 1e-3},
                **{"OPTIM.STAGED_LR": True, "DATASET.VAL_PERCENT": 0.2, "INPUT.CUTOUT_N": 2},
            },
        ),
        ("GDA", {"OPTIM.LR": 0.1}),
    ],
)
def test_keys_that_the_run_does_not_read_are_told(trainer: str, options: dict[str, Any], data: Path, tmp_path: Path):
    run(data, tmp_path / "o", trainer, *(word for pair in options.items() for word in pair))
    log = (tmp_path / "o" / "log.txt").read_text()
    assert [key for key in options if f"Note: nothing reads {key} in a run of {trainer}\n" not in log] == []


def test_keys_that_the_run_reads_are_not_told(data: Path, tmp_path: Path):
    run(data, tmp_path / "o", "SHIP", "TRAINER.SHIP.N_CTX", 4, "TRAINER.SHIP.GENERATOR.KL_WEIGHT", 0.05)
    assert "nothing reads" not in (tmp_path / "o" / "log.txt").read_text()
