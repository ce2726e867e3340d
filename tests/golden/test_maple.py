"""MaPLe's logits, losses and gradients agree with the authors' code's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from shipclip.backbones.base import Backbone
from shipclip.learners.maple import MaPLe, MaPLeOptions
from shipclip.texts import Texts

from .formula import abs_sum, read, wave

GOLDEN = read("maple")
NAMES, LABELS = GOLDEN["classes"], torch.tensor(GOLDEN["recipe"]["labels"])


def learner(clip: Backbone, case: str) -> MaPLe:
    """Learned parts are the formula's, in the order of the authors' prompt learner."""
    facts = GOLDEN["cases"][case]
    options = MaPLeOptions(n_ctx=facts["n_ctx"], ctx_init=facts["ctx_init"], prompt_depth=facts["prompt_depth"])
    maple = MaPLe(clip, NAMES, options, 0, Texts())
    for k, (name, shape) in enumerate(facts["learnable"], start=800):
        parameter = maple.get_parameter(name)
        assert list(parameter.shape) == shape
        if name != "ctx" or not facts["ctx_init"]:
            parameter.data = wave(shape, k, 0.005 if name.endswith("bias") else 0.05)
    return maple


def test_the_formula_gives_the_authors_weights(deep_clip: Backbone):
    wanted = GOLDEN["recipe"]["clip"]
    total = sum(abs_sum(parameter) for parameter in deep_clip.model.parameters())
    assert total == pytest.approx(wanted["weights_abs_sum"], rel=1e-4)
    assert [name for name, _ in deep_clip.model.named_parameters()] == [name for name, _ in wanted["parameter_order"]]


def test_zero_shot_clip_agrees(deep_clip: Backbone, pixels: Tensor):
    text = Texts().features(deep_clip, NAMES)
    wanted = torch.tensor(GOLDEN["recipe"]["clip"]["zero_shot_logits"])
    torch.testing.assert_close(100 * deep_clip.encode_image(pixels) @ text.T, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_maple_agrees_in_logits_loss_and_gradient(case: str, deep_clip: Backbone, pixels: Tensor):
    maple, wanted = learner(deep_clip, case), GOLDEN["cases"][case]
    parameters = dict(maple.named_parameters())
    assert set(parameters) == set(wanted["learnable_abs_sum"])
    for name, total in wanted["learnable_abs_sum"].items():
        assert abs_sum(parameters[name]) == pytest.approx(total, rel=1e-4), name
    coupled = maple.vectors()[1]
    assert [abs_sum(v) for v in coupled.values()] == pytest.approx(wanted["vision_prompts_abs_sum"], rel=1e-4)
    logits = maple.classifier(NAMES)(pixels)
    torch.testing.assert_close(logits, torch.tensor(wanted["logits"]), rtol=1e-4, atol=1e-4)
    loss = maple.loss(pixels, LABELS)["loss"]
    assert loss.item() == pytest.approx(wanted["loss"], rel=1e-4)
    loss.backward()
    for name, total in wanted["grad_abs_sum"].items():
        if total is None:
            assert parameters[name].grad is None, name
        else:
            assert abs_sum(parameters[name].grad) == pytest.approx(total, rel=1e-4), name
