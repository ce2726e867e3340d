"""The frozen causal text tower, written for a CPU: the same numbers with fewer passes over memory.

`TextTower` says what may be left out. Beyond that, here:

* suffixes that all groups share (CoCoOp: an image's context in front of the same class names) enter the first layer's
  queries, keys and values once;
* a group's prefix is attended to as one matrix, not copied to each of its prompts;
* keys and values of the last layer, which only EOT asks for, are never made: with one query q a prompt,
  q . (W_k a_j) = (W_k^T q) . a_j, and sum_j p_j W_v a_j = W_v sum_j p_j a_j;
* layer norm, linear, activation and linear keep one hidden tensor for the backward pass, not four.

Under bfloat16 autocast the linear layers before the last one, forward and backward, are multiplied in bfloat16 with
weights that were rounded once; residuals, norms and attention stay in float32. The weights are frozen: gradients reach
the prompts alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .activations import QUICK, is_quick
from .prompts import Prompts

if TYPE_CHECKING:
    from .text_tower import Layout, TextTower

FULL = (torch.float32, torch.float64)
custom_fwd = torch.amp.custom_fwd(device_type="cpu")  # a backward pass has the forward pass's autocast: none
custom_bwd = torch.amp.custom_bwd(device_type="cpu")


def suits(tower: TextTower, prompts: Prompts) -> bool:
    """Whether this pass computes what the tower's modules would: frozen, in one full precision, or in float32 under
    bfloat16 autocast, on the CPU."""
    weight = tower.text_projection
    same = prompts.prefix.dtype == prompts.suffix.dtype == weight.dtype
    plain = same and weight.dtype in FULL and weight.device.type == "cpu"
    if torch.is_autocast_enabled("cpu"):
        plain = plain and weight.dtype == torch.float32 and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return plain and not weight.requires_grad and all(_known(block) for block in tower.blocks)


def _known(block: nn.Module) -> bool:
    gelu = block.mlp.gelu
    exact = type(gelu) is nn.GELU and gelu.approximate == "none"
    scaled = not isinstance(getattr(block, "ls_1", nn.Identity()), nn.Identity)
    return not scaled and (exact or is_quick(gelu)) and block.mlp.c_fc.weight.dtype in FULL


class Linears(NamedTuple):
    """The linear layers of a block, in the type that they are multiplied in."""

    qkv: tuple[Tensor, Tensor]  # weight, bias
    out: tuple[Tensor, Tensor]
    fc: tuple[Tensor, Tensor]
    proj: tuple[Tensor, Tensor]

    @property
    def dtype(self) -> torch.dtype:
        return self.qkv[0].dtype

    @staticmethod
    def of(block: nn.Module) -> Linears:
        attn, mlp = block.attn, block.mlp
        pairs = [(attn.in_proj_weight, attn.in_proj_bias)]
        return Linears(*pairs, *((m.weight, m.bias) for m in (attn.out_proj, mlp.c_fc, mlp.c_proj)))


class Rounded(NamedTuple):
    """Layers in bfloat16, and what tells whether the weights are still those that they were made of."""

    state: list[tuple[int, int]]
    layers: list[Linears]


def linears(tower: TextTower) -> list[Linears]:
    """Of all blocks but the last. Rounded ones are kept with the tower until its weights change."""
    exact = [Linears.of(block) for block in tower.blocks[:-1]]
    if not torch.is_autocast_enabled("cpu"):
        return exact
    state = [(x.data_ptr(), x._version) for block in exact for pair in block for x in pair]
    if tower.rounded is None or tower.rounded.state != state:
        with torch.inference_mode(False):  # they will be trained with, whatever asks first
            layers = [Linears(*((w.bfloat16(), b.bfloat16()) for w, b in block)) for block in exact]
        tower.rounded = Rounded(state, layers)
    return tower.rounded.layers


def run(tower: TextTower, prompts: Prompts, layout: Layout) -> Tensor:
    """Text features of all prompts, not normalised: (G, S, d)."""
    layers = linears(tower)
    with torch.autocast("cpu", enabled=False):
        return _run(tower, layers, prompts, layout)


def _run(tower: TextTower, layers: list[Linears], prompts: Prompts, layout: Layout) -> Tensor:
    G, S, P, M, H = layout.G, layout.S, layout.P, layout.M, tower.heads
    shared = G > 1 and prompts.suffix.stride(0) == 0
    prefix = (prompts.prefix + tower.positional_embedding[:P]).flatten(0, 1)  # (GP, w)
    own = (prompts.suffix[:1] if shared else prompts.suffix) + tower.positional_embedding[P : P + M]
    suffix = layout.pack(own.flatten(0, 2), 1 if shared else G)  # (tokens, w), of one group where they are shared

    for i, (block, layer) in enumerate(zip(tower.blocks[:-1], layers, strict=True)):
        if i == 0:
            qkv0, qkv1 = _qkv(block, layer, prefix), _qkv(block, layer, suffix)
            if shared:
                qkv1, suffix = qkv1.repeat(G, 1), suffix.repeat(G, 1)
            x = torch.cat([prefix, suffix])  # (N, w), N = GP + tokens
        else:
            qkv0, qkv1 = _qkv(block, layer, x).split([G * P, len(x) - G * P])
        y = _Attention.apply(qkv0, qkv1, layout, H)
        x = _add_linear(x, y, layer.out)
        x = _MLP.apply(x, block, layer)
    if len(tower.blocks) == 1:
        x = torch.cat([prefix, suffix.repeat(G, 1) if shared else suffix])

    block, layer = tower.blocks[-1], Linears.of(tower.blocks[-1])
    # Only the EOT rows go through it, attending to all the others.
    y = _eot_attention(block.attn, _norm(block.ln_1, x), layout, H)  # (GS, w)
    x = _MLP.apply(_add_linear(x.index_select(0, layout.eot), y, layer.out), block, layer)
    return (_norm(tower.ln_final, x) @ tower.text_projection).unflatten(0, (G, S))  # (G, S, d)


def _norm(ln: nn.LayerNorm, x: Tensor) -> Tensor:
    return F.layer_norm(x, ln.normalized_shape, ln.weight, ln.bias, ln.eps)


def _qkv(block: nn.Module, layer: Linears, x: Tensor) -> Tensor:
    """(N, w) -> (N, 3w)"""
    return F.linear(_norm(block.ln_1, x).to(layer.dtype), *layer.qkv).to(x.dtype)


def _add_linear(x: Tensor, y: Tensor, linear: tuple[Tensor, Tensor]) -> Tensor:
    """x + linear(y); where nothing is learned x is overwritten."""
    weight, bias = linear
    if weight.dtype != x.dtype:
        y = F.linear(y.to(weight.dtype), weight, bias)
        return x + y if torch.is_grad_enabled() else x.add_(y)
    if torch.is_grad_enabled():
        return torch.addmm(x + bias, y, weight.t())
    return x.add_(bias).addmm_(y, weight.t())


class _MLP(torch.autograd.Function):
    """x + mlp(ln_2(x)), (N, w) -> (N, w). Kept for the backward pass: x and the hidden layer before its activation."""

    @staticmethod
    @custom_fwd
    def forward(ctx: Any, x: Tensor, block: nn.Module, layer: Linears) -> Tensor:
        ln, (fc, fc_bias), (proj, proj_bias) = block.ln_2, layer.fc, layer.proj
        k = 1.0 if isinstance(block.mlp.gelu, nn.GELU) else QUICK
        a, mean, rstd = torch.native_layer_norm(x, ln.normalized_shape, ln.weight, ln.bias, ln.eps)
        h = torch.addmm(fc_bias, a.to(layer.dtype), fc.t(), beta=k, alpha=k)  # (N, 4w)
        if ctx.needs_input_grad[0]:
            ctx.block, ctx.layer = block, layer
            ctx.save_for_backward(x, mean, rstd, h)
            z, out = F.gelu(h) if k == 1 else F.silu(h), x + proj_bias
        else:
            z, out = torch.ops.aten.gelu_(h) if k == 1 else F.silu(h, inplace=True), x.add_(proj_bias)
            ctx.mark_dirty(x)
        if z.dtype != out.dtype:
            return out.add_(z @ proj.t(), alpha=1 / k)
        return out.addmm_(z, proj.t(), alpha=1 / k)

    @staticmethod
    @once_differentiable
    @custom_bwd
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, rstd, h = ctx.saved_tensors
        layer, ln = ctx.layer, ctx.block.ln_2
        g = grad.to(layer.dtype) @ layer.proj[0]  # k and 1 / k cancel
        g = (
            torch.ops.aten.gelu_backward(g, h)
            if isinstance(ctx.block.mlp.gelu, nn.GELU)
            else torch.ops.aten.silu_backward(g, h)
        )
        g = (g @ layer.fc[0]).to(x.dtype)
        (dx, _, _) = torch.ops.aten.native_layer_norm_backward(
            g, x, ln.normalized_shape, mean, rstd, ln.weight, ln.bias, [True, False, False]
        )
        return dx.add_(grad), None, None


class _Attention(torch.autograd.Function):
    """Causal self-attention of prefixes (GP, 3w) and suffixes (tokens, 3w) -> (N, w), all heads at once."""

    @staticmethod
    @custom_fwd
    def forward(ctx: Any, qkv0: Tensor, qkv1: Tensor, layout: Layout, H: int) -> Tensor:
        P, M = layout.P, layout.M
        q0, k0, v0 = _heads(qkv0, P, 3, H)  # (HG, P, dh)
        q1, k1, v1 = _heads(qkv1, M, 3, H, layout.source)  # (HGS, M, dh)
        before = qkv0.new_full((P, P), float("-inf")).triu(1)
        inside = qkv0.new_full((M, M), float("-inf")).triu(1)
        scale = q0.shape[2] ** -0.5
        a0 = torch.baddbmm(before, q0, k0.mT, alpha=scale).softmax(-1)  # (HG, P, P)
        front = _front_products(q1, k0 * scale, layout)  # (HGS, M, P)
        own = torch.baddbmm(inside, q1, k1.mT, alpha=scale)  # (HGS, M, M)
        a1 = torch.cat([front, own], dim=2).softmax(-1)  # (HGS, M, P + M)
        y0 = torch.bmm(a0, v0)
        y1 = torch.bmm(_front(a1, layout), v0).view(v1.shape).baddbmm_(a1[..., P:], v1)
        if any(ctx.needs_input_grad[:2]):
            ctx.layout, ctx.heads = layout, H
            ctx.save_for_backward(q0, k0, v0, q1, k1, v1, a0, a1)
        return torch.cat([_rows(y0[None], H), _rows(y1[None], H, layout.rows)])  # (N, w)

    @staticmethod
    @once_differentiable
    @custom_bwd
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q0, k0, v0, q1, k1, v1, a0, a1 = ctx.saved_tensors
        layout, H, scale = ctx.layout, ctx.heads, q0.shape[2] ** -0.5
        G, P, M = layout.G, layout.P, layout.M
        (g0,) = _heads(grad[: G * P], P, 1, H)
        (g1,) = _heads(layout.pad(grad[G * P :]), M, 1, H)  # rows of padding ask for nothing
        ds0 = _softmax_backward(torch.bmm(g0, v0.mT), a0).mul_(scale)
        da1 = torch.cat([_front_products(g1, v0, layout), torch.bmm(g1, v1.mT)], dim=2)
        ds1 = _softmax_backward(da1, a1).mul_(scale)
        d0 = q0.new_empty(3, *q0.shape)
        torch.bmm(ds0, k0, out=d0[0])
        torch.bmm(ds0.mT, q0, out=d0[1]).baddbmm_(_front(ds1, layout).mT, _of_group(q1, layout))
        torch.bmm(a0.mT, g0, out=d0[2]).baddbmm_(_front(a1, layout).mT, _of_group(g1, layout))
        if not ctx.needs_input_grad[1]:
            return _rows(d0, H), None, None, None
        d1 = q1.new_empty(3, *q1.shape)
        torch.bmm(_front(ds1, layout), k0, out=_of_group(d1[0], layout))
        d1[0].baddbmm_(ds1[..., P:], k1)
        torch.bmm(ds1[..., P:].mT, q1, out=d1[1])
        torch.bmm(a1[..., P:].mT, g1, out=d1[2])
        return _rows(d0, H), _rows(d1, H, layout.rows), None, None


def _heads(x: Tensor, length: int, n: int, H: int, source: Tensor | None = None) -> Tensor:
    """Rows of n parts (B * length, nw), or those that `source` picks, by heads: (n, HB, length, dh)"""
    x = x.unflatten(1, (n, H, -1)).permute(1, 2, 0, 3)
    x = x if source is None else x.index_select(2, source)
    return x.reshape(n, -1, length, x.shape[3])


def _rows(x: Tensor, H: int, rows: Tensor | None = None) -> Tensor:
    """Back again: (n, HB, length, dh) -> (B * length, nw), or those `rows` of them"""
    n, _, _, dh = x.shape
    x = x.view(n, H, -1, dh).permute(2, 0, 1, 3)
    x = x if rows is None else x.index_select(0, rows)
    return x.reshape(-1, n * H * dh)


def _of_group(x: Tensor, layout: Layout) -> Tensor:
    """The suffixes of a group as one matrix, which meets its prefix as one: (HGS, M, *) -> (HG, SM, *)"""
    return x.view(-1, layout.S * layout.M, x.shape[2])


def _front(scores: Tensor, layout: Layout) -> Tensor:
    """The part of scores (HGS, M, P + M) that belongs to the prefix, as one matrix a group: (HG, SM, P)."""
    return _of_group(scores, layout)[..., : layout.P]


def _front_products(x: Tensor, prefix: Tensor, layout: Layout) -> Tensor:
    """Products of each row with its group's prefix, (HGS, M, dh), (HG, P, dh) -> (HGS, M, P)."""
    rows = _of_group(x, layout)
    if layout.P == 1:  # matrix by matrix, for a batch of them adds a single column up in another order
        found = torch.stack([a @ b.t() for a, b in zip(rows, prefix, strict=True)])
    else:
        found = torch.bmm(rows, prefix.mT)
    return found.view(len(x), layout.M, -1)


def _softmax_backward(grad: Tensor, output: Tensor) -> Tensor:
    return torch.ops.aten._softmax_backward_data(grad, output, -1, output.dtype)


def _eot_attention(attn: nn.Module, a: Tensor, layout: Layout, H: int) -> Tensor:
    """What the EOT rows find among normalised rows a, (N, w) -> (GS, w), before the output projection."""
    G, S, P, M = layout.G, layout.S, layout.P, layout.M
    w, GP = a.shape[1], layout.G * layout.P
    w_q, w_k, w_v = attn.in_proj_weight.chunk(3)
    b_q, _, b_v = attn.in_proj_bias.chunk(3)  # the keys' bias is the same for all keys, so softmax does not see it
    prefix, suffix = a.split([GP, len(a) - GP])
    prefix = prefix.view(G, 1, P, w).expand(-1, H, -1, -1).reshape(G * H, P, w)
    suffix = layout.pad(suffix).view(G * S, M, w)
    q = F.linear(a.index_select(0, layout.eot), w_q * (w // H) ** -0.5, b_q * (w // H) ** -0.5)  # (GS, w)
    q = torch.bmm(q.view(G * S, H, -1).transpose(0, 1), w_k.view(H, -1, w))  # W_k^T q, (H, GS, w)
    of_group = q.view(H, G, S, w).transpose(0, 1).reshape(G * H, S, w)
    of_prompt = q.transpose(0, 1)  # (GS, H, w)
    front = torch.bmm(of_group, prefix.mT)  # (GH, S, P)
    own = torch.bmm(of_prompt, suffix.mT).masked_fill(layout.after_eot, float("-inf"))  # (GS, H, M)
    front = front.view(G, H, S, P).transpose(1, 2).reshape(G * S, H, P)
    p = torch.cat([front, own], dim=2).softmax(-1)  # (GS, H, P + M)
    front, own = p.split([P, M], dim=2)
    front = front.view(G, S, H, P).transpose(1, 2).reshape(G * H, S, P)
    found = torch.bmm(front, prefix).view(G, H, S, w).transpose(0, 1).reshape(H, G * S, w)
    found = found + torch.bmm(own, suffix).transpose(0, 1)  # sum_j p_j a_j, (H, GS, w)
    y = torch.bmm(found, w_v.view(H, -1, w).mT)  # (H, GS, dh)
    return y.transpose(0, 1).reshape(G * S, w) + b_v
