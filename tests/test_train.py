"""Whole runs: what they leave, and that they repeat."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train
from shipclip.miniclip import world
from shipclip.presets import CONFIGS
from tests.runs import SMALL, arguments, run, same_weights, status

TRAINED = ("CoOp", "CoCoOp", "SHIP")
HALF = 36  # base and new classes


@pytest.mark.parametrize("trainer", TRAINED)
def test_a_run_on_base_is_tested_on_new_and_jointly(trainer: str, data: Path, tmp_path: Path):
    base = run(data, tmp_path / "base", trainer)
    assert base["figures"]["total"] == HALF * SMALL["test"]
    flags = ("--eval-only", "--model-dir", str(tmp_path / "base"))
    new = run(data, tmp_path / "new", trainer, "DATASET.SUBSAMPLE_CLASSES", "new", flags=flags)
    assert new["figures"]["total"] == HALF * SMALL["test"]
    assert new["weights"].endswith("prompt_learner/model.pth.tar-3")
    joint = run(data, tmp_path / "all", trainer, "DATASET.SUBSAMPLE_CLASSES", "all", flags=flags)["figures"]
    assert joint["base_total"] == joint["new_total"] == HALF * SMALL["test"]
    assert joint["base_correct"] + joint["new_correct"] == joint["correct"]
    assert joint["base_accuracy"] <= base["figures"]["accuracy"]  # more classes to confuse
    assert joint["new_accuracy"] <= new["figures"]["accuracy"]


@pytest.mark.parametrize("trainer", ["ZeroshotCLIP", "ZeroshotCLIP2"])
def test_zero_shot_clip_is_evaluated_without_training(trainer: str, data: Path, tmp_path: Path):
    result = run(data, tmp_path / "o", trainer, flags=("--eval-only",))
    assert result["figures"]["accuracy"] > 100 / HALF


@pytest.mark.parametrize("trainer", ["ZeroshotCLIP", "ZeroshotCLIP2"])
def test_zero_shot_clip_has_nothing_to_train_and_is_tested_at_once(trainer: str, data: Path, tmp_path: Path):
    trained = run(data, tmp_path / "t", trainer)["figures"]
    assert trained == run(data, tmp_path / "e", trainer, flags=("--eval-only",))["figures"]


@pytest.mark.parametrize("trainer", TRAINED)
def test_the_same_seed_gives_the_same_figures_and_weights(trainer: str, data: Path, tmp_path: Path):
    results, contexts = [], []
    for name in ("first", "second"):
        results.append(run(data, tmp_path / name, trainer, "DATASET.NUM_SHOTS", "1", anew=True)["figures"])
        state = torch.load(tmp_path / name / "prompt_learner" / "model.pth.tar-3", weights_only=True)
        contexts.append(state["state_dict"]["ctx"])
    assert results[0] == results[1]
    assert torch.equal(contexts[0], contexts[1])


def test_another_seed_gives_another_context(trained: Path, data: Path, tmp_path: Path):
    arguments_ = arguments(data, tmp_path / "o", "SHIP")
    arguments_[arguments_.index("--seed") + 1] = "2"
    assert train.main(arguments_) == 0
    first, second = (
        torch.load(folder / "prompt_learner" / "model.pth.tar-3", weights_only=True)["state_dict"]["ctx"]
        for folder in (trained, tmp_path / "o")
    )
    assert not torch.equal(first, second)


def test_both_parts_are_saved_in_dassls_layout(trained: Path):
    files = ["checkpoint", "model.pth.tar-2", "model.pth.tar-4"]
    assert sorted(p.name for p in (trained / "generator").iterdir()) == files
    assert (trained / "generator" / "checkpoint").read_text() == "model.pth.tar-4\n"
    learner = torch.load(trained / "prompt_learner" / "model.pth.tar-3", weights_only=True)
    assert list(learner["state_dict"]) == ["ctx"]
    assert learner["epoch"] == 3
    assert (trained / "prompt_learner" / "checkpoint").read_text() == "model.pth.tar-3\n"


def test_the_curves_of_both_stages_are_in_tensorboard(trained: Path):
    events = EventAccumulator(str(trained / "tensorboard"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"generator/reconstruction", "generator/kl", "train/loss", "train/acc", "train/lr", "test/accuracy"} <= tags
    assert len(events.Scalars("generator/kl")) == 4
    assert len(events.Scalars("train/loss")) == 3


def test_the_log_is_complete_and_has_one_line_an_epoch(trained: Path):
    log = (trained / "log.txt").read_text()
    assert "TRAINER:" in log  # the whole config
    assert log.count("\nepoch [") == 3
    assert log.count("\ngenerator epoch [") == 4
    assert "Finish training\n" in log
    assert "=> result\n* total: 108\n" in log


def test_the_header_says_which_dassl_is_in_use(trained: Path):
    header = (trained / "log.txt").read_text().splitlines()[:2]
    assert header[0].startswith("SHIP on MiniWorld (base classes, 2 shots, seed 1), MiniCLIP")
    assert "dassl" in header[1] and "torch" in header[1]


def test_the_best_model_on_validation_can_be_deployed(data: Path, tmp_path: Path):
    run(data, tmp_path / "o", "CoOp", "TEST.FINAL_MODEL", "best_val")
    assert (tmp_path / "o" / "prompt_learner" / "model-best.pth.tar").is_file()
    assert "Deploy the model with the best val" in (tmp_path / "o" / "log.txt").read_text()


def test_names_of_new_classes_can_come_from_a_file(data: Path, tmp_path: Path):
    (tmp_path / "names.txt").write_text("red plain star\n\npurple dotted ring\n")
    options = ("DATASET.SUBSAMPLE_CLASSES", "all", "TRAINER.SHIP.NEW_CLASSNAMES", tmp_path / "names.txt")
    run(data, tmp_path / "o", "SHIP", *options)
    assert "72 base classes with images, 2 new classes by name" in (tmp_path / "o" / "log.txt").read_text()


def test_a_collapsed_posterior_is_told(data: Path, tmp_path: Path):
    run(data, tmp_path / "o", "SHIP", "TRAINER.SHIP.GENERATOR.KL_WEIGHT", "100.0")
    assert "the posterior has collapsed" in (tmp_path / "o" / "log.txt").read_text()


@pytest.mark.parametrize("precision", ["fp16", "amp", "bf16"])
def test_every_precision_trains(precision: str, data: Path, tmp_path: Path):
    result = run(data, tmp_path / "o", "SHIP", "TRAINER.SHIP.PREC", precision, "DATASET.NUM_SHOTS", "1")
    assert result["figures"]["accuracy"] > 100 / HALF


def test_results_tell_config_seed_and_versions(trained: Path):
    result = json.loads((trained / "results.json").read_text())
    assert (result["version"], result["trainer"], result["dataset"], result["seed"]) == (1, "SHIP", "MiniWorld", 1)
    assert result["cfg"]["TRAINER"]["SHIP"]["GENERATOR"]["NAME"] == "VAE"
    assert {"torch", "dassl"} <= result["versions"].keys()
    assert result["time"]["train_s"] > 0


def test_results_tell_method_config_experiment_and_classes(data: Path, tmp_path: Path):
    flags = ("--experiment", "base2new", "--config-file", str(CONFIGS / "trainers" / "SHIP" / "with_GDA.yaml"))
    result = run(data, tmp_path / "o", "SHIP", flags=flags)
    assert (result["trainer"], result["method"]) == ("SHIP", "SHIP+GDA")
    assert (result["config"], result["experiment"]) == ("miniclip", "base2new")
    assert result["classnames"] == world.downstream_classes()[:HALF]
    assert result["new_classnames"] == world.downstream_classes()[HALF:]


def test_predictions_are_written_where_they_are_asked_for(data: Path, tmp_path: Path):
    figures = run(data, tmp_path / "o", "CoOp", "TEST.PREDICTIONS", True)["figures"]
    with open(tmp_path / "o" / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", "prediction", "probability", "top5"]
    assert len(rows) == figures["total"]
    assert 100 * sum(row["label"] == row["prediction"] for row in rows) / len(rows) == figures["accuracy"]
    for row in rows:
        assert Path(row["path"]).is_file() and 0 < float(row["probability"]) <= 1
        assert row["top5"].startswith(row["prediction"]) and row["top5"].count("; ") == 4


def test_without_asking_there_are_no_predictions(trained: Path):
    assert not (trained / "predictions.csv").exists()


def test_a_generator_alone_serves_a_run_that_takes_it_over(trained: Path, data: Path, tmp_path: Path):
    run(data, tmp_path / "g", "SHIPGenerator")
    assert not (tmp_path / "g" / "prompt_learner").exists()
    taken = run(data, tmp_path / "o", "SHIP", "TRAINER.SHIP.GENERATOR.FROM", tmp_path / "g")
    assert taken["figures"] == json.loads((trained / "results.json").read_text())["figures"]
    assert same_weights(tmp_path / "o", trained, "prompt_learner/model.pth.tar-3")


def test_standard_output_is_given_back(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    before = sys.stdout
    for name in ("a", "b"):
        run(data, tmp_path / name, "ZeroshotCLIP")
        assert sys.stdout is before
    print("after both")
    assert status(data, tmp_path / "c", "CoOp", "OPTIM.NAME", "foo") == 2
    assert sys.stdout is before
    logs = [(tmp_path / name / "log.txt").read_text() for name in ("a", "b")]
    assert all(log.count("Evaluate on the *test* set") == 1 and "after both" not in log for log in logs)
