from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shipclip.backbones.base import Backbone
from shipclip.backbones.prompts import PromptLearner, Prompts, instance_prompts
from tests.clips import plain_text_pass, small_clip, tokenize

NAMES = ["cat", "annual crop land", "sea_or_lake", "a very long name of many words, far beyond the others"]


def written_out(clip: Backbone, names: list[str], ctx: Tensor) -> tuple[Tensor, Tensor]:
    """CoOp's way: "X X X X <name>." over 77 tokens, the X replaced by vectors (4, w)."""
    tokens = tokenize([f"X X X X {name.replace('_', ' ')}." for name in names])
    embedded = clip.embed(tokens)
    x = torch.cat([embedded[:, :1], ctx.expand(len(names), -1, -1), embedded[:, 5:]], dim=1)
    return x, tokens.argmax(dim=1)


def padded(prompts: Prompts, clip: Backbone) -> tuple[Tensor, Tensor]:
    """A ragged batch written out to 77 positions, with noise after EOT."""
    G, S, _, w = prompts.suffix.shape
    P = prompts.prefix.shape[1]
    x = torch.randn(G, S, 77, w)
    x[:, :, :P] = prompts.prefix[:, None]
    for s, length in enumerate(prompts.lengths.tolist()):
        x[:, s, P : P + length] = prompts.suffix[:, s, :length]
    return x.flatten(0, 1), (P + prompts.lengths - 1).repeat(G)


@settings(max_examples=25, deadline=None)
@given(
    G=st.integers(1, 3),
    P=st.integers(1, 6),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    seed=st.integers(0, 100),
)
def test_any_ragged_batch_equals_the_77_token_pass(G: int, P: int, lengths: list[int], seed: int):
    clip = small_clip()
    torch.manual_seed(seed)
    M = max(lengths) + seed % 2  # at times padded beyond the longest
    prompts = Prompts(torch.randn(G, P, 128), torch.randn(G, len(lengths), M, 128), torch.tensor(lengths))
    wanted = plain_text_pass(clip.model, *padded(prompts, clip)).unflatten(0, (G, -1))
    torch.testing.assert_close(clip.text(prompts), wanted, rtol=1e-5, atol=1e-5)


def test_gradients_equal_those_of_the_77_token_pass(clip: Backbone):
    learner = PromptLearner(clip, 4, rng=torch.Generator().manual_seed(0))
    weight = torch.randn(len(NAMES), clip.dim)
    gradients = []
    for features in (
        plain_text_pass(clip.model, *written_out(clip, NAMES, learner.ctx)),
        clip.text(learner(clip.class_tokens(NAMES, 4)))[0],
    ):
        learner.ctx.grad = None
        (features * weight).sum().backward()
        gradients.append(learner.ctx.grad.clone())
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-4)


def test_a_whole_text_equals_the_models_own_encode_text(clip: Backbone):
    texts = ["a photo of a cat.", "a centered satellite photo of sea or lake.", ""]
    wanted = clip.model.encode_text(tokenize(texts))
    wanted = wanted / wanted.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(clip.encode_texts(texts), wanted, rtol=1e-5, atol=1e-6)


def test_no_gradient_reaches_the_frozen_model(clip: Backbone):
    learner = PromptLearner(clip, 4)
    clip.text(learner(clip.class_tokens(NAMES, 4))).sum().backward()
    assert all(p.grad is None for p in clip.model.parameters())


def test_instances_get_the_features_of_their_own_class_and_bias(clip: Backbone):
    learner, classes = PromptLearner(clip, 4), clip.class_tokens(NAMES, 4)
    bias, labels = torch.randn(3, clip.width) * 0.1, torch.tensor([3, 0, 3])
    together = clip.text(instance_prompts(learner.ctx, bias, classes, labels))[0]
    per_image = clip.text(learner(classes, bias=bias))  # (3, C, d), CoCoOp's way
    torch.testing.assert_close(together, per_image[torch.arange(3), labels], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_class_names_do_not_influence_each_other(clip: Backbone, position: str):
    learner = PromptLearner(clip, 4, position=position)
    together = clip.text(learner(clip.class_tokens(NAMES, 4)))[0]
    alone = torch.cat([clip.text(learner(clip.class_tokens([name], 4)))[0] for name in NAMES])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_half_precision_stays_near_float32():
    clip = small_clip()
    classes = clip.class_tokens(NAMES, 4)
    prompts = PromptLearner(clip, 4, "a photo of a")(classes)
    exact = clip.text(prompts)
    with torch.autocast("cpu", torch.bfloat16):
        rough = clip.text(prompts)
    assert torch.cosine_similarity(exact, rough.float(), dim=-1).min() > 0.999
