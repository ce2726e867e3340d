"""What a learner may change inside the towers, against a transformer that is written out here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from shipclip.backbones.base import Backbone
from shipclip.backbones.hooks import Hooks
from shipclip.backbones.openai import random_clip, wrap
from shipclip.backbones.prompts import PromptLearner
from shipclip.backbones.towers import need_transformers
from shipclip.errors import UserError
from tests.clips import FP32, tokenize

NAMES = ["cat", "annual crop land", "a long name of many words"]
N = 3  # context vectors, or tokens


@pytest.fixture(scope="module")
def three_layers() -> Backbone:
    return wrap(random_clip(64, 32, 3, 128, 16, 77, 49408, 64, 2, 3), FP32)


def vectors(count: int, width: int, seed: int) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def low_rank(width: int) -> Callable[[int, Tensor], Tensor]:
    """Another update for each layer."""
    updates = [0.2 * vectors(width, 3 * width, 50 + i) / width**0.5 for i in range(3)]
    return lambda layer, x: x @ updates[layer]


def plain(
    blocks: nn.Module,
    x: Tensor,
    mask: Tensor | None,
    place: slice,
    deep: Mapping[int, Tensor],
    projection: Callable | None,
) -> Tensor:
    """Every layer on every row, softmax(q k^T / sqrt(dh)) v with loops for what is not obvious: (B, L, w)."""
    for i, block in enumerate(blocks):
        if i in deep:
            x = x.clone()
            x[:, place] = deep[i]
        y = block.ln_1(x)
        qkv = y @ block.attn.in_proj_weight.T + block.attn.in_proj_bias
        if projection is not None:
            qkv = qkv + projection(i, y)
        q, k, v = qkv.chunk(3, dim=-1)
        heads, width = block.attn.num_heads, q.shape[-1] // block.attn.num_heads
        out = torch.zeros_like(q)
        for h in range(heads):
            own = slice(h * width, (h + 1) * width)
            scores = q[..., own] @ k[..., own].transpose(1, 2) / width**0.5
            out[..., own] = (scores if mask is None else scores + mask).softmax(dim=-1) @ v[..., own]
        x = x + out @ block.attn.out_proj.weight.T + block.attn.out_proj.bias
        x = x + block.mlp(block.ln_2(x))
    return x


def plain_text(clip: Backbone, ctx: Tensor, deep: Mapping[int, Tensor], projection: Callable | None = None) -> Tensor:
    model, tokens = clip.model, tokenize([f"{'X ' * N}{name}." for name in NAMES])
    x = model.token_embedding(tokens)
    x = torch.cat([x[:, :1], ctx.expand(len(NAMES), -1, -1), x[:, 1 + N :]], dim=1) + model.positional_embedding
    causal = torch.full((77, 77), float("-inf")).triu(1)
    x = plain(model.transformer.resblocks, x, causal, slice(1, 1 + N), deep, projection)
    return model.ln_final(x)[torch.arange(len(NAMES)), tokens.argmax(dim=1)] @ model.text_projection


def plain_image(clip: Backbone, images: Tensor, hooks: Hooks) -> Tensor:
    visual = clip.model.visual
    x = visual.conv1(images).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1) + visual.positional_embedding
    if hooks.tokens is not None:
        x = torch.cat([x, hooks.tokens.expand(len(x), -1, -1)], dim=1)
    x = plain(visual.transformer.resblocks, visual.ln_pre(x), None, slice(-N, None), hooks.deep, hooks.projection)
    return visual.ln_post(x[:, 0]) @ visual.proj


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("layers", [(1,), (2,), (1, 2)])
@torch.no_grad()
def test_deep_vectors_take_the_place_of_the_context_in_the_text_tower(layers: tuple[int, ...], three_layers: Backbone):
    learner, deep = PromptLearner(three_layers, N), {i: vectors(N, 64, i) for i in layers}
    prompts = learner(three_layers.class_tokens(NAMES, N))
    found = three_layers.text(prompts, Hooks(deep=deep))[0]
    torch.testing.assert_close(found, plain_text(three_layers, learner.ctx, deep), rtol=1e-4, atol=1e-4)
    assert (found - three_layers.text(prompts)[0]).abs().max() > 1e-2


@torch.no_grad()
def test_a_projection_is_added_in_every_layer_of_the_text_tower(three_layers: Backbone):
    learner, projection = PromptLearner(three_layers, N), low_rank(64)
    prompts = learner(three_layers.class_tokens(NAMES, N))
    found = three_layers.text(prompts, Hooks(projection=projection))[0]
    wanted = plain_text(three_layers, learner.ctx, {}, projection)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert (found - three_layers.text(prompts)[0]).abs().max() > 1e-2


@pytest.mark.parametrize("layers", [(), (1,), (2,), (1, 2)])
@torch.no_grad()
def test_tokens_stand_behind_the_patches_and_deep_ones_replace_them(
    layers: tuple[int, ...], three_layers: Backbone, images: Tensor
):
    hooks = Hooks(tokens=vectors(N, 128, 10), deep={i: vectors(N, 128, i) for i in layers})
    found = three_layers.image(images, hooks)
    torch.testing.assert_close(found, plain_image(three_layers, images, hooks), rtol=1e-4, atol=1e-4)
    assert (found - three_layers.image(images)).abs().max() > 1e-2


@torch.no_grad()
def test_a_projection_is_added_in_every_layer_of_the_image_tower(three_layers: Backbone, images: Tensor):
    hooks = Hooks(projection=low_rank(128))
    found = three_layers.image(images, hooks)
    torch.testing.assert_close(found, plain_image(three_layers, images, hooks), rtol=1e-4, atol=1e-4)
    assert (found - three_layers.image(images)).abs().max() > 1e-2


def test_gradients_reach_every_vector_and_none_of_the_frozen_weights(three_layers: Backbone, images: Tensor):
    ctx, tokens = vectors(N, 64, 0).requires_grad_(), vectors(N, 128, 0).requires_grad_()
    text = {i: vectors(N, 64, i).requires_grad_() for i in (1, 2)}
    image = {i: vectors(N, 128, i).requires_grad_() for i in (1, 2)}
    learner = PromptLearner(three_layers, N)
    learner.ctx.data = ctx.detach()
    prompts = learner(three_layers.class_tokens(NAMES, N))
    three_layers.text(prompts, Hooks(deep=text)).sum().backward()
    three_layers.image(images, Hooks(tokens=tokens, deep=image)).sum().backward()
    for vector in (learner.ctx, *text.values(), tokens, *image.values()):
        assert vector.grad.abs().sum() > 0
    assert all(p.grad is None for p in three_layers.model.parameters())


def test_deep_vectors_need_shared_context(three_layers: Backbone):
    prompts = PromptLearner(three_layers, N, n_classes=len(NAMES))(three_layers.class_tokens(NAMES, N))
    with pytest.raises(ValueError, match="deep context vectors take the place of shared ones"):
        three_layers.text(prompts, Hooks(deep={1: vectors(N, 64, 0)}))


def test_a_resnet_takes_no_hooks():
    resnet = wrap(random_clip(64, 64, (1, 1, 1, 1), 32, None, 77, 49408, 64, 1, 1), FP32, "RN-1")
    with pytest.raises(UserError, match="MaPLe reaches into both towers.* and RN-1 is not so: choose another backbone"):
        need_transformers(resnet, "MaPLe")
