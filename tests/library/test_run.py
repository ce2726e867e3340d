"""A run's folder: its results, and going on from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from shipclip import run
from shipclip.backbones.base import Backbone
from shipclip.backbones.prompts import PromptLearner
from shipclip.errors import UserError
from shipclip.loop import Stage
from shipclip.run import Run


@pytest.mark.parametrize("content", ["[]", "3", "{", '{"figures": []}', '{"cfg": null}', '{"seed": "one"}', "\ud800"])
def test_damaged_results_are_one_sentence(content: str, tmp_path: Path):
    (tmp_path / "results.json").write_bytes(
        content.encode("utf-16" if content == "\ud800" else "utf-8", "surrogatepass")
    )
    with pytest.raises(UserError, match=r"results.json .*: remove it and run again") as found:
        run.read(tmp_path / "results.json")
    assert "\n" not in str(found.value)


Parts = tuple[PromptLearner, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]


def test_optimiser_and_schedule_go_on(clip: Backbone, tmp_path: Path):
    def parts() -> Parts:
        learner = PromptLearner(clip, 4, rng=torch.Generator().manual_seed(0))
        optimizer = torch.optim.SGD(learner.parameters(), lr=0.1, momentum=0.9)
        return learner, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)

    def step(learner, optimizer, schedule) -> None:
        optimizer.zero_grad()
        learner.ctx.square().sum().backward()
        optimizer.step()
        schedule.step()

    def stage(learner, optimizer, schedule) -> Stage:
        def nothing(*args: Any) -> Any:
            return ()

        return Stage("train", learner, nothing, nothing, 6, "OPTIM.LR", optimizer, schedule)

    whole, halves = parts(), parts()
    for _ in range(6):
        step(*whole)
    for _ in range(3):
        step(*halves)
    Run(str(tmp_path)).save(run.LEARNER, stage(*halves), 3)
    resumed = parts()
    assert Run(str(tmp_path)).resume(run.LEARNER, stage(*resumed)) == 3
    for _ in range(3):
        step(*resumed)
    assert torch.equal(resumed[0].ctx, whole[0].ctx)
    elsewhere = Run(str(tmp_path / "other"), resume_from=str(tmp_path))
    assert elsewhere.resume(run.LEARNER, stage(*parts())) == 3
    shorter = stage(*parts())
    shorter.epochs = 2
    with pytest.raises(UserError, match=r"model.pth.tar-3 is of epoch 3, and this run ends after 2: choose another"):
        elsewhere.resume(run.LEARNER, shorter)


def test_training_time_counts_over_all_starts(clip: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What a killed start spent on the checkpoint that the next one goes on from belongs to the training."""
    now = [100.0]
    monkeypatch.setattr(run.time, "time", lambda: now[0])
    learner = PromptLearner(clip, 4)
    stage = Stage("train", learner, lambda *_: (), lambda *_: {}, 6, "OPTIM.LR")
    first = Run(str(tmp_path))
    first.begin_training()
    now[0] += 7
    first.save(run.LEARNER, stage, 3)
    now[0] += 2  # lost
    second = Run(str(tmp_path))
    second.begin_training()
    assert second.resume(run.LEARNER, stage) == 3
    now[0] += 4
    second.end_training()
    now[0] += 50  # the test
    file = second.write({}, {}, torch.device("cpu"))
    assert run.read(file)["time"]["train_s"] == 11.0


def test_results_hold_facts_figures_and_the_settings(tmp_path: Path):
    one = Run(str(tmp_path), seconds_before=3.0, weights="w.pth", identity="abc")
    file = one.write({"trainer": "CoOp", "cfg": {"SEED": 1}}, {"accuracy": 50.0}, torch.device("cpu"))
    found = run.read(file)
    assert (found["version"], found["trainer"], found["weights"], found["device"]) == (1, "CoOp", "w.pth", "cpu")
    assert found["figures"] == {"accuracy": 50.0} and found["cfg"] == {"SEED": 1}
    assert found["time"]["train_s"] == 3.0 and found["versions"]["torch"] == torch.__version__
    assert found["identity"] == "abc"
