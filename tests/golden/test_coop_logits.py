"""CoOp's and CoCoOp's logits, losses and gradients agree with the reference code's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from shipclip.backbones.base import Backbone
from shipclip.learners import Learner
from shipclip.learners.cocoop import CoCoOp, CoCoOpOptions
from shipclip.learners.coop import CoOp, CoOpOptions
from shipclip.texts import Texts

from .formula import read, wave

GOLDEN = read("coop_logits")
NAMES = GOLDEN["classes"]
COOP = {
    "coop_end4": CoOpOptions(n_ctx=4),
    "coop_middle4": CoOpOptions(n_ctx=4, class_token_position="middle"),
    "coop_front4": CoOpOptions(n_ctx=4, class_token_position="front"),
    "coop_csc4": CoOpOptions(n_ctx=4, csc=True),
    "coop_end16": CoOpOptions(n_ctx=16),
    "coop_ctxinit": CoOpOptions(n_ctx=16, ctx_init="a_photo_of_a"),
}


@pytest.fixture(scope="module")
def images(golden_clip: Backbone, pixels: Tensor) -> Tensor:
    return golden_clip.encode_image(pixels)


def agree(case: str, learner: Learner, images: Tensor) -> None:
    wanted: dict[str, Any] = GOLDEN["cases"][case]
    logits = learner.classifier(NAMES)(images)
    torch.testing.assert_close(logits, torch.tensor(wanted["logits"]), rtol=1e-4, atol=1e-4)
    loss = learner.loss(images, torch.tensor([0, 3, 4]))["loss"]
    assert loss.item() == pytest.approx(wanted["loss"], rel=1e-4)
    loss.backward()
    assert wanted["grad_abs_sum"].keys() == dict(learner.named_parameters()).keys()
    for name, total in wanted["grad_abs_sum"].items():
        assert learner.get_parameter(name).grad.abs().sum().item() == pytest.approx(total, rel=1e-4), name


@pytest.mark.parametrize("case", COOP)
def test_coop_agrees_in_logits_loss_and_gradient(case: str, golden_clip: Backbone, images: Tensor):
    learner = CoOp(golden_clip, NAMES, COOP[case], 0, Texts())
    if not COOP[case].ctx_init:
        learner.ctx.data = wave(learner.ctx.shape, 700, 0.02)
    agree(case, learner, images)


def test_cocoop_agrees_in_logits_loss_and_gradient(golden_clip: Backbone, images: Tensor):
    learner = CoCoOp(golden_clip, NAMES, CoCoOpOptions(n_ctx=4), 0, Texts())
    learner.ctx.data = wave(learner.ctx.shape, 700, 0.02)
    for k, name in enumerate(GOLDEN["cocoop_parameter_order"]):
        parameter = learner.meta_net.get_parameter(name)
        parameter.data = wave(parameter.shape, 800 + k, 0.05)
    agree("cocoop4", learner, images)
