"""A run's folder: its claim, its results, and going on from a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from shipclip import run
from shipclip.backbones.base import Backbone
from shipclip.backbones.prompts import PromptLearner
from shipclip.errors import MissingFile, UserError
from shipclip.loop import Stage
from shipclip.run import Run

DEFAULTS = {"OUTPUT_DIR": "", "DATALOADER": {"NUM_WORKERS": 4}, "OPTIM": {"LR": 0.0003}, "TRAINER": {"NAME": ""}}


@pytest.mark.parametrize("content", ["[]", "3", "{", '{"figures": []}', '{"cfg": null}', '{"seed": "one"}', "\ud800"])
def test_damaged_results_are_one_sentence(content: str, tmp_path: Path):
    (tmp_path / "results.json").write_bytes(
        content.encode("utf-16" if content == "\ud800" else "utf-8", "surrogatepass")
    )
    with pytest.raises(UserError, match=r"results.json .*: remove it and run again") as found:
        run.read(tmp_path / "results.json")
    assert "\n" not in str(found.value)


def changed(tree: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The tree with another value at a dotted key."""
    tree = json.loads(json.dumps(tree))
    *nodes, last = key.split(".")
    node = tree
    for name in nodes:
        node = node.setdefault(name, {})
    node[last] = value
    return tree


def test_differences_name_keys_and_skip_what_changes_no_figure():
    other = changed(changed(DEFAULTS, "OUTPUT_DIR", "elsewhere"), "DATALOADER.NUM_WORKERS", 0)
    assert run.differences(DEFAULTS, other, DEFAULTS) == []
    other = changed(other, "OPTIM.LR", 1.0)
    assert run.differences(DEFAULTS, other, DEFAULTS) == ["OPTIM.LR 0.0003 here, 1.0 there"]


def test_other_trainers_nodes_make_no_difference():
    """A learner that is added later must not lock the folders of runs that know nothing of it."""
    tree = changed(changed(DEFAULTS, "TRAINER.OWN.A", 1), "TRAINER.OTHER.B", 2)
    saved = run.of_nodes(run.plain(tree), {"OWN"})
    assert saved["TRAINER"] == {"NAME": "", "OWN": {"A": 1}}
    tree = run.of_nodes(changed(changed(tree, "TRAINER.LATER.C", 3), "TRAINER.OTHER.B", 4), {"OWN"})
    assert run.differences(tree, saved, DEFAULTS) == []
    tree = changed(tree, "TRAINER.OWN.A", 5)
    assert run.differences(tree, saved, DEFAULTS) == ["TRAINER.OWN.A 5 here, 1 there"]


def test_a_key_that_the_folder_had_not_heard_of_had_its_default_there():
    now = changed(DEFAULTS, "TEST.BASE_PENALTY", 0.0)
    assert run.differences(now, DEFAULTS, now) == []
    given = changed(now, "TEST.BASE_PENALTY", 1.0)
    assert run.differences(given, DEFAULTS, now) == ["TEST.BASE_PENALTY 1.0 here, 0.0 there"]


def test_a_folder_of_another_run_is_refused(tmp_path: Path):
    run.check_claim(tmp_path, DEFAULTS, DEFAULTS)  # nobody's
    run.claim(tmp_path, DEFAULTS)
    run.check_claim(tmp_path, DEFAULTS, DEFAULTS)
    with pytest.raises(UserError, match=r"another config \(OPTIM.LR 1.0 here, 0.0003 there\): choose another"):
        run.check_claim(tmp_path, changed(DEFAULTS, "OPTIM.LR", 1.0), DEFAULTS)
    (tmp_path / run.CLAIM).write_text("{")
    with pytest.raises(UserError, match=r"config\.json is damaged .*remove it, and the run goes on"):
        run.check_claim(tmp_path, DEFAULTS, DEFAULTS)


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
    elsewhere.check_resume()
    assert elsewhere.resume(run.LEARNER, stage(*parts())) == 3


def test_there_is_nothing_to_go_on_with(tmp_path: Path):
    with pytest.raises(MissingFile, match="no checkpoint of a run in .*check --resume"):
        Run(str(tmp_path), resume_from=str(tmp_path)).check_resume()


def test_results_hold_facts_figures_and_the_settings(tmp_path: Path):
    one = Run(str(tmp_path), train_seconds=1.0, reused_seconds=2.0, weights="w.pth")
    file = one.write({"trainer": "CoOp", "cfg": {"SEED": 1}}, {"accuracy": 50.0}, torch.device("cpu"))
    found = run.read(file)
    assert (found["version"], found["trainer"], found["weights"], found["device"]) == (1, "CoOp", "w.pth", "cpu")
    assert found["figures"] == {"accuracy": 50.0} and found["cfg"] == {"SEED": 1}
    assert found["time"]["train_s"] == 3.0 and found["versions"]["torch"] == torch.__version__
    assert run.is_finished(tmp_path, "", None)
