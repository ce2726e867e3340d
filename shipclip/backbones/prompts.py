"""Prompts: context vectors and class names, put together as token embeddings.

CoOp (Zhou et al., IJCV 2022) replaces a prompt's words by learned context vectors; CoCoOp (CVPR 2022) adds
to each of them a bias made from the image, SHIP a bias made from a latent. Names are tokenised and embedded
once, in `ClassTokens`; a training step only puts tensors side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UserError

POSITIONS = ("end", "middle", "front")


@dataclass(frozen=True)
class Prompts:
    """G groups of S prompts; the prompts of a group begin alike.

    Attributes:
        prefix: embeddings that all prompts of a group begin with, the start token (if there is one) first, (G, P, w).
        suffix: embeddings of what follows, padded at the end, (G, S, M, w).
        lengths: number of suffix positions up to and with EOT, (S,), on the CPU.
        tree: of frozen suffixes the prefix tree, if it is known: a node for each position, (S, M), on the CPU, the same
            one where prompts are equal as far as there.
    """

    prefix: Tensor
    suffix: Tensor
    lengths: Tensor
    tree: Tensor | None = None

    def __len__(self) -> int:
        return len(self.suffix) * self.suffix.shape[1]


@dataclass(frozen=True)
class ClassTokens:
    """Class names as frozen token embeddings: "<name> . EOT", for prompts with a given number of vectors.

    Attributes:
        names: the C class names as given.
        start: the start token's embedding, (P, w); P is 1, or 0 for towers without one.
        suffix: name, full stop and EOT, zero after EOT, (C, M, w).
        lengths: positions up to and with EOT, (C,), on the CPU.
        name_lengths: positions of the bare name, (C,), on the CPU.
        tree: as in `Prompts`, (C, M), on the CPU.
    """

    names: tuple[str, ...]
    start: Tensor
    suffix: Tensor
    lengths: Tensor
    name_lengths: Tensor
    tree: Tensor

    def __len__(self) -> int:
        return len(self.names)

    def part(self, first: int, last: int) -> ClassTokens:
        """The classes first ... last - 1, as views."""
        rows = slice(first, last)
        columns = (one[rows] for one in (self.suffix, self.lengths, self.name_lengths, self.tree))
        return ClassTokens(self.names[rows], self.start, *columns)


class PromptLearner(nn.Module):
    """Learned context vectors; `forward` makes the prompts of a set of classes with them.

    The one parameter is `ctx`: (n, w), or (C, n, w) with a context for each class (CSC). Its state dict is
    readable by CoOp's own tools.

    Args:
        backbone: the frozen model; gives width, precision and the embeddings of words.
        n_ctx: number of context vectors, unless `words` are given.
        words: start from the embeddings of these words ("a photo of a"), one vector a token; always shared.
        n_classes: give every class a context of its own (CSC); 0: one context shared by all.
        position: where the class name stands in the context: at the end, in the middle or in front.
        rng: the source of random contexts, N(0, 0.02).
    """

    def __init__(
        self,
        backbone: Any,
        n_ctx: int,
        words: str = "",
        n_classes: int = 0,
        position: str = "end",
        rng: torch.Generator | None = None,
    ):
        super().__init__()
        if position not in POSITIONS:
            raise UserError(f"CLASS_TOKEN_POSITION is {position!r}: choose one of {', '.join(POSITIONS)}")
        self.ctx = nn.Parameter(initial_context(backbone, n_ctx, words, n_classes, rng))
        self.position = position

    @property
    def n_ctx(self) -> int:
        return self.ctx.shape[-2]

    def forward(self, classes: ClassTokens, bias: Tensor | None = None) -> Prompts:
        return class_prompts(self.ctx, classes, self.position, bias)


def initial_context(
    backbone: Any, n_ctx: int, words: str = "", n_classes: int = 0, rng: torch.Generator | None = None
) -> Tensor:
    """Context vectors before training: words' embeddings, or N(0, 0.02), (n, w) or (n_classes, n, w)."""
    if words:
        return backbone.embed_words(words)
    shape = (n_classes, n_ctx, backbone.width) if n_classes else (n_ctx, backbone.width)
    return (torch.randn(shape, generator=rng) * 0.02).to(backbone.device, backbone.dtype)


def words_of(text: str) -> int:
    """How many words a context starts from (CTX_INIT), which set its number of vectors."""
    return len(text.replace("_", " ").split())


def class_prompts(ctx: Tensor, classes: ClassTokens, position: str = "end", bias: Tensor | None = None) -> Prompts:
    """Prompts of all C classes.

    Without a bias one group of C prompts; with a bias (B, w), added to each shared context vector (CoCoOp, eq. 3), B
    groups of C prompts.

    Args:
        ctx: context vectors, (n, w), or (C, n, w) with a context for each class.
        classes: the class names.
        position: of the class name in the context: end, middle or front.
        bias: (B, w).
    """
    start = classes.start[None]  # (1, P, w)
    if bias is not None:
        B, biased = len(bias), ctx + bias[:, None]  # (B, n, w)
        prefix = torch.cat([start.expand(B, -1, -1), biased], dim=1)  # (B, P + n, w)
        return Prompts(prefix, classes.suffix.expand(B, -1, -1, -1), classes.lengths, classes.tree)
    if position == "end" and ctx.dim() == 2:
        prefix = torch.cat([start, ctx[None]], dim=1)  # (1, P + n, w)
        return Prompts(prefix, classes.suffix[None], classes.lengths, classes.tree)
    suffix = prepend(ctx, classes.suffix)  # (C, n + M, w)
    n = ctx.shape[-2]
    if position != "end":
        order = _order(classes, n, n // 2 if position == "middle" else 0).to(suffix.device)  # (C, n + M)
        suffix = suffix.gather(1, order[..., None].expand_as(suffix))
    return Prompts(start, suffix[None], classes.lengths + n)


def instance_prompts(ctx: Tensor, bias: Tensor, classes: ClassTokens, labels: Tensor) -> Prompts:
    """One prompt an instance, for the instance's own class: p_i + r, then the class name (SHIP, section 3.2).

    Args:
        ctx: shared context vectors, (n, w).
        bias: one bias r an instance, (B, w).
        classes: the class names.
        labels: each instance's class, (B,), on the CPU or wherever the classes are.

    Returns:
        One group of B prompts.
    """
    index = labels.to(classes.suffix.device)
    suffix = torch.cat([ctx + bias[:, None], classes.suffix[index]], dim=1)  # (B, n + M, w)
    return Prompts(classes.start[None], suffix[None], classes.lengths[labels.cpu()] + len(ctx))


def prepend(ctx: Tensor, suffix: Tensor) -> Tensor:
    """Context (n, w) or (C, n, w) in front of C suffixes (C, M, w): (C, n + M, w)."""
    return torch.cat([ctx.expand(len(suffix), -1, -1), suffix], dim=1)


def prefix_tree(ids: Tensor) -> Tensor:
    """For each position of rows of ids (N, M), which are -1 behind their ends, the first one, counted through all rows,
    up to which a row is the same, (N, M)."""
    tree, columns, many = torch.empty_like(ids), ids.shape[1], int(ids.max()) + 2
    same = np.zeros(len(ids), dtype=np.int64)
    for j, column in enumerate(ids.numpy().T):  # rows that were the same so far, by their next ids
        _, first, same = np.unique(same * many + column, return_index=True, return_inverse=True)
        tree[:, j] = torch.from_numpy(first[same] * columns + j)
    return tree


def _order(classes: ClassTokens, n: int, front: int) -> Tensor:
    """For each class the places that [context, name, rest] take in the prompt, as indices to gather by.

    The first `front` of the n context vectors stand in front of the name, the others behind it.
    """
    M = classes.suffix.shape[1]
    rows = []
    for length in classes.name_lengths.tolist():
        name = range(n, n + length)
        rows.append([*range(front), *name, *range(front, n), *range(n + length, n + M)])
    return torch.tensor(rows)
