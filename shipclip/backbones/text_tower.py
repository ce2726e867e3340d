"""CLIP's frozen text tower, exact, without the positions that cannot matter.

OpenAI's pass runs 77 positions for every prompt and keeps one row, the end-of-text token's (EOT). The
transformer is causal, so three things may be left out without changing that row:

* positions after EOT: prompts are cut there, and ragged ones are packed without padding;
* repetitions of what prompts have in common: a shared prefix (start token and context vectors) is computed
  once per group, and the prompts of the group only attend to its keys and values; tokens that names or texts
  begin with alike ("red ball", "red box") are computed once as well, but for their attention;
* everything but the EOT row after the last layer's keys and values.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..profiling import a_part
from . import frozen_text
from .hooks import NONE, Hooks
from .prompts import Prompts
from .recompute import in_parts

AT_ONCE = 1024  # prompts of a group in one pass; bounds the memory of large label spaces
HELD = 14  # numbers held for each number of a layer's input
COPIED = 3  # by the modules' pass beside them for each position of a prompt, its prefix among them


class TextTower:
    """A causal text transformer with OpenAI's modules: prompt embeddings in, text features out.

    It borrows the model's own (frozen) modules, so it computes in whatever precision they have.

    Args:
        model: has transformer.resblocks, positional_embedding (positions, w), ln_final and text_projection (w, d).

    Attributes:
        layers: how many.
    """

    def __init__(self, model: nn.Module):
        self.blocks = list(model.transformer.resblocks)
        self.layers = len(self.blocks)
        self.positional_embedding = model.positional_embedding
        self.ln_final = model.ln_final
        self.text_projection = model.text_projection
        self.heads = self.blocks[0].attn.num_heads
        modules = (*self.blocks, self.ln_final)
        self.weights = [w for module in modules for w in module.parameters()]
        self.weights += [self.positional_embedding, self.text_projection]
        self.rounded: frozen_text.Rounded | None = None

    @a_part("text")
    def __call__(self, prompts: Prompts, hooks: Hooks = NONE) -> Tensor:
        """Text features of all prompts, not normalised: (G, S, d)."""
        if hooks is NONE and prompts.suffix.shape[1] > AT_ONCE:
            return self._in_chunks(prompts)
        if hooks is NONE and frozen_text.suits(self, prompts):
            tree = None if prompts.suffix.requires_grad else prompts.tree  # what is learned need not stay the same
            return frozen_text.run(self, prompts, Layout.of(prompts, tree))
        layout = Layout.of(prompts)
        positions = self.positional_embedding.to(prompts.prefix.dtype)
        split = prompts.prefix.shape[1]
        prefix = prompts.prefix + positions[:split]  # (G, P, w)
        suffix = prompts.suffix + positions[split : split + layout.M]  # (G, S, M, w)
        x = torch.cat([prefix.flatten(0, 1), layout.pack(suffix.flatten(0, 2))])  # (N, w), N = GP + tokens

        for i, block in enumerate(self.blocks[:-1]):
            x = _replace(x, hooks.deep.get(i), layout)
            x = x + self._attention(block.attn, block.ln_1(x), layout, i, hooks)
            x = x + block.mlp(block.ln_2(x))

        i, block = self.layers - 1, self.blocks[-1]  # only the EOT rows go through it, attending to all the others
        x = _replace(x, hooks.deep.get(i), layout)
        y = self._attention(block.attn, block.ln_1(x), layout, i, hooks, eot_only=True)  # (GS, w)
        x = x.index_select(0, layout.eot) + y
        x = x + block.mlp(block.ln_2(x))
        return (self.ln_final(x) @ self.text_projection).unflatten(0, (layout.G, layout.S))  # (G, S, d)

    def _in_chunks(self, prompts: Prompts) -> Tensor:
        """The prompts of each group in parts, held or recomputed."""

        suffixes, lengths = prompts.suffix.split(AT_ONCE, 1), prompts.lengths.split(AT_ONCE)
        trees = [None] * len(lengths) if prompts.tree is None else prompts.tree.split(AT_ONCE)
        parts = [(prompts.prefix, *part) for part in zip(suffixes, lengths, trees, strict=True)]
        found = in_parts(
            lambda *part: self(Prompts(*part)), parts, lambda *part: self.held(Prompts(*part)), prompts.suffix.device
        )
        return torch.cat(found, dim=1)

    def held(self, prompts: Prompts) -> int:
        """Bytes, about, that a pass of these prompts takes until its backward pass."""
        layer = HELD * (prompts.prefix.nbytes + prompts.suffix.nbytes)
        if not frozen_text.suits(self, prompts):
            layer += COPIED * (prompts.suffix.shape[1] * prompts.prefix.nbytes + prompts.suffix.nbytes)
        return layer * self.layers

    def _attention(
        self, attn: nn.Module, x: Tensor, layout: Layout, layer: int, hooks: Hooks, eot_only: bool = False
    ) -> Tensor:
        """Causal self-attention, (N, w) -> (N, w); with `eot_only` the queries are the EOT rows, -> (GS, w)."""
        qkv = hooks.add_projection(layer, x, F.linear(x, attn.in_proj_weight, attn.in_proj_bias))  # (N, 3w)
        GP = layout.G * layout.P
        q0, k0, v0 = self._heads(qkv[:GP], layout.G, layout.P)  # (G, H, P, dh)
        q1, k1, v1 = self._heads(layout.pad(qkv[GP:]), layout.G * layout.S, layout.M)  # (GS, H, M, dh)
        k1 = torch.cat([layout.per_prompt(k0), k1], dim=2)  # (GS, H, P + M, dh)
        v1 = torch.cat([layout.per_prompt(v0), v1], dim=2)
        if eot_only:
            q1 = q1.gather(2, layout.eot_query(q1))  # (GS, H, 1, dh)
            y1 = F.scaled_dot_product_attention(q1, k1, v1, attn_mask=layout.eot_mask)
            return attn.out_proj(y1.flatten(1))
        # A prefix of one token, the start token, can attend to nothing but itself.
        y0 = v0 if layout.P == 1 else F.scaled_dot_product_attention(q0, k0, v0, is_causal=True)
        y1 = F.scaled_dot_product_attention(q1, k1, v1, attn_mask=layout.causal_mask)
        y = torch.cat([_merge_heads(y0), layout.pack(_merge_heads(y1))])  # (N, w)
        return attn.out_proj(y)

    def _heads(self, qkv: Tensor, batch: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
        qkv = qkv.view(batch, length, 3, self.heads, -1)
        return qkv.permute(2, 0, 3, 1, 4).unbind(0)  # three times (batch, H, length, dh)


def _replace(x: Tensor, vectors: Tensor | None, layout: Layout) -> Tensor:
    """The context vectors (n, w) of a single group, which stand behind its start token, replaced by others."""
    if vectors is None:
        return x
    if layout.G != 1 or 1 + len(vectors) != layout.P:
        raise ValueError("deep context vectors take the place of shared ones, in a single group of prompts")
    return torch.cat([x[:1], vectors.to(x.dtype), x[layout.P :]])


def _merge_heads(y: Tensor) -> Tensor:
    return y.transpose(1, 2).flatten(2).flatten(0, 1)  # (B, H, L, dh) -> (B * L, w)


@dataclass(frozen=True)
class Layout:
    """Where each token of a ragged batch of prompts lies, packed and padded.

    Packed, a token that several prompts of a group begin with alike has one row, and padded, one in each of them.
    """

    G: int
    S: int
    P: int
    M: int
    rows: Tensor | None  # the padded row that holds each token, its first one, (tokens,); None where every row does
    source: Tensor | None  # for each padded row the packed suffix row that fills it, (GSM,); None likewise
    others: tuple[Tensor, Tensor] | None  # the padded rows that hold a token once more, and their packed ones
    eot: Tensor  # the EOT's rows among all packed rows, prefixes first, (GS,)
    last: Tensor  # the EOT's place in its padded suffix, (GS,)
    after_eot: Tensor  # suffix positions that it may not attend to, (GS, 1, M)

    @staticmethod
    def of(prompts: Prompts, tree: Tensor | None = None) -> Layout:
        """With a tree of the suffixes (S, M) its nodes have one row each."""
        (G, S, M, _), P = prompts.suffix.shape, prompts.prefix.shape[1]
        nodes = None if tree is None else tree.numpy().tobytes()
        return _layout(G, S, P, M, tuple(prompts.lengths.tolist()), nodes, prompts.suffix.device)

    @cached_property
    @torch.inference_mode(False)  # they will be trained with, whatever asks first
    def causal_mask(self) -> Tensor:
        """Suffix position x (prefix + suffix position), (M, P + M)"""
        return torch.ones(self.M, self.P + self.M, dtype=torch.bool, device=self.last.device).tril(diagonal=self.P)

    @cached_property
    @torch.inference_mode(False)
    def eot_mask(self) -> Tensor:
        """What each EOT may attend to, (GS, 1, 1, P + M)"""
        return F.pad(~self.after_eot, (self.P, 0), value=True)[:, None]

    def pack(self, padded: Tensor, groups: int | None = None) -> Tensor:
        """(GSM, *) -> (tokens, *), of all groups or of the first ones."""
        if self.rows is None:
            return padded
        share = self.rows if groups is None else self.rows[: len(self.rows) * groups // self.G]
        return padded.index_select(0, share)

    def spread(self, packed: Tensor) -> Tensor:
        """(tokens, *) -> (GSM, *), each token to all its places, EOT to those after it as well."""
        return packed if self.source is None else packed.index_select(0, self.source)

    def summed(self, padded: Tensor) -> Tensor:
        """(GSM, *) -> (tokens, *), the sum over all places of a token, as its gradient is."""
        first = self.pack(padded)
        if self.others is None:
            return first
        places, rows = self.others
        return first.index_add_(0, rows, padded.index_select(0, places))

    def pad(self, packed: Tensor) -> Tensor:
        """(tokens, *) -> (GSM, *), each token to its first place, and zeros."""
        if self.rows is None:
            return packed
        empty = packed.new_zeros(self.G * self.S * self.M, packed.shape[1])
        return empty.index_copy_(0, self.rows, packed)

    def per_prompt(self, x: Tensor) -> Tensor:
        """A group's keys or values for each of its prompts, (G, H, P, dh) -> (GS, H, P, dh)"""
        return x[:, None].expand(-1, self.S, -1, -1, -1).flatten(0, 1)

    def eot_query(self, q: Tensor) -> Tensor:
        return self.last[:, None, None, None].expand(-1, q.shape[1], 1, q.shape[3])


@lru_cache(maxsize=32)  # some are asked for once: random labels have other lengths each time
@torch.inference_mode(False)  # they will be trained with, whatever asks first
def _layout(
    G: int, S: int, P: int, M: int, lengths: tuple[int, ...], nodes: bytes | None, device: torch.device
) -> Layout:
    """Names that do not change have their layout made once, and are sent to the device once."""
    rows, place, last = np.arange(S * M), np.arange(M), np.array(lengths)[:, None] - 1  # (SM,), (M,), (S, 1)
    after = place > last  # (S, M)
    holder = np.where(after, last, place) + rows[::M, None]  # what lies after EOT is filled with it, (S, M)
    if nodes is not None:
        _, first, node = np.unique(np.frombuffer(nodes, dtype=np.int64), return_index=True, return_inverse=True)
        holder = first[node][holder]
    holder = holder.ravel()  # the padded row that holds each one's token, (SM,)
    holds = holder == rows
    first, source = rows[holds], (holds.cumsum() - 1)[holder]  # (tokens of a group,), (SM,)
    again, tokens = rows[~holds & ~after.ravel()], len(first)

    def of_groups(rows: np.ndarray, stride: int) -> Tensor:
        return torch.from_numpy((np.arange(G)[:, None] * stride + rows).ravel()).to(device)

    every = tokens == S * M
    return Layout(
        G,
        S,
        P,
        M,
        None if every else of_groups(first, S * M),
        None if every else of_groups(source, tokens),
        (of_groups(again, S * M), of_groups(source[again], tokens)) if len(again) else None,
        G * P + of_groups(source[M - 1 :: M], tokens),
        of_groups(last[:, 0], 0),
        torch.from_numpy(np.tile(after, (G, 1)))[:, None].to(device),
    )
