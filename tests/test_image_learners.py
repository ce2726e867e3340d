"""MaPLe and CLIPLoRA: learners that see images, as trainers."""

from __future__ import annotations

from pathlib import Path

import pytest

from shipclip import method, tuning
from tests.runs import SMALL, Killed, kill_at_call, run, same_weights, status

LEARNERS = ("MaPLe", "CLIPLoRA")
JOINT = ("DATASET.SUBSAMPLE_CLASSES", "gzsl", "DATALOADER.TRAIN_X.BATCH_SIZE", 32)  # several batches an epoch
LAST = "prompt_learner/model.pth.tar-3"


@pytest.fixture(scope="module", params=LEARNERS)
def whole(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory):
    """(learner, folder, results.json) of a whole run."""
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, run(data, folder, request.param, *JOINT)


def test_a_run_has_joint_figures(whole):
    trainer, _, result = whole
    figures = result["figures"]
    assert (result["trainer"], result["method"]) == (trainer, trainer)
    assert figures["base_total"] == figures["new_total"] == 36 * SMALL["test"]
    assert {"h", "own_h", "own_base_accuracy", "own_new_accuracy", "macro_f1"} <= figures.keys()
    assert figures["accuracy"] > 100 / 72


def test_the_same_seed_gives_the_same_figures_and_weights(whole, data: Path, tmp_path: Path):
    trainer, folder, result = whole
    assert run(data, tmp_path, trainer, *JOINT)["figures"] == result["figures"]
    assert same_weights(folder, tmp_path, LAST)


@pytest.mark.parametrize(("name", "call"), [("training_batches", 2), ("loss", 4), ("logits", 1)])
def test_an_interrupted_run_ends_with_the_same_figures(
    name: str, call: int, whole, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trainer, folder, result = whole
    with monkeypatch.context() as patch:
        kill_at_call(patch, method if name == "logits" else tuning, name, call)
        with pytest.raises(Killed):
            run(data, tmp_path / "o", trainer, *JOINT)
    assert not (tmp_path / "o" / "results.json").exists()
    again = run(data, tmp_path / "o", trainer, *JOINT)
    assert "Resumed from" in (tmp_path / "o" / "log.txt").read_text()
    assert again["figures"] == result["figures"]
    assert same_weights(tmp_path / "o", folder, LAST)


def test_a_trained_run_is_evaluated_on_the_new_classes(whole, data: Path, tmp_path: Path):
    trainer, folder, result = whole
    flags = ("--eval-only", "--model-dir", str(folder))
    new = run(data, tmp_path, trainer, "DATASET.SUBSAMPLE_CLASSES", "new", flags=flags)["figures"]
    assert new["accuracy"] == result["figures"]["own_new_accuracy"]


@pytest.mark.parametrize("learner", LEARNERS)
def test_ship_refuses_a_learner_that_sees_images(learner: str, data: Path, tmp_path: Path, capsys):
    assert status(data, tmp_path / "o", "SHIP", "TRAINER.SHIP.LEARNER", learner) == 2
    error = capsys.readouterr().err
    assert f"TRAINER.SHIP.LEARNER is '{learner}', which sees images" in error and error.count("\n") == 1
    assert not (tmp_path / "o").exists()
