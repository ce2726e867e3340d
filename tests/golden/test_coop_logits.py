"""CoOp's and CoCoOp's logits, losses and gradients agree with the reference code's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.learners.cocoop import meta_net
from trainers.prompting.clip import FrozenCLIP, normalise
from trainers.prompting.prompts import ClassTokens, PromptLearner

from .formula import wave

GOLDEN = json.loads((Path(__file__).parent / "coop_logits.json").read_text())
COOP = {
    "coop_end4": {"n_ctx": 4},
    "coop_middle4": {"n_ctx": 4, "position": "middle"},
    "coop_front4": {"n_ctx": 4, "position": "front"},
    "coop_csc4": {"n_ctx": 4, "n_classes": 5},
    "coop_end16": {"n_ctx": 16},
    "coop_ctxinit": {"n_ctx": 16, "words": "a_photo_of_a"},
}


@pytest.fixture(scope="module")
def images(golden_clip: FrozenCLIP) -> Tensor:
    return golden_clip.encode_image(wave((3, 3, 32, 32), 500, 1.0))


def agree(case: str, learner: PromptLearner, logits: Tensor) -> None:
    wanted = GOLDEN["cases"][case]
    torch.testing.assert_close(logits, torch.tensor(wanted["logits"]), rtol=1e-4, atol=1e-4)
    loss = F.cross_entropy(logits, torch.tensor([0, 3, 4]))
    assert loss.item() == pytest.approx(wanted["loss"], rel=1e-4)
    loss.backward()
    for name, total in wanted["grad_abs_sum"].items():
        assert learner.get_parameter(name).grad.abs().sum().item() == pytest.approx(total, rel=1e-4), name


@pytest.mark.parametrize("case", COOP)
def test_coop_agrees_in_logits_loss_and_gradient(case: str, golden_clip: FrozenCLIP, images: Tensor):
    learner = PromptLearner(golden_clip, **COOP[case])
    if "words" not in COOP[case]:
        learner.ctx.data = wave(learner.ctx.shape, 700, 0.02)
    classes = ClassTokens.of(golden_clip, GOLDEN["classes"], learner.n_ctx)
    class_features = normalise(golden_clip.text(learner(classes))[0])
    agree(case, learner, golden_clip.logit_scale * images @ class_features.T)


def test_cocoop_agrees_in_logits_loss_and_gradient(golden_clip: FrozenCLIP, images: Tensor):
    learner = PromptLearner(golden_clip, 4)
    learner.meta_net = meta_net(golden_clip, 0)
    learner.ctx.data = wave(learner.ctx.shape, 700, 0.02)
    for k, name in enumerate(GOLDEN["cocoop_parameter_order"]):
        parameter = learner.meta_net.get_parameter(name)
        parameter.data = wave(parameter.shape, 800 + k, 0.05)
    classes = ClassTokens.of(golden_clip, GOLDEN["classes"], learner.n_ctx)
    class_features = normalise(golden_clip.text(learner(classes, bias=learner.meta_net(images))))
    agree("cocoop4", learner, golden_clip.logit_scale * (class_features @ images[..., None]).squeeze(-1))
