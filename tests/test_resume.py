"""A run that breaks off ends, once it is started again, as if it had not."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from shipclip import method, tuning
from shipclip.generators.vae import VAE
from shipclip.precision import Precision
from tests.runs import SMALL, Killed, arguments, kill_at_call, run, same_weights

BOTH = ("prompt_learner/model.pth.tar-3", "generator/model.pth.tar-4")


@pytest.fixture(scope="module", params=[2, 0])
def whole(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory):
    """(views, folder, results.json) of a run that nothing breaks off."""
    folder = tmp_path_factory.mktemp("whole")
    return request.param, folder, run(data, folder, "SHIP", "FEATURES.VIEWS", request.param)


@pytest.mark.parametrize("stage", ["generator", "tuning", "test"])
def test_an_interrupted_run_ends_with_the_same_figures(
    stage: str, whole: tuple[int, Path, dict[str, Any]], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    views, folder, result = whole
    with monkeypatch.context() as patch:
        if stage == "generator":
            kill_at_call(patch, VAE, "step", 7)
        else:
            kill_at_call(patch, *((tuning, "training_batches", 2) if stage == "tuning" else (method, "logits", 1)))
        with pytest.raises(Killed):
            run(data, tmp_path / "o", "SHIP", "FEATURES.VIEWS", views)
    assert not (tmp_path / "o" / "results.json").exists()
    again = run(data, tmp_path / "o", "SHIP", "FEATURES.VIEWS", views)
    assert again["figures"] == result["figures"]
    assert same_weights(tmp_path / "o", folder, *BOTH)


@pytest.mark.parametrize("trainer", ["TipAdapter", "GDA"])
def test_what_needs_no_epochs_goes_on_too(trainer: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        kill_at_call(patch, method, "logits", 1)
        with pytest.raises(Killed):
            run(data, tmp_path / "o", trainer)
    assert (tmp_path / "o" / "prompt_learner" / "model.pth.tar-1").is_file()
    assert run(data, tmp_path / "o", trainer)["figures"] == run(data, tmp_path / "whole", trainer)["figures"]


FEW = ("DATASET.NUM_SHOTS", "1")  # a CPU multiplies float16 slowly


@contextmanager
def mixed() -> Iterator[None]:
    """Runs are in mixed precision."""
    amp = Precision("amp", torch.float32, torch.float16, "cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Precision, "choose", staticmethod(lambda name, device: amp))
        # A scale that overflows at first: the scaler skips steps and comes down, so its state decides what is learned.
        patch.setattr(Precision, "scaler", lambda self: torch.amp.GradScaler("cpu", init_scale=2.0**30))
        yield


@pytest.fixture(scope="module")
def in_amp(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """(folder, results.json) of a run that nothing breaks off."""
    folder = tmp_path_factory.mktemp("amp")
    with mixed():
        return folder, run(data, folder, "SHIP", *FEW)


@pytest.mark.filterwarnings("ignore:Detected call of")  # the scaler skips steps, the schedule does not
@pytest.mark.parametrize("stage", ["generator", "tuning"])
def test_amp_resumes_with_its_gradient_scaler(
    stage: str, in_amp: tuple[Path, dict[str, Any]], data: Path, tmp_path: Path
):
    folder, whole = in_amp
    with mixed():
        with pytest.MonkeyPatch.context() as patch:
            kill_at_call(patch, *((VAE, "step", 7) if stage == "generator" else (tuning, "training_batches", 2)))
            with pytest.raises(Killed):
                run(data, tmp_path / "o", "SHIP", *FEW)
        assert run(data, tmp_path / "o", "SHIP", *FEW)["figures"] == whole["figures"]
    assert same_weights(tmp_path / "o", folder, *BOTH)
    for file in BOTH:
        scaler = torch.load(tmp_path / "o" / file, weights_only=True)["scaler"]
        assert 0 < scaler["scale"] < 2.0**30
    assert not (tmp_path / "o" / "scaler").exists()


def test_a_killed_process_ends_with_the_same_figures(data: Path, tmp_path: Path):
    """SIGKILL in the middle of the generator's training."""
    options = ("TRAINER.SHIP.GENERATOR.EPOCHS", "25", "OPTIM.MAX_EPOCH", "1")
    code = (
        f"import sys; from shipclip.miniclip import world; world.SPLITS = {SMALL}; import train; sys.exit(train.main())"
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
