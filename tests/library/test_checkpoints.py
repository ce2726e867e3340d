from __future__ import annotations

from pathlib import Path

import pytest
import torch
from dassl.utils import save_checkpoint

from shipclip import checkpoints
from shipclip.backbones.base import Backbone
from shipclip.backbones.prompts import PromptLearner
from shipclip.errors import MissingFile, UserError


def coop_file(folder: Path, ctx: torch.Tensor, epoch: int = 50) -> Path:
    """A checkpoint as CoOp writes it, token buffers included."""
    state = {"ctx": ctx, "token_prefix": torch.zeros(5, 1, 128), "token_suffix": torch.zeros(5, 72, 128)}
    save_checkpoint({"state_dict": state, "epoch": epoch, "optimizer": None, "scheduler": None}, str(folder))
    return folder / f"model.pth.tar-{epoch}"


def test_a_checkpoint_of_coops_is_read_without_its_class_names(clip: Backbone, tmp_path: Path):
    learner, ctx = PromptLearner(clip, 4), torch.randn(4, clip.width)
    assert checkpoints.load(coop_file(tmp_path, ctx), learner)["epoch"] == 50
    assert torch.equal(learner.ctx, ctx)


def test_class_specific_contexts_stay_with_their_number_of_classes(clip: Backbone, tmp_path: Path):
    file = coop_file(tmp_path, torch.randn(5, 4, clip.width))
    with pytest.raises(UserError, match=r"ctx is \(5, 4, 128\) there and \(3, 4, 128\) here"):
        checkpoints.load(file, PromptLearner(clip, 4, n_classes=3))


def test_the_last_epoch_is_the_highest_number(clip: Backbone, tmp_path: Path):
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
    with pytest.raises(MissingFile, match=f"there is {name} in .*check --model-dir"):
        checkpoints.find(str(tmp_path), epoch, best)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([1, 2], "no checkpoint of a run: it has no state_dict"),
        ({"state_dict": {"ctx": torch.zeros(4, 128)}}, "does not say how many epochs"),
        ({"state_dict": {}, "epoch": 1}, "it has no ctx; was it another method's?"),
        ({"state_dict": {"ctx": torch.zeros(4, 128), "w": torch.zeros(1)}, "epoch": 1}, "its w has no place here"),
        ({"state_dict": {"ctx": torch.full((4, 128), torch.nan)}, "epoch": 1}, "numbers in ctx that are not finite"),
    ],
)
def test_what_is_no_checkpoint_of_this_model_is_one_sentence(
    clip: Backbone, content: object, sentence: str, tmp_path: Path
):
    torch.save(content, tmp_path / "model.pth.tar-1")
    learner = PromptLearner(clip, 4)
    before = learner.ctx.detach().clone()
    with pytest.raises(UserError, match=sentence) as found:
        checkpoints.load(tmp_path / "model.pth.tar-1", learner)
    assert "\n" not in str(found.value) and "model.pth.tar-1" in str(found.value)
    assert torch.equal(learner.ctx, before)


def test_the_best_result_is_kept_beside_the_newest(tmp_path: Path):
    assert checkpoints.best_result(tmp_path) == float("-inf")
    checkpoints.save(tmp_path, {"state_dict": {}, "val_result": 71.5}, 3, checkpoints.BEST)
    checkpoints.save(tmp_path, {"state_dict": {}, "val_result": None}, 4)
    assert checkpoints.best_result(tmp_path) == 71.5
    assert checkpoints.find(tmp_path, best=True).name == checkpoints.BEST
    assert (tmp_path / "checkpoint").read_text() == "model.pth.tar-4\n"
