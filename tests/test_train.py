"""Whole runs: what they leave, that they repeat, and what they say when something is wrong."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train
from tests.runs import SMALL, arguments, run
from trainers.prompting.precision import Precision
from trainers.prompting.trainer import PromptTrainer
from trainers.ship.generators.vae import VAE

TRAINED = ("CoOp", "CoCoOp", "SHIP")
HALF = 20  # base and new classes
REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a whole SHIP run."""
    output = tmp_path_factory.mktemp("ship")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPOSITORY)
        run(data, output, "SHIP")
    return output


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


@pytest.mark.parametrize("trainer", TRAINED)
def test_the_same_seed_gives_the_same_figures_and_weights(trainer: str, data: Path, tmp_path: Path):
    results, contexts = [], []
    for name in ("first", "second"):
        results.append(run(data, tmp_path / name, trainer)["figures"])
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


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("stage", ["generator", "tuning", "test"])
@pytest.mark.parametrize("views", [2, 0])
def test_an_interrupted_run_ends_with_the_same_figures(
    stage: str, views: int, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = run(data, tmp_path / "whole", "SHIP", "FEATURES.VIEWS", views)
    with monkeypatch.context() as patch:
        if stage == "generator":
            kill_at_call(patch, VAE, "step", 7)
        else:
            kill_at_call(
                patch, PromptTrainer, "run_epoch" if stage == "tuning" else "test", 2 if stage == "tuning" else 1
            )
        with pytest.raises(Killed):
            train.main(arguments(data, tmp_path / "o", "SHIP", "FEATURES.VIEWS", views))
    assert not (tmp_path / "o" / "results.json").exists()
    again = run(data, tmp_path / "o", "SHIP", "FEATURES.VIEWS", views)
    assert again["figures"] == whole["figures"]
    assert same_weights(tmp_path / "o", tmp_path / "whole")


@pytest.mark.filterwarnings("ignore:Detected call of")  # the scaler skips steps, the schedule does not
@pytest.mark.parametrize("stage", ["generator", "tuning"])
def test_amp_resumes_with_its_gradient_scaler(stage: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    amp = Precision("amp", torch.float32, torch.float16, "cpu")
    monkeypatch.setattr(Precision, "choose", staticmethod(lambda name, device: amp))
    # A scale that overflows at first: the scaler skips steps and comes down, so its state decides what is learned.
    monkeypatch.setattr(Precision, "scaler", lambda self: torch.amp.GradScaler("cpu", init_scale=2.0**30))
    whole = run(data, tmp_path / "whole", "SHIP")
    with monkeypatch.context() as patch:
        kill_at_call(patch, *((VAE, "step", 7) if stage == "generator" else (PromptTrainer, "run_epoch", 2)))
        with pytest.raises(Killed):
            train.main(arguments(data, tmp_path / "o", "SHIP"))
    assert run(data, tmp_path / "o", "SHIP")["figures"] == whole["figures"]
    assert same_weights(tmp_path / "o", tmp_path / "whole")
    scaler = torch.load(tmp_path / "o" / "scaler" / "model.pth.tar-3", weights_only=True)["scaler"]
    assert 0 < scaler["scale"] < 2.0**30


def kill_at_call(patch: pytest.MonkeyPatch, owner: type, name: str, call: int) -> None:
    original, calls = getattr(owner, name), []

    def wrapped(*args, **kwargs):
        calls.append(None)
        if len(calls) == call:
            raise Killed
        return original(*args, **kwargs)

    patch.setattr(owner, name, wrapped)


def same_weights(first: Path, second: Path) -> bool:
    files = ("prompt_learner/model.pth.tar-3", "generator/model.pth.tar-4")
    return all(
        torch.equal(value, torch.load(second / file, weights_only=True)["state_dict"][name])
        for file in files
        for name, value in torch.load(first / file, weights_only=True)["state_dict"].items()
    )


def test_a_killed_process_ends_with_the_same_figures(data: Path, tmp_path: Path):
    """SIGKILL in the middle of the generator's training."""
    options = ("TRAINER.SHIP.GENERATOR.EPOCHS", "60", "OPTIM.MAX_EPOCH", "1")
    code = (
        f"import sys; from embedded.miniclip import world; world.SPLITS = {SMALL}; import train; sys.exit(train.main())"
    )
    command = [sys.executable, "-c", code, *arguments(data, tmp_path / "o", "SHIP", *options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in process.stdout:
        if line.startswith("generator epoch [5/"):
            break
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    assert not (tmp_path / "o" / "results.json").exists()
    again = run(data, tmp_path / "o", "SHIP", *options)
    assert "Resumed from" in (tmp_path / "o" / "log.txt").read_text()
    assert again["figures"] == run(data, tmp_path / "whole", "SHIP", *options)["figures"]


def test_a_finished_run_is_not_repeated(trained: Path, data: Path, capsys: pytest.CaptureFixture):
    before = (trained / "results.json").stat().st_mtime_ns
    assert train.main(arguments(data, trained, "SHIP")) == 0
    assert "finished results" in capsys.readouterr().out
    assert (trained / "results.json").stat().st_mtime_ns == before


def test_a_folder_of_another_config_is_left_alone(trained: Path, data: Path, capsys: pytest.CaptureFixture):
    before = (trained / "results.json").read_bytes()
    assert train.main(arguments(data, trained, "SHIP", "OPTIM.LR", "0.01")) == 2
    assert "OPTIM.LR 0.01 here, 0.05 there" in capsys.readouterr().err
    assert (trained / "results.json").read_bytes() == before


def test_an_evaluation_is_repeated_after_a_new_training(trained: Path, data: Path, tmp_path: Path):
    flags = ("--eval-only", "--model-dir", str(trained))
    run(data, tmp_path / "o", "SHIP", flags=flags)
    stamp = (tmp_path / "o" / "results.json").stat().st_mtime_ns
    (trained / "prompt_learner" / "model.pth.tar-3").touch()
    run(data, tmp_path / "o", "SHIP", flags=flags)
    assert (tmp_path / "o" / "results.json").stat().st_mtime_ns > stamp


def test_both_parts_are_saved_in_dassls_layout(trained: Path):
    assert sorted(p.name for p in (trained / "generator").iterdir()) == ["model.pth.tar-2", "model.pth.tar-4"]
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
    assert "=> result\n* total: 60\n" in log


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
    assert "40 base classes with images, 2 new classes by name" in (tmp_path / "o" / "log.txt").read_text()


def test_a_collapsed_posterior_is_told(data: Path, tmp_path: Path):
    run(data, tmp_path / "o", "SHIP", "TRAINER.SHIP.GENERATOR.KL_WEIGHT", "100.0")
    assert "the posterior has collapsed" in (tmp_path / "o" / "log.txt").read_text()


@pytest.mark.parametrize("precision", ["fp16", "amp", "bf16"])
def test_every_precision_trains(precision: str, data: Path, tmp_path: Path):
    result = run(data, tmp_path / "o", "SHIP", "TRAINER.SHIP.PREC", precision)
    assert result["figures"]["accuracy"] > 100 / HALF


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
    command[command.index("configs/datasets/miniworld.yaml")] = "configs/datasets/caltech101.yaml"
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


def test_training_zero_shot_clip_is_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert train.main(arguments(data, tmp_path / "o", "ZeroshotCLIP")) == 2
    assert "nothing to train: run it with --eval-only" in capsys.readouterr().err


def test_results_tell_config_seed_and_versions(trained: Path):
    result = json.loads((trained / "results.json").read_text())
    assert (result["version"], result["trainer"], result["dataset"], result["seed"]) == (1, "SHIP", "MiniWorld", 1)
    assert result["cfg"]["TRAINER"]["SHIP"]["GENERATOR"]["NAME"] == "VAE"
    assert {"torch", "dassl"} <= result["versions"].keys()
    assert result["time"]["train_s"] > 0
