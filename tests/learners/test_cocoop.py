"""CoCoOp's prompts in chunks are the prompts in one pass."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from shipclip.backbones import recompute
from shipclip.backbones.base import Backbone
from shipclip.backbones.openai import package, wrap
from shipclip.learners import cocoop
from shipclip.learners.cocoop import CoCoOp, CoCoOpOptions
from shipclip.texts import Texts
from tests.clips import FP32, small_clip

NAMES = ["cat", "annual crop land", "sea_or_lake", "a very long name of many words", "dog"]


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """A small CLIP in float64, also in its layer norms."""
    monkeypatch.setattr(package().model.LayerNorm, "forward", nn.LayerNorm.forward)
    return wrap(small_clip().model.double(), FP32, "exact")


def logits_and_gradients(backbone: Backbone, x: Tensor, at_once: int) -> tuple[Tensor, list[Tensor]]:
    learner = CoCoOp(backbone, NAMES, CoCoOpOptions(n_ctx=3, prompts_at_once=at_once), 1, Texts())
    logits = learner.classifier(NAMES)(x)
    weight = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0), dtype=logits.dtype)
    (logits.softmax(1) * weight).sum().backward()
    return logits.detach(), [p.grad for p in learner.parameters()]


@pytest.mark.parametrize("at_once", [1, 2, 5, 12])  # of the classes of an image, of whole images
def test_chunks_have_the_logits_and_gradients_of_one_pass(exact: Backbone, at_once: int):
    x = torch.nn.functional.normalize(torch.randn(4, exact.dim, dtype=torch.float64), dim=1)
    logits, gradients = logits_and_gradients(exact, x, 1000)
    others, other_gradients = logits_and_gradients(exact, x, at_once)
    torch.testing.assert_close(others, logits, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(other_gradients, gradients, rtol=1e-9, atol=1e-12)
    assert all(g.abs().max() > 0 for g in gradients)


def test_chunks_are_held_where_there_is_memory_and_nothing_bounds_it(
    exact: Backbone, made_again: list[int], monkeypatch: pytest.MonkeyPatch
):
    x = torch.nn.functional.normalize(torch.randn(4, exact.dim, dtype=torch.float64), dim=1)
    monkeypatch.setattr(cocoop, "ON_CPU", 2)
    wanted = logits_and_gradients(exact, x, 2)
    assert len(made_again) == 12
    for free, expected in ((2**50, 0), (0, 12)):
        monkeypatch.setattr(recompute, "free_memory", lambda device, free=free: free)
        made_again.clear()
        (logits, gradients), (others, other_gradients) = wanted, logits_and_gradients(exact, x, 0)
        assert len(made_again) == expected and torch.equal(others, logits)
        assert all(torch.equal(*pair) for pair in zip(other_gradients, gradients, strict=True))


def test_a_batch_has_the_gradient_of_its_images_one_by_one(exact: Backbone):
    x = torch.nn.functional.normalize(torch.randn(3, exact.dim, dtype=torch.float64), dim=1)
    learner = CoCoOp(exact, NAMES, CoCoOpOptions(n_ctx=3), 1, Texts())
    labels = torch.tensor([0, 3, 1])
    (3 * learner.loss(x, labels)["loss"]).backward()
    together = [p.grad.clone() for p in learner.parameters()]
    learner.zero_grad()
    for i in range(3):
        learner.loss(x[i : i + 1], labels[i : i + 1])["loss"].backward()
    torch.testing.assert_close([p.grad for p in learner.parameters()], together, rtol=1e-9, atol=1e-12)


def test_a_test_in_chunks_equals_one_in_one_pass():
    clip = small_clip()
    x = torch.nn.functional.normalize(torch.randn(4, clip.dim), dim=1)
    one, many = (
        CoCoOp(clip, NAMES, CoCoOpOptions(n_ctx=3, prompts_at_once=n), 1, Texts()).classifier(NAMES) for n in (1000, 3)
    )
    with torch.no_grad():
        torch.testing.assert_close(many(x), one(x), rtol=1e-4, atol=1e-4)
