"""The CPU's pass against the tower's own modules, in float64 to the last digits."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from shipclip.backbones import frozen_text, recompute, text_tower
from shipclip.backbones.base import Backbone
from shipclip.backbones.openai import package, use_gelu, wrap
from shipclip.backbones.prompts import Prompts, class_prompts, prefix_tree
from tests.clips import FP32, small_clip


@pytest.fixture(params=["quickgelu, 2 layers", "gelu, 1 layer", "gelu, 3 layers"])
def exact(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """A small CLIP in float64, also in its layer norms."""
    monkeypatch.setattr(package().model.LayerNorm, "forward", nn.LayerNorm.forward)
    model = small_clip(layers=int(request.param.split()[1])).model.double()
    if request.param.startswith("gelu"):
        use_gelu(model)
    return wrap(model, FP32, "exact")


def both(clip: Backbone, prompts: Prompts, leaves: list[Tensor]) -> list[tuple[Tensor, list[Tensor]]]:
    out = []
    for suits in (True, False):
        with mock.patch.object(frozen_text, "suits", return_value=suits):
            features = clip.text(prompts)
            weight = torch.linspace(-1, 1, features.numel(), dtype=features.dtype).view_as(features)
            gradients = torch.autograd.grad((features * weight).sum(), leaves, retain_graph=True)
            again = torch.autograd.grad((features * weight).sum(), leaves)
        assert all(torch.equal(*pair) for pair in zip(gradients, again, strict=True))
        out.append((features.detach(), list(gradients)))
    return out


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    G=st.integers(1, 3),
    P=st.integers(1, 6),
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    shared=st.booleans(),
    learned=st.sampled_from(["prefix", "suffix", "both"]),
)
def test_features_and_gradients_are_those_of_the_modules(
    exact: Backbone, G: int, P: int, lengths: list[int], shared: bool, learned: str
):
    torch.manual_seed(G + P)
    prefix = torch.randn(G, P, 128, dtype=torch.float64, requires_grad=learned != "suffix")
    suffix = torch.randn(1 if shared else G, len(lengths), max(lengths), 128, dtype=torch.float64)
    suffix.requires_grad_(learned != "prefix")
    prompts = Prompts(prefix, suffix.expand(G, -1, -1, -1), torch.tensor(lengths))
    assert frozen_text.suits(exact.text, prompts)
    leaves = [leaf for leaf in (prefix, suffix) if leaf.requires_grad]
    (features, gradients), (wanted, wanted_gradients) = both(exact, prompts, leaves)
    torch.testing.assert_close(features, wanted, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradients, wanted_gradients, rtol=1e-7, atol=1e-9)
    before = prefix.detach().clone(), suffix.detach().clone()
    for one in (prompts, Prompts(prompts.prefix.detach(), prompts.suffix.detach(), prompts.lengths)):
        with torch.no_grad():
            torch.testing.assert_close(exact.text(one), wanted, rtol=1e-9, atol=1e-9)
    assert torch.equal(prefix, before[0]) and torch.equal(suffix, before[1])  # what it overwrites is its own


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    G=st.integers(1, 3),
    P=st.integers(1, 4),
    texts=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5), min_size=1, max_size=6),
    at_once=st.sampled_from([2, 1024]),
    learned=st.sampled_from(["prefix", "suffix", "both"]),
)
def test_what_texts_begin_with_alike_is_computed_once(
    exact: Backbone, G: int, P: int, texts: list[list[int]], at_once: int, learned: str
):
    torch.manual_seed(P)
    ids = torch.tensor([text + [-1] * (max(map(len, texts)) - len(text)) for text in texts])
    suffix = torch.randn(3, 128, dtype=torch.float64)[ids].requires_grad_(learned != "prefix")
    prefix = torch.randn(G, P, 128, dtype=torch.float64, requires_grad=learned != "suffix")
    lengths = torch.tensor([len(text) for text in texts])
    prompts = Prompts(prefix, suffix.expand(G, -1, -1, -1), lengths, prefix_tree(ids))
    with mock.patch.object(text_tower, "AT_ONCE", at_once):
        leaves = [leaf for leaf in (prefix, suffix) if leaf.requires_grad]
        (features, gradients), (wanted, wanted_gradients) = both(exact, prompts, leaves)
        torch.testing.assert_close(features, wanted, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(gradients, wanted_gradients, rtol=1e-7, atol=1e-9)
        with torch.no_grad():
            torch.testing.assert_close(exact.text(prompts), wanted, rtol=1e-9, atol=1e-9)
    layout = text_tower.Layout.of(prompts, prompts.tree)
    nodes = {tuple(text[: i + 1]) for text in texts for i in range(len(text))}
    assert layout.pack(ids.flatten().repeat(G)).numel() == G * len(nodes)


def test_class_names_and_texts_know_what_they_begin_with_alike():
    clip, names = small_clip(), ["red ball", "red box", "ball", "red ball"]
    classes = clip.class_tokens(names, n_ctx=2)
    assert torch.equal(classes.tree, clip.text_prompts([f"{name}." for name in names]).tree)
    assert (classes.tree[:, 0] == classes.tree[0, 0]).tolist() == [True, True, False, True]
    assert (classes.tree[:, 1] == classes.tree[0, 1]).tolist() == [True, False, False, True]
    assert torch.equal(classes.tree[0], classes.tree[3])
    assert torch.equal(classes.part(1, 3).tree, classes.tree[1:3])
    ctx, bias = torch.zeros(2, clip.width), torch.zeros(5, clip.width)
    assert class_prompts(ctx, classes).tree is class_prompts(ctx, classes, bias=bias).tree is classes.tree
    for learned in (class_prompts(ctx, classes, "front"), class_prompts(ctx.expand(4, -1, -1), classes)):
        assert learned.tree is None


def test_a_tower_that_learns_is_left_to_its_modules():
    clip = small_clip()
    prompts = clip.text_prompts(["a red ball", "a dog"])
    assert frozen_text.suits(clip.text, prompts)
    for weight in (clip.model.positional_embedding, clip.model.transformer.resblocks[1].attn.in_proj_bias):
        weight.requires_grad_()
        assert not frozen_text.suits(clip.text, prompts)
        clip.text(prompts).sum().backward()
        assert weight.grad is not None and weight.grad.abs().max() > 0
        weight.requires_grad_(False)


def test_many_prompts_go_through_in_parts(exact: Backbone, made_again: list[int], monkeypatch: pytest.MonkeyPatch):
    prefix = torch.randn(2, 3, 128, dtype=torch.float64, requires_grad=True)
    suffix = torch.randn(2, 7, 4, 128, dtype=torch.float64, requires_grad=True)
    prompts = Prompts(prefix, suffix, torch.tensor([4, 2, 1, 3, 4, 4, 2]))
    wanted, wanted_gradients = both(exact, prompts, [prefix, suffix])[0]
    monkeypatch.setattr(text_tower, "AT_ONCE", 3)
    features, gradients = both(exact, prompts, [prefix, suffix])[0]
    torch.testing.assert_close(features, wanted, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradients, wanted_gradients, rtol=1e-8, atol=1e-10)
    monkeypatch.setattr(text_tower, "HELD", 1)
    monkeypatch.setattr(text_tower, "COPIED", 0)
    row = 2 * 128 * 8 * exact.text.layers  # bytes of a position of both groups
    for rows, parts in ((0, 3), (15, 2), (30, 1), (37, 0)):  # with no memory, with some, with enough
        monkeypatch.setattr(recompute, "free_memory", lambda device, rows=rows: row * rows / recompute.SHARE)
        made_again.clear()
        features_too, gradients_too = both(exact, prompts, [prefix, suffix])[0]
        assert len(made_again) == 2 * parts and torch.equal(features_too, features)
        assert all(torch.equal(*pair) for pair in zip(gradients_too, gradients, strict=True))


@pytest.mark.parametrize("kind", ["quickgelu", "gelu"])
def test_bfloat16_stays_near_float32(kind: str):
    clip = small_clip()
    if kind == "gelu":
        use_gelu(clip.model)
    torch.manual_seed(0)
    prefix = clip.embed(torch.randint(1000, (2, 3))).requires_grad_()
    suffix = clip.embed(torch.randint(1000, (2, 5, 4))).requires_grad_()
    prompts = Prompts(prefix, suffix, torch.tensor([4, 2, 1, 3, 4]))

    def passed() -> tuple[Tensor, tuple[Tensor, ...]]:
        features = clip.text(prompts)
        weight = torch.linspace(-1, 1, features.numel()).view_as(features)
        return features, torch.autograd.grad((features * weight).sum(), [prefix, suffix])

    features, gradients = passed()
    with torch.autocast("cpu", torch.bfloat16):
        assert frozen_text.suits(clip.text, prompts)
        rough, rough_gradients = passed()  # the backward pass as well, which somebody may do
        with torch.no_grad():
            torch.testing.assert_close(clip.text(prompts), rough, rtol=1e-2, atol=1e-2)
    assert rough.dtype == torch.float32 and not torch.equal(rough, features)
    for one, other in zip((features, *gradients), (rough, *rough_gradients), strict=True):
        assert torch.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.999
        assert ((one - other).norm() / one.norm()).item() < 0.05
    with torch.autocast("cpu", torch.float16):
        assert not frozen_text.suits(clip.text, prompts)


def test_rounded_weights_are_made_once_and_again_when_the_weights_change():
    clip = small_clip()
    prompts = clip.text_prompts(["a red ball", "a dog"])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features = clip.text(prompts)
        first = frozen_text.linears(clip.text)
        assert frozen_text.linears(clip.text) is first and first[0].dtype == torch.bfloat16
        clip.model.transformer.resblocks[0].mlp.c_fc.weight.mul_(1.5)
        assert not torch.equal(clip.text(prompts), features)
    assert frozen_text.linears(clip.text)[0].dtype == torch.float32


@pytest.mark.parametrize("low", [False, True])
def test_what_was_made_first_for_a_prediction_serves_a_training_step(low: bool):
    clip = small_clip()
    text_tower._layout.cache_clear()
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        with torch.inference_mode():
            clip.text(clip.text_prompts(["a red ball", "a dog"]))
        prompts = clip.text_prompts(["a red ball", "a dog"])
        prefix = prompts.prefix.clone().requires_grad_()
        features = clip.text(Prompts(prefix, prompts.suffix, prompts.lengths))
    features.sum().backward()
    assert prefix.grad.abs().max() > 0
