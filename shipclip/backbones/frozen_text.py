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
    """Causal self-attention of prefixes (GP, 3w) and suffixes (tokens, 3w) -> (N, w), a head at a time.

    A head's queries, keys and values are views of the rows, so nothing is copied but ragged rows to be padded.
    """

    @staticmethod
    @custom_fwd
    def forward(ctx: Any, qkv0: Tensor, qkv1: Tensor, layout: Layout, H: int) -> Tensor:
        G, S, P, M = layout.G, layout.S, layout.P, layout.M
        w = qkv0.shape[1] // 3
        qkv1 = layout.fill(qkv1)  # (GSM, 3w)
        before = qkv0.new_full((P, P), float("-inf")).triu(1)
        inside = qkv0.new_full((M, M), float("-inf")).triu(1)
        scale, kept, y0, y1 = (w // H) ** -0.5, [], [], []
        for h in range(H):
            q0, k0, v0, q1, k1, v1 = _head(qkv0, qkv1, h, layout, H)
            a0 = torch.baddbmm(before, q0, k0.mT, alpha=scale).softmax(-1)  # (G, P, P)
            y0.append(torch.bmm(a0, v0).flatten(0, 1))
            front = torch.bmm(q1.view(G, S * M, -1), (k0 * scale).mT).view(G * S, M, P)
            own = torch.baddbmm(inside, q1, k1.mT, alpha=scale)  # (GS, M, M)
            a1 = torch.cat([front, own], dim=2).softmax(-1)  # (GS, M, P + M)
            y = torch.bmm(_front(a1, layout), v0).view(G * S, M, -1)
            y1.append(y.baddbmm_(a1[..., P:], v1).flatten(0, 1))
            kept += [a0, a1]
        if any(ctx.needs_input_grad[:2]):
            ctx.layout, ctx.heads = layout, H
            ctx.save_for_backward(qkv0, qkv1, *kept)
        return torch.cat([torch.cat(y0, dim=1), layout.pack(torch.cat(y1, dim=1))])  # (N, w)

    @staticmethod
    @once_differentiable
    @custom_bwd
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        layout, H = ctx.layout, ctx.heads
        G, S, P, M = layout.G, layout.S, layout.P, layout.M
        qkv0, qkv1, *kept = ctx.saved_tensors
        GP, w = G * P, qkv0.shape[1] // 3
        scale, suffixes = (w // H) ** -0.5, ctx.needs_input_grad[1]
        dy0, dy1 = grad[:GP], layout.pad(grad[GP:])  # rows of padding ask for nothing
        d0, d1 = [None] * 3 * H, [None] * 3 * H
        for h in range(H):
            q0, k0, v0, q1, k1, v1 = _head(qkv0, qkv1, h, layout, H)
            a0, a1 = kept[2 * h : 2 * h + 2]
            g0, g1 = _columns(dy0, h, H).view(G, P, -1), _columns(dy1, h, H).view(G * S, M, -1)
            q, g = q1.view(G, S * M, -1), g1.view(G, S * M, -1)
            ds0 = _softmax_backward(torch.bmm(g0, v0.mT), a0).mul_(scale)
            da1 = torch.cat([torch.bmm(g, v0.mT).view(G * S, M, P), torch.bmm(g1, v1.mT)], dim=2)
            ds1 = _softmax_backward(da1, a1).mul_(scale)
            d0[h] = torch.bmm(ds0, k0)
            d0[H + h] = torch.bmm(ds0.mT, q0).baddbmm_(_front(ds1, layout).mT, q)
            d0[2 * H + h] = torch.bmm(a0.mT, g0).baddbmm_(_front(a1, layout).mT, g)
            if suffixes:
                dq = torch.bmm(_front(ds1, layout), k0).view(G * S, M, -1)
                d1[h] = dq.baddbmm_(ds1[..., P:], k1)
                d1[H + h] = torch.bmm(ds1[..., P:].mT, q1)
                d1[2 * H + h] = torch.bmm(a1[..., P:].mT, g1)
        d0 = torch.cat(d0, dim=2).flatten(0, 1)
        return d0, layout.pack(torch.cat(d1, dim=2).flatten(0, 1)) if suffixes else None, None, None


def _front(scores: Tensor, layout: Layout) -> Tensor:
    """The part of scores (GS, M, P + M) that belongs to the prefix, as one matrix a group: (G, SM, P)."""
    return scores.view(layout.G, layout.S * layout.M, -1)[..., : layout.P]


def _columns(x: Tensor, part: int, parts: int) -> Tensor:
    """One of equal parts of the columns."""
    size = x.shape[1] // parts
    return x[:, part * size : (part + 1) * size]


def _head(qkv0: Tensor, qkv1: Tensor, h: int, layout: Layout, H: int) -> list[Tensor]:
    """A head's queries, keys and values, of prefixes (G, P, dh) and of suffixes (GS, M, dh), as views."""
    rows = ((qkv0, layout.P), (qkv1, layout.M))
    return [_columns(x, part * H + h, 3 * H).unflatten(0, (-1, length)) for x, length in rows for part in range(3)]


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
