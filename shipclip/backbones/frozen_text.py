"""The frozen causal text tower, written for a CPU: the same numbers with fewer passes over memory.

`TextTower` says what may be left out. Beyond that, here:

* frozen suffixes that all groups share (CoCoOp: an image's context in front of the same class names) enter the first
  layer's queries, keys and values once;
* a group's prefix is attended to as one matrix, not copied to each of its prompts;
* keys and values of the last layer, which only EOT asks for, are never made: with one query q a prompt,
  q . (W_k a_j) = (W_k^T q) . a_j, and sum_j p_j W_v a_j = W_v sum_j p_j a_j;
* layer norm, linear, activation and linear keep one hidden tensor for the backward pass, not four;
* the scores of suffixes lie with the keys first: a softmax along a few neighbours takes several times as long;
* the whole tower is one node of autograd's graph, with its backward pass written out: keeping books of a hundred nodes
  takes a tenth of a small tower's step, and rows that hang on nothing learned need no gradients.

Under bfloat16 autocast the linear layers before the last one, forward and backward, are multiplied in bfloat16 with
weights that were rounded once; residuals, norms and attention stay in float32. The weights are frozen: gradients reach
the prompts alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
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
    weight, P = tower.text_projection, prompts.prefix.shape[1]
    same = prompts.prefix.dtype == prompts.suffix.dtype == weight.dtype
    plain = same and weight.dtype in FULL and weight.device.type == "cpu"
    if torch.is_autocast_enabled("cpu"):
        plain = plain and weight.dtype == torch.float32 and torch.get_autocast_dtype("cpu") == torch.bfloat16
    frozen = not any(one.requires_grad for one in tower.weights)
    return plain and frozen and P > 0 and all(_known(block) for block in tower.blocks)


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
    prefix, suffix = prompts.prefix, prompts.suffix
    if not torch.is_grad_enabled():  # what a node is told of its inputs hangs not on it
        prefix, suffix = prefix.detach(), suffix.detach()
    with torch.autocast("cpu", enabled=False):
        features = _Tower.apply(prefix, suffix, tower, layers, layout)
    return features.unflatten(0, (layout.G, layout.S))


class _Tower(torch.autograd.Function):
    """Prefixes (G, P, w) and suffixes (G, S, M, w) to text features (GS, d).

    What the backward pass asks for is pushed onto the list `kept` on the way there, and taken from its end on the way
    back; where nothing is learned there is no such list, and a layer overwrites what it was given.
    """

    @staticmethod
    @custom_fwd
    def forward(
        ctx: Any, prefix: Tensor, suffix: Tensor, tower: TextTower, layers: list[Linears], layout: Layout
    ) -> Tensor:
        G, P, M, H = layout.G, layout.P, layout.M, tower.heads
        GP, positions = G * P, tower.positional_embedding
        kept: list[Tensor] | None = [] if any(ctx.needs_input_grad[:2]) else None
        shared = G > 1 and suffix.stride(0) == 0 and not ctx.needs_input_grad[1]
        start = (prefix + positions[:P]).flatten(0, 1)  # (GP, w)
        rest = ((suffix[:1] if shared else suffix) + positions[P : P + M]).flatten(0, 2)
        rest = layout.pack(rest, 1 if shared else G)  # (tokens, w), of one group where they are shared
        distinct = GP + len(rest)
        x = torch.cat([start, rest.repeat(G, 1) if shared else rest])  # (N, w), N = GP + tokens

        for i, (block, layer) in enumerate(zip(tower.blocks[:-1], layers, strict=True)):
            a = _norm(block.ln_1, x if i else x[:distinct], kept)
            qkv = F.linear(a.to(layer.dtype), *layer.qkv).to(x.dtype)  # (N, 3w)
            # A copy of the prefix's rows, for views that are kept would keep all the others as well.
            y = _attention(qkv[:GP].clone(), qkv[GP:], layout, H, shared and i == 0, kept)
            x = _mlp(_add_linear(x, y, layer.out, kept), block, layer, kept)

        block, layer = tower.blocks[-1], Linears.of(tower.blocks[-1])
        # Only the EOT rows go through it, attending to all the others.
        y = _eot_attention(_norm(block.ln_1, x, kept), block.attn, layout, H, kept)  # (GS, w)
        x = _mlp(_add_linear(x.index_select(0, layout.eot), y, layer.out, kept), block, layer, kept)
        features = _norm(tower.ln_final, x, kept) @ tower.text_projection
        if kept is not None:
            ctx.tower, ctx.layers, ctx.layout = tower, layers, layout
            ctx.save_for_backward(*kept)
        return features

    @staticmethod
    @once_differentiable
    @custom_bwd
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tower, layout, kept = ctx.tower, ctx.layout, list(ctx.saved_tensors)
        G, H, GP = layout.G, tower.heads, layout.G * layout.P
        to_prefix, to_suffix = ctx.needs_input_grad[:2]
        first = 0 if to_prefix else GP  # frozen prefixes hang on nothing learned, in no layer
        learned = slice(first, None)  # the rows that gradients go to

        block, layer = tower.blocks[-1], Linears.of(tower.blocks[-1])
        of_eot = _norm_backward(grad @ tower.text_projection.t(), tower.ln_final, kept)
        of_eot = _mlp_backward(of_eot, block, layer, kept)
        g = _eot_attention_backward(_linear_backward(of_eot, layer.out), block.attn, layout, H, to_prefix, kept)
        g = _norm_backward(g, block.ln_1, kept, learned).index_add_(0, layout.eot - first, of_eot)

        for i, (block, layer) in reversed([*enumerate(zip(tower.blocks[:-1], ctx.layers, strict=True))]):
            rows = learned if i or to_suffix else slice(GP)  # frozen suffixes hang on nothing, in the first layer
            g = _mlp_backward(g, block, layer, kept, learned)
            y = _attention_backward(_linear_backward(g, layer.out), layout, H, to_prefix, i > 0 or to_suffix, kept)
            x = _norm_backward(_linear_backward(y, layer.qkv), block.ln_1, kept, rows)
            g = x.add_(g[: len(x)])
        of_prefix = g[:GP].unflatten(0, (G, layout.P)) if to_prefix else None
        of_suffix = layout.pad(g[GP - first :]).unflatten(0, (G, layout.S, layout.M)) if to_suffix else None
        return of_prefix, of_suffix, None, None, None


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _pop(kept: list[Tensor], n: int) -> list[Tensor]:
    popped = kept[-n:]
    del kept[-n:]
    return popped


# -- what stands alone of rows: norms, linear layers, the MLP -------------------------------------------------


def _norm(ln: nn.LayerNorm, x: Tensor, kept: list[Tensor] | None) -> Tensor:
    a, mean, rstd = torch.native_layer_norm(x, ln.normalized_shape, ln.weight, ln.bias, ln.eps)
    if kept is not None:
        kept += (x, mean, rstd)
    return a


def _norm_backward(grad: Tensor, ln: nn.LayerNorm, kept: list[Tensor], rows: slice = slice(None)) -> Tensor:
    x, mean, rstd = (one[rows] for one in _pop(kept, 3))
    return torch.ops.aten.native_layer_norm_backward(
        grad, x, ln.normalized_shape, mean, rstd, ln.weight, ln.bias, [True, False, False]
    )[0]


def _add_linear(x: Tensor, y: Tensor, linear: tuple[Tensor, Tensor], kept: list[Tensor] | None) -> Tensor:
    """x + linear(y)"""
    weight, bias = linear
    if weight.dtype != x.dtype:
        y = F.linear(y.to(weight.dtype), weight, bias)
        return x.add_(y) if kept is None else x + y
    return (x.add_(bias) if kept is None else x + bias).addmm_(y, weight.t())


def _linear_backward(grad: Tensor, linear: tuple[Tensor, Tensor]) -> Tensor:
    return (grad.to(linear[0].dtype) @ linear[0]).to(grad.dtype)


def _mlp(x: Tensor, block: nn.Module, layer: Linears, kept: list[Tensor] | None) -> Tensor:
    """x + mlp(ln_2(x)), (N, w) -> (N, w). Kept are x and the hidden layer before its activation."""
    (fc, fc_bias), (proj, proj_bias), gelu = layer.fc, layer.proj, isinstance(block.mlp.gelu, nn.GELU)
    k = 1.0 if gelu else QUICK
    a = _norm(block.ln_2, x, kept)
    h = torch.addmm(fc_bias, a.to(layer.dtype), fc.t(), beta=k, alpha=k)  # (N, 4w)
    if kept is None:
        z, out = torch.ops.aten.gelu_(h) if gelu else F.silu(h, inplace=True), x.add_(proj_bias)
    else:
        kept.append(h)
        z, out = F.gelu(h) if gelu else F.silu(h), x + proj_bias
    if z.dtype != out.dtype:
        return out.add_(z @ proj.t(), alpha=1 / k)
    return out.addmm_(z, proj.t(), alpha=1 / k)


def _mlp_backward(
    grad: Tensor, block: nn.Module, layer: Linears, kept: list[Tensor], rows: slice = slice(None)
) -> Tensor:
    h = _pop(kept, 1)[0][rows]
    backward = torch.ops.aten.gelu_backward if isinstance(block.mlp.gelu, nn.GELU) else torch.ops.aten.silu_backward
    g = backward(grad.to(layer.dtype) @ layer.proj[0], h)  # k and 1 / k cancel
    return _norm_backward((g @ layer.fc[0]).to(grad.dtype), block.ln_2, kept, rows).add_(grad)


# -- attention -------------------------------------------------------------------------------------------------


def _attention(qkv0: Tensor, qkv1: Tensor, layout: Layout, H: int, shared: bool, kept: list[Tensor] | None) -> Tensor:
    """Causal self-attention of prefixes (GP, 3w) and suffixes (tokens, 3w), or of the one that all groups share, ->
    (N, w), all heads at once."""
    P, M = layout.P, layout.M
    q0, k0, v0 = _heads(qkv0, P, 3, H)  # (HG, P, dh)
    q1, k1, v1 = _heads(qkv1, M, 3, H, layout.source, layout.G if shared else 1)  # (HGS, M, dh)
    scale = q0.shape[2] ** -0.5
    a0 = torch.baddbmm(_causal(P, q0.dtype), q0, k0.mT, alpha=scale).softmax(-1)  # (HG, P, P)
    front = torch.bmm(k0 * scale, _of_group(q1, layout).mT)  # (HG, P, SM)
    own = torch.baddbmm(_causal(M, q1.dtype).mT, k1, q1.mT, alpha=scale)  # (HGS, M, M)
    a1 = _keys_first(front, own, layout).softmax(0)  # (P + M, HGSM)
    y0 = torch.bmm(a0, v0)
    y1 = torch.bmm(_front(a1, layout).mT, v0).view(v1.shape).baddbmm_(_own(a1, layout).mT, v1)
    if kept is not None:
        kept += (q0, k0, v0, q1, k1, v1, a0, a1)
    return torch.cat([_rows(y0[None], H), _rows(y1[None], H, layout.pack)])  # (N, w)


def _attention_backward(
    grad: Tensor, layout: Layout, H: int, to_prefix: bool, to_suffix: bool, kept: list[Tensor]
) -> Tensor:
    """Gradients of the output's rows (N, w) to those of queries, keys and values (N, 3w), of prefixes, suffixes or
    both. Where none go to prefixes, the output's gradients have no rows for them either."""
    q0, k0, v0, q1, k1, v1, a0, a1 = _pop(kept, 8)
    P, M, GP, scale = layout.P, layout.M, layout.G * layout.P, q0.shape[2] ** -0.5
    (g1,) = _heads(layout.pad(grad[GP:] if to_prefix else grad), M, 1, H)  # rows of padding ask for nothing
    da1 = _keys_first(torch.bmm(v0, _of_group(g1, layout).mT), torch.bmm(v1, g1.mT), layout)
    ds1 = _softmax_backward(da1, a1, 0).mul_(scale)
    found = []
    if to_prefix:
        (g0,) = _heads(grad[:GP], P, 1, H)
        ds0 = _softmax_backward(torch.bmm(g0, v0.mT), a0, -1).mul_(scale)
        d0 = q0.new_empty(3, *q0.shape)
        torch.bmm(ds0, k0, out=d0[0])
        torch.bmm(ds0.mT, q0, out=d0[1]).baddbmm_(_front(ds1, layout), _of_group(q1, layout))
        torch.bmm(a0.mT, g0, out=d0[2]).baddbmm_(_front(a1, layout), _of_group(g1, layout))
        found.append(_rows(d0, H))
    if to_suffix:
        d1 = q1.new_empty(3, *q1.shape)
        torch.bmm(_front(ds1, layout).mT, k0, out=_of_group(d1[0], layout))
        d1[0].baddbmm_(_own(ds1, layout).mT, k1)
        torch.bmm(_own(ds1, layout), q1, out=d1[1])
        torch.bmm(_own(a1, layout), g1, out=d1[2])
        found.append(_rows(d1, H, layout.summed))
    return _joined(found)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _causal(n: int, dtype: torch.dtype) -> Tensor:
    """What each position is shut out from, (n, n): -inf above the diagonal"""
    return torch.full((n, n), float("-inf"), dtype=dtype).triu_(1)


def _heads(x: Tensor, length: int, n: int, H: int, source: Tensor | None = None, groups: int = 1) -> Tensor:
    """Rows of n parts (B * length, nw), or those that `source` picks, by heads, once for each of the groups:
    (n, H * groups * B, length, dh)"""
    x = x.unflatten(1, (n, H, -1)).permute(1, 2, 0, 3)
    if source is not None:
        x = x.index_select(2, source[: len(source) // groups])
    if groups > 1:
        x = x[:, :, None].expand(-1, -1, groups, -1, -1)
    return x.reshape(n, -1, length, x.shape[-1])


def _rows(x: Tensor, H: int, packed: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Back again: (n, HB, length, dh) -> (B * length, nw), or what is packed of them"""
    n, _, _, dh = x.shape
    x = x.view(n, H, -1, dh).permute(2, 0, 1, 3)
    x = x if packed is None else packed(x)
    return x.reshape(-1, n * H * dh)


def _of_group(x: Tensor, layout: Layout) -> Tensor:
    """The suffixes of a group as one matrix, which meets its prefix as one: (HGS, M, *) -> (HG, SM, *)"""
    return x.view(-1, layout.S * layout.M, x.shape[2])


def _keys_first(front: Tensor, own: Tensor, layout: Layout) -> Tensor:
    """Scores of the suffixes' queries with the keys of their prefixes (HG, P, SM) and their own (HGS, M, M) ->
    (P + M, HGSM)"""
    scores = own.new_empty(layout.P + layout.M, len(own) * layout.M)
    _front(scores, layout).copy_(front)
    _own(scores, layout).copy_(own)
    return scores


def _front(scores: Tensor, layout: Layout) -> Tensor:
    """Those with the keys of the prefixes, (P + M, HGSM) -> (HG, P, SM)"""
    return scores[: layout.P].unflatten(1, (-1, layout.S * layout.M)).transpose(0, 1)


def _own(scores: Tensor, layout: Layout) -> Tensor:
    """Those with the suffixes' own keys, (P + M, HGSM) -> (HGS, M, M)"""
    return scores[layout.P :].unflatten(1, (-1, layout.M)).transpose(0, 1)


def _softmax_backward(grad: Tensor, output: Tensor, dim: int) -> Tensor:
    return torch.ops.aten._softmax_backward_data(grad, output, dim, output.dtype)


# -- attention of the EOT rows ---------------------------------------------------------------------------------


def _eot_attention(a: Tensor, attn: nn.Module, layout: Layout, H: int, kept: list[Tensor] | None) -> Tensor:
    """What the EOT rows find among normalised rows a, (N, w) -> (GS, w), before the output projection."""
    G, S, P, M, w = layout.G, layout.S, layout.P, layout.M, a.shape[1]
    w_q, w_k, w_v = attn.in_proj_weight.chunk(3)
    b_q, _, b_v = attn.in_proj_bias.chunk(3)  # the keys' bias is the same for all keys, so softmax does not see it
    scale = (w // H) ** -0.5
    prefix = a[: G * P].view(G, 1, P, w).expand(-1, H, -1, -1).reshape(G * H, P, w)
    suffix = layout.spread(a[G * P :]).view(G * S, M, w)
    q = F.linear(a.index_select(0, layout.eot), w_q * scale, b_q * scale)  # (GS, w)
    q = torch.bmm(q.view(G * S, H, -1).transpose(0, 1), w_k.view(H, -1, w))  # W_k^T q, (H, GS, w)
    scores = _eot_products(q, prefix, suffix, layout)
    scores[..., P:].masked_fill_(layout.after_eot, float("-inf"))
    p = scores.softmax(-1)  # (GS, H, P + M)
    found = _eot_sums(p, prefix, suffix, layout)  # sum_j p_j a_j, (H, GS, w)
    y = torch.bmm(found, w_v.view(H, -1, w).mT)  # (H, GS, dh)
    if kept is not None:
        kept += (prefix, suffix, q, p)
    return y.transpose(0, 1).reshape(G * S, w) + b_v


def _eot_attention_backward(
    grad: Tensor, attn: nn.Module, layout: Layout, H: int, to_prefix: bool, kept: list[Tensor]
) -> Tensor:
    """Gradients of the output (GS, w) to the normalised rows (N, w), of suffixes alone or of both."""
    prefix, suffix, q, p = _pop(kept, 4)
    G, S, P, w = layout.G, layout.S, layout.P, prefix.shape[2]
    w_q, w_k, w_v = attn.in_proj_weight.chunk(3)
    y = torch.bmm(grad.view(G * S, H, -1).transpose(0, 1), w_v.view(H, -1, w))  # (H, GS, w)
    ds = _softmax_backward(_eot_products(y, prefix, suffix, layout), p, -1)
    dq = torch.bmm(_eot_sums(ds, prefix, suffix, layout), w_k.view(H, -1, w).mT)  # (H, GS, dh)
    of_suffix = torch.bmm(p[..., P:].mT, y.transpose(0, 1)).baddbmm_(ds[..., P:].mT, q.transpose(0, 1))
    found = [layout.summed(of_suffix.flatten(0, 1))]
    if to_prefix:
        of_prefix = torch.bmm(_eot_front(p, layout).mT, _groups_first(y, layout))  # (GH, P, w)
        of_prefix.baddbmm_(_eot_front(ds, layout).mT, _groups_first(q, layout))
        found.insert(0, of_prefix.view(G, H, P, w).sum(1).flatten(0, 1))
    rows = layout.eot if to_prefix else layout.eot - G * P
    dq = dq.transpose(0, 1).reshape(G * S, w)
    return _joined(found).index_add_(0, rows, dq @ (w_q * (w // H) ** -0.5))


def _eot_products(x: Tensor, prefix: Tensor, suffix: Tensor, layout: Layout) -> Tensor:
    """Products of vectors (H, GS, w) with the rows before EOT of their own prompts, (GS, H, P + M)"""
    front = torch.bmm(_groups_first(x, layout), prefix.mT).unflatten(0, (layout.G, -1))  # (G, H, S, P)
    own = torch.bmm(x.transpose(0, 1), suffix.mT)
    return torch.cat([front.transpose(1, 2).flatten(0, 1), own], dim=2)


def _eot_sums(weights: Tensor, prefix: Tensor, suffix: Tensor, layout: Layout) -> Tensor:
    """Sums of those rows by weights (GS, H, P + M), (H, GS, w)"""
    front = torch.bmm(_eot_front(weights, layout), prefix).unflatten(0, (layout.G, -1))  # (G, H, S, w)
    own = torch.bmm(weights[..., layout.P :], suffix)
    return front.transpose(0, 1).flatten(1, 2) + own.transpose(0, 1)


def _eot_front(weights: Tensor, layout: Layout) -> Tensor:
    """Those of the prefix, (GS, H, P + M) -> (GH, S, P)"""
    return weights[..., : layout.P].unflatten(0, (layout.G, layout.S)).transpose(1, 2).flatten(0, 1)


def _groups_first(x: Tensor, layout: Layout) -> Tensor:
    """(H, GS, w) -> (GH, S, w)"""
    return x.unflatten(1, (layout.G, layout.S)).transpose(0, 1).flatten(0, 1)
