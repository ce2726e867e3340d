"""CLIP's frozen vision transformer, exact, without the rows that cannot matter.

The feature is one row, the class embedding's. In the last layer that row alone needs a query and an MLP; of the patches
only keys and values are asked for. With four layers that saves a fifth of the work, with ViT-B's twelve a fifteenth.

Where no gradient is wanted, residuals are added in place, and the hidden layer of an MLP, the largest thing there is,
is overwritten by its activation, on a CPU piece by piece, as its cache takes them: the same bits, with less than half
of the passes over memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..precision import product
from ..profiling import a_part
from .activations import QUICK, is_quick
from .hooks import NONE, Hooks

PIECE = 1 << 18  # numbers that a CPU's core keeps at hand
ASKING = 16  # rows with a query in the last layer: on a CPU the last bits of a lone one hang on which thread does it


class ImageTower:
    """The vision transformer of a `clip.model.CLIP`: (B, 3, R, R) -> (B, d).

    Attributes:
        width: w, of its rows.
        layers: how many.
    """

    def __init__(self, visual: nn.Module):
        self.visual = visual
        self.blocks = list(visual.transformer.resblocks)
        self.width, self.layers = visual.class_embedding.shape[0], len(self.blocks)

    @a_part("encoding")
    def __call__(self, images: Tensor, hooks: Hooks = NONE) -> Tensor:
        """Image features, not normalised, in the type of the images: (B, d)."""
        visual = self.visual
        patches = visual.conv1(images).to(images.dtype).flatten(2).transpose(1, 2)  # (B, L, w)
        B = patches.shape[0]  # not len(): an exported tower takes any number
        start = visual.class_embedding.to(patches.dtype).expand(B, 1, -1)
        x = torch.cat([start, patches], dim=1) + visual.positional_embedding.to(patches.dtype)
        if hooks.tokens is not None:
            x = torch.cat([x, hooks.tokens.to(x.dtype).expand(B, -1, -1)], dim=1)
        x = visual.ln_pre(x)  # (B, 1 + L + n, w)
        for i, block in enumerate(self.blocks[:-1]):
            x = _replace(x, hooks.deep.get(i))
            x = _add(x, _attention(block.attn, block.ln_1(x), i, hooks))
            x = _add(x, _mlp(block.mlp, block.ln_2(x)))
        i, last = self.layers - 1, self.blocks[-1]
        x = _replace(x, hooks.deep.get(i))
        x = x[:, :1] + _attention(last.attn, last.ln_1(x), i, hooks, first_only=True)
        x = x + last.mlp(last.ln_2(x))
        return product(visual.ln_post(x[:, 0]), visual.proj)


def _replace(x: Tensor, vectors: Tensor | None) -> Tensor:
    """The last n rows of each image replaced by the vectors (n, w)."""
    if vectors is None:
        return x
    return torch.cat([x[:, : -len(vectors)], vectors.to(x.dtype).expand(x.shape[0], -1, -1)], dim=1)


def _attention(attn: nn.MultiheadAttention, x: Tensor, layer: int, hooks: Hooks, first_only: bool = False) -> Tensor:
    """Self-attention, (B, N, w) -> (B, N, w); with `first_only` of the first row alone, -> (B, 1, w)."""
    qkv = hooks.add_projection(layer, x, F.linear(x, attn.in_proj_weight, attn.in_proj_bias))
    q, k, v = qkv.unflatten(-1, (3, attn.num_heads, -1)).unbind(2)
    q = q[:, :ASKING] if first_only else q  # (B, N, H, dh)
    y = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)
    return attn.out_proj((y[:, :1] if first_only else y).flatten(2))


def _keeps_nothing() -> bool:
    """Whether tensors may be overwritten: no gradient is wanted, and nobody traces the tower to export it."""
    return not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def _add(x: Tensor, y: Tensor) -> Tensor:
    return x.add_(y) if _keeps_nothing() else x + y


def _mlp(mlp: nn.Module, x: Tensor) -> Tensor:
    """The MLP of a layer, (B, N, w) -> (B, N, w), the bits of its own pass."""
    exact = type(mlp.gelu) is nn.GELU
    if not _keeps_nothing() or not (exact or is_quick(mlp.gelu)):
        return mlp(x)
    hidden = mlp.c_fc(x)  # (B, N, 4w)
    rows = hidden.view(-1, hidden.shape[-1])
    for piece in rows.split(max(1, PIECE // rows.shape[1])) if rows.device.type == "cpu" else (rows,):
        if exact:
            torch.ops.aten.gelu_(piece, approximate=mlp.gelu.approximate)
        else:
            piece.mul_(torch.mul(piece, QUICK).sigmoid_())
    return mlp.c_proj(hidden)
