"""MiniCLIP's towers as they are trained: the same computation as OpenAI's modules make, in bfloat16 throughout.

On a CPU with bfloat16 matrix units a step takes a third of the time that autocast takes, mostly because attention is
written as the matrix products that it is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backbones.activations import QUICK


def image_features(visual: nn.Module, images: Tensor) -> Tensor:
    """Features of normalised pixels (B, 3, R, R), not of unit length: (B, d)."""
    patch, side = visual.conv1.weight.shape[-1], images.shape[-1] // visual.conv1.weight.shape[-1]
    x = images.bfloat16().unflatten(2, (side, patch)).unflatten(4, (side, patch))  # (B, 3, s, p, s, p)
    x = x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # (B, s^2, 3 p^2)
    x = F.linear(x, visual.conv1.weight.flatten(1).bfloat16())  # (B, s^2, w)
    first = visual.class_embedding.bfloat16().expand(len(x), 1, -1)
    x = _norm(visual.ln_pre, torch.cat([first, x], dim=1) + visual.positional_embedding.bfloat16())
    for block in visual.transformer.resblocks:
        x = _block(block, x, None)
    return _norm(visual.ln_post, x[:, 0]) @ visual.proj.bfloat16()


def text_features(model: nn.Module, embeddings: Tensor, lengths: Tensor) -> Tensor:
    """Features of prompts, not of unit length: (B, d).

    Args:
        embeddings: of their tokens, start and EOT with them, (B, L, w).
        lengths: of each with its EOT, (B,).
    """
    L = embeddings.shape[1]
    x = embeddings.bfloat16() + model.positional_embedding[:L].bfloat16()
    mask = torch.full((L, L), float("-inf"), dtype=torch.bfloat16).triu(1)
    for block in model.transformer.resblocks:
        x = _block(block, x, mask)
    x = x[torch.arange(len(x)), lengths - 1]  # nothing else is needed of what follows the blocks
    return _norm(model.ln_final, x) @ model.text_projection.bfloat16()


def _block(block: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    x = x + _attention(block.attn, _norm(block.ln_1, x), mask)
    up, down = block.mlp.c_fc, block.mlp.c_proj
    h = F.silu(F.linear(_norm(block.ln_2, x), (QUICK * up.weight).bfloat16(), (QUICK * up.bias).bfloat16()))
    return x + F.linear(h, (down.weight / QUICK).bfloat16(), down.bias.bfloat16())


def _attention(attn: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    B, L, w = x.shape
    heads, width = attn.num_heads, w // attn.num_heads
    qkv = F.linear(x, attn.in_proj_weight.bfloat16(), attn.in_proj_bias.bfloat16())
    q, k, v = qkv.view(B, L, 3, heads, width).permute(2, 0, 3, 1, 4).reshape(3, B * heads, L, width).unbind(0)
    scores = torch.bmm(q * width**-0.5, k.transpose(1, 2))  # (B h, L, L)
    if mask is not None:
        scores = scores + mask
    y = torch.bmm(scores.softmax(dim=-1), v).view(B, heads, L, width).transpose(1, 2).reshape(B, L, w)
    return F.linear(y, attn.out_proj.weight.bfloat16(), attn.out_proj.bias.bfloat16())


def _norm(norm: nn.Module, x: Tensor) -> Tensor:
    return F.layer_norm(x, norm.normalized_shape, norm.weight.bfloat16(), norm.bias.bfloat16(), norm.eps)
