"""Prompts: context vectors and class names, put together as token embeddings.

CoOp (Zhou et al., IJCV 2022) replaces a prompt's words by learned context vectors; CoCoOp (CVPR 2022) adds
to each of them a bias made from the image, SHIP a bias made from a latent. Names are tokenised and embedded
once, in `ClassTokens`; a training step only puts tensors side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .clip import CONTEXT_LENGTH, EOT_ID, SOS_ID, FrozenCLIP, encode_words
from .text_tower import Prompts

POSITIONS = ("end", "middle", "front")


@dataclass(frozen=True)
class ClassTokens:
    """Class names as frozen token embeddings: "<name> . EOT", for prompts with a given number of vectors.

    Attributes:
        names: the C class names as given.
        sos: the start token's embedding, (1, w).
        suffix: name, full stop and EOT, zero after EOT, (C, M, w).
        lengths: positions up to and with EOT, (C,), on the CPU.
        name_lengths: positions of the bare name, (C,), on the CPU.
    """

    names: tuple[str, ...]
    sos: Tensor
    suffix: Tensor
    lengths: Tensor
    name_lengths: Tensor

    def __len__(self) -> int:
        return len(self.names)

    @staticmethod
    def of(clip: FrozenCLIP, names: list[str], n_ctx: int) -> ClassTokens:
        """Tokenise and embed class names (underscores read as blanks).

        Raises:
            ValueError: no names, an empty one, or one that leaves no room for the context vectors.
        """
        if not names:
            raise ValueError("there are no class names to make prompts of: the data set has no classes")
        rows, name_lengths = [], []
        for name in names:
            plain = name.replace("_", " ")
            if not plain.strip():
                raise ValueError(f"a class has the empty name {name!r}: give every class a name")
            ids = encode_words(plain + ".")
            length = 1 + n_ctx + len(ids) + 1
            if length > CONTEXT_LENGTH:
                raise ValueError(
                    f"class name {_shorten(name)!r} needs {length} tokens with {n_ctx} context vectors, and CLIP "
                    f"reads {CONTEXT_LENGTH}: shorten the name or use fewer context vectors"
                )
            rows.append([*ids, EOT_ID])
            name_lengths.append(min(len(encode_words(plain)), len(ids)))
        lengths = torch.tensor([len(row) for row in rows])
        width = int(lengths.max())
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])  # (C, M)
        filled = torch.arange(width) < lengths[:, None]
        suffix = clip.embed(ids) * filled[..., None].to(clip.device, clip.dtype)
        sos = clip.embed(torch.tensor([SOS_ID]))
        return ClassTokens(tuple(names), sos, suffix, lengths, torch.tensor(name_lengths))


class PromptLearner(nn.Module):
    """Learned context vectors; `forward` makes the prompts of a set of classes with them.

    The one parameter is `ctx`: (n, w), or (C, n, w) with a context for each class (CSC). Its state dict is
    readable by CoOp's own tools.

    Args:
        clip: the frozen model; gives width, precision and the embeddings of words.
        n_ctx: number of context vectors, unless `words` are given.
        words: start from the embeddings of these words ("a photo of a"), one vector a token; always shared.
        n_classes: give every class a context of its own (CSC); 0: one context shared by all.
        position: where the class name stands in the context: at the end, in the middle or in front.
        rng: the source of random contexts, N(0, 0.02).
    """

    def __init__(self, *args: Any, **options: Any):
        super().__init__()
        self.start(*args, **options)

    def start(
        self,
        clip: FrozenCLIP,
        n_ctx: int,
        words: str = "",
        n_classes: int = 0,
        position: str = "end",
        rng: torch.Generator | None = None,
    ) -> None:
        """Set the context to its initial values."""
        if position not in POSITIONS:
            raise ValueError(f"CLASS_TOKEN_POSITION is {position!r}: choose one of {', '.join(POSITIONS)}")
        if words:
            ctx = clip.embed(torch.tensor(encode_words(words.replace("_", " "))))
        else:
            shape = (n_classes, n_ctx, clip.width) if n_classes else (n_ctx, clip.width)
            ctx = (torch.randn(shape, generator=rng) * 0.02).to(clip.device, clip.dtype)
        self.ctx = nn.Parameter(ctx)
        self.position = position

    @property
    def n_ctx(self) -> int:
        return self.ctx.shape[-2]

    def forward(self, classes: ClassTokens, bias: Tensor | None = None) -> Prompts:
        """Prompts of all C classes.

        Without a bias one group of C prompts; with a bias (B, w), added to each shared context vector
        (CoCoOp, eq. 3), B groups of C prompts.
        """
        sos = classes.sos[None]  # (1, 1, w)
        if bias is not None:
            ctx = self.ctx + bias[:, None]  # (B, n, w)
            B = len(bias)
            prefix = torch.cat([sos.expand(B, -1, -1), ctx], dim=1)  # (B, 1 + n, w)
            return Prompts(prefix, classes.suffix.expand(B, -1, -1, -1), classes.lengths)
        if self.position == "end" and self.ctx.dim() == 2:
            prefix = torch.cat([sos, self.ctx[None]], dim=1)  # (1, 1 + n, w)
            return Prompts(prefix, classes.suffix[None], classes.lengths)
        suffix = prepend(self.ctx, classes.suffix)  # (C, n + M, w)
        if self.position != "end":
            order = self._order(classes).to(suffix.device)  # (C, n + M)
            suffix = suffix.gather(1, order[..., None].expand_as(suffix))
        return Prompts(sos, suffix[None], classes.lengths + self.n_ctx)

    def _order(self, classes: ClassTokens) -> Tensor:
        """For each class the places that [context, name, rest] take in the prompt, as indices to gather by."""
        n, M = self.n_ctx, classes.suffix.shape[1]
        front = 0 if self.position == "front" else n // 2  # context vectors before the name
        rows = []
        for length in classes.name_lengths.tolist():
            name = range(n, n + length)
            rows.append([*range(front), *name, *range(front, n), *range(n + length, n + M)])
        return torch.tensor(rows)


def instance_prompts(ctx: Tensor, bias: Tensor, classes: ClassTokens, labels: Tensor) -> Prompts:
    """One prompt an instance, for the instance's own class: p_i + r, then the class name (SHIP, section 3.2).

    Args:
        ctx: shared context vectors, (n, w).
        bias: one bias r an instance, (B, w).
        classes: the class names.
        labels: each instance's class, (B,).

    Returns:
        One group of B prompts.
    """
    index = labels.to(classes.suffix.device)
    suffix = torch.cat([ctx + bias[:, None], classes.suffix[index]], dim=1)  # (B, n + M, w)
    return Prompts(classes.sos[None], suffix[None], classes.lengths[labels.cpu()] + len(ctx))


def prepend(ctx: Tensor, suffix: Tensor) -> Tensor:
    """Context (n, w) or (C, n, w) in front of C suffixes (C, M, w): (C, n + M, w)."""
    return torch.cat([ctx.expand(len(suffix), -1, -1), suffix], dim=1)


def _shorten(name: str) -> str:
    return name if len(name) <= 60 else name[:57] + "..."
