"""CLIP's frozen image tower, exact, without the rows that cannot matter.

A vision transformer's feature is one row, the class embedding's. In the last layer that row alone needs a query
and an MLP; of the patches only keys and values are asked for. With four layers that saves a fifth of the work,
with ViT-B's twelve a fifteenth.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ImageTower:
    """The image half of a `clip.model.CLIP`, a vision transformer or a ResNet: (B, 3, R, R) -> (B, d)."""

    def __init__(self, visual: nn.Module):
        self.visual = visual

    def __call__(self, images: Tensor) -> Tensor:
        """Image features, not normalised, in the type of the images: (B, d)."""
        visual = self.visual
        if not hasattr(visual, "transformer"):
            return visual(images)  # a ResNet
        patches = visual.conv1(images).flatten(2).transpose(1, 2)  # (B, L, w)
        start = visual.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        x = torch.cat([start, patches], dim=1) + visual.positional_embedding.to(patches.dtype)
        x = visual.ln_pre(x)  # (B, 1 + L, w)
        *blocks, last = visual.transformer.resblocks
        for block in blocks:
            x = x + _attention(block.attn, block.ln_1(x))
            x = x + block.mlp(block.ln_2(x))
        x = x[:, :1] + _attention(last.attn, last.ln_1(x), first_only=True)
        x = x + last.mlp(last.ln_2(x))
        return visual.ln_post(x[:, 0]) @ visual.proj


def _attention(attn: nn.MultiheadAttention, x: Tensor, first_only: bool = False) -> Tensor:
    """Self-attention, (B, N, w) -> (B, N, w); with `first_only` the first row alone asks, -> (B, 1, w)."""
    q, k, v = F.linear(x, attn.in_proj_weight, attn.in_proj_bias).unflatten(-1, (3, attn.num_heads, -1)).unbind(2)
    q = q[:, :1] if first_only else q  # (B, N, H, dh)
    y = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
    return attn.out_proj(y.transpose(1, 2).flatten(2))
