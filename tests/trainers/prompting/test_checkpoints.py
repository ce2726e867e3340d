from __future__ import annotations

from pathlib import Path

import pytest
import torch
from dassl.utils import save_checkpoint

from trainers.prompting import checkpoints
from trainers.prompting.clip import FrozenCLIP
from trainers.prompting.prompts import PromptLearner


def coop_file(folder: Path, ctx: torch.Tensor, epoch: int = 50) -> Path:
    """A checkpoint as CoOp writes it, token buffers included."""
    state = {"ctx": ctx, "token_prefix": torch.zeros(5, 1, 128), "token_suffix": torch.zeros(5, 72, 128)}
    save_checkpoint({"state_dict": state, "epoch": epoch, "optimizer": None, "scheduler": None}, str(folder))
    return folder / f"model.pth.tar-{epoch}"


def test_a_checkpoint_of_coops_is_read_without_its_class_names(clip: FrozenCLIP, tmp_path: Path):
    learner, ctx = PromptLearner(clip, 4), torch.randn(4, clip.width)
    assert checkpoints.load(coop_file(tmp_path, ctx), learner) == 50
    assert torch.equal(learner.ctx, ctx)


def test_class_specific_contexts_stay_with_their_number_of_classes(clip: FrozenCLIP, tmp_path: Path):
    file = coop_file(tmp_path, torch.randn(5, 4, clip.width))
    with pytest.raises(ValueError, match=r"ctx is \(5, 4, 128\) there and \(3, 4, 128\) here"):
        checkpoints.load(file, PromptLearner(clip, 4, n_classes=3))


def test_the_last_epoch_is_the_highest_number(clip: FrozenCLIP, tmp_path: Path):
    for epoch in (2, 10, 9):
        coop_file(tmp_path, torch.zeros(4, clip.width), epoch)
    (tmp_path / "model.pth.tar-11.tmp99").touch()  # what a killed run may leave
    assert checkpoints.last_epoch(str(tmp_path)) == 10
    assert checkpoints.find(str(tmp_path)).name == "model.pth.tar-10"
    assert checkpoints.find(str(tmp_path), 9).name == "model.pth.tar-9"


@pytest.mark.parametrize(
    ("epoch", "best", "name"),
    [(3, False, "no model.pth.tar-3"), (None, True, "no model-best.pth.tar"), (None, False, "no checkpoint")],
)
def test_what_is_missing_is_named(tmp_path: Path, epoch: int | None, best: bool, name: str):
    with pytest.raises(FileNotFoundError, match=f"there is {name} in .*check --model-dir"):
        checkpoints.find(str(tmp_path), epoch, best)


def test_optimiser_and_schedule_go_on(clip: FrozenCLIP, tmp_path: Path):
    def parts():
        learner = PromptLearner(clip, 4, rng=torch.Generator().manual_seed(0))
        optimizer = torch.optim.SGD(learner.parameters(), lr=0.1, momentum=0.9)
        return learner, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)

    def step(learner, optimizer, schedule):
        optimizer.zero_grad()
        learner.ctx.square().sum().backward()
        optimizer.step()
        schedule.step()

    whole, halves = parts(), parts()
    for _ in range(6):
        step(*whole)
    for _ in range(3):
        step(*halves)
    learner, optimizer, schedule = halves
    state = {
        "state_dict": learner.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": schedule.state_dict(),
    }
    checkpoints.save(str(tmp_path), state, 3)
    resumed = parts()
    assert checkpoints.resume(str(tmp_path), *resumed) == 3
    for _ in range(3):
        step(*resumed)
    assert torch.equal(resumed[0].ctx, whole[0].ctx)
