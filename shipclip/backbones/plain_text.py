"""open_clip's texts: its tokenizers, and the plain pass for text towers that `TextTower` does not fit.

A tower without a causal mask (SigLIP) sees the padding behind a text and may take its feature there, so nothing can be
left out: prompts are padded to their full length with the embedding of the padding token. What goes in are embeddings,
as into `TextTower`, so learned context vectors work here too.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UserError
from ..profiling import a_part
from .hooks import NONE, Hooks
from .prompts import Prompts

ROWS = 512  # prompts that pass at a time: the padding costs memory
LETTERS = 3  # of fewer letters a token says nothing


class PlainText:
    """open_clip's own transformer over full-length prompts.

    Args:
        text: a TextTransformer, or what has its attributes.
        tokenizer: of its texts; gives length, padding and what stands behind the padding.
        embedding: the table of token embeddings.
        name: of the model, for messages.
    """

    def __init__(self, text: Any, tokenizer: Any, embedding: nn.Embedding, name: str):
        self.text, self.tokenizer, self.embedding, self.name = text, tokenizer, embedding, name

    @a_part("text")
    def __call__(self, prompts: Prompts, hooks: Hooks | None = None) -> Tensor:
        """Text features of all prompts, not normalised: (G, S, d)."""
        if hooks is not None and hooks != NONE:
            raise UserError(f"the text tower of {self.name} takes no deep prompts and no LoRA: choose a CLIP's")
        G, S = prompts.suffix.shape[:2]
        x, filled = self._pad(prompts)
        parts = [self.encode(*part) for part in zip(x.split(ROWS), filled.split(ROWS), strict=True)]
        return torch.cat(parts).unflatten(0, (G, S))

    def encode(self, x: Tensor, filled: Tensor) -> Tensor:
        """Features of padded prompts (B, L, w), whose own positions are `filled`, (B, L): (B, d)."""
        text, type_ = self.text, self.text.transformer.get_cast_dtype()
        x, mask = x.to(type_), text.attn_mask
        appended = getattr(text, "cls_emb", None)  # CoCa's; the feature is taken there, whatever the pooling
        if appended is not None or getattr(text, "use_pad_mask", False):
            # As open_clip has it, a token equal to the padding is hidden wherever it stands (CoCa: "!" is its id 0).
            valid = (x != self._embed([text.pad_id], type_)).any(dim=-1)  # (B, L)
            if appended is not None:
                x = torch.cat([x, appended.to(type_).expand(len(x), 1, -1)], dim=1)
                one = valid.new_ones(len(x), 1)
                # CoCa's weights were trained with a mask that is shifted by one; open_clip keeps it.
                order = [valid, one] if getattr(text, "correct_cls_mask", False) else [one, valid]
                valid = torch.cat(order, dim=1)
            hidden = torch.zeros(valid.shape, dtype=type_, device=x.device).masked_fill(~valid, float("-inf"))
            hidden = hidden[:, None].expand(-1, x.shape[1], -1)  # (B, L, L)
            mask = (hidden if mask is None else hidden + mask.to(type_)).repeat_interleave(text.heads, dim=0)
        x = text.transformer(x + text.positional_embedding.to(type_), attn_mask=mask)
        if appended is not None or text.pool_type == "last":
            x = x[:, -1]
        elif text.pool_type == "first":
            x = x[:, 0]
        else:  # argmax and eos: both are the place of the last token (see `open_clip.check_pooling`)
            x = x[torch.arange(len(x), device=x.device), filled.sum(dim=1) - 1]
        x, project = text.ln_final(x), text.text_projection
        if project is None:
            return x
        return project(x) if isinstance(project, nn.Module) else x @ project

    def _pad(self, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """Prompts over the whole length L, (GS, L, w), and which positions they fill, (GS, L)."""
        (G, S, M, _), P, token = prompts.suffix.shape, prompts.prefix.shape[1], self.tokenizer
        room = token.length - P - M
        if room < 0:
            raise ValueError(f"prompts of {P + M} positions; {self.name} reads {token.length}")
        x = torch.cat([prompts.prefix[:, None].expand(-1, S, -1, -1), prompts.suffix], dim=2).flatten(0, 1)
        x = F.pad(x, (0, 0, 0, room))
        filled = torch.arange(token.length) < (P + prompts.lengths.repeat(G))[:, None]
        filled = filled.to(x.device)
        x = torch.where(filled[..., None], x, self._embed([token.pad], x.dtype))
        if token.tail:
            x = torch.cat([x, self._embed(token.tail, x.dtype).expand(len(x), -1, -1)], dim=1)
            filled = F.pad(filled, (0, len(token.tail)))
        return x, filled

    def _embed(self, ids: Any, type_: torch.dtype) -> Tensor:
        return self.embedding(torch.tensor(ids, device=self.embedding.weight.device)).to(type_)


class TransformersText(PlainText):
    """A text tower of Hugging Face's (open_clip's HFTextEncoder): its own model, pooling and projection."""

    def encode(self, x: Tensor, filled: Tensor) -> Tensor:
        text, mask = self.text, torch.ones_like(filled, dtype=torch.long)
        if self.tokenizer.pad == text.config.pad_token_id:  # nothing attends to its padding, so most can be left out
            longest = int(filled.sum(dim=1).max())
            x, mask = x[:, :longest], filled[:, :longest].long()
        out = text.transformer(inputs_embeds=x, attention_mask=mask)
        return text.proj(text.pooler(out, mask))


class BytePairs:
    """open_clip's SimpleTokenizer, as a `Tokenizer`."""

    tail: tuple[int, ...] = ()
    pad = 0

    def __init__(self, tokenizer: Any):
        self.inner, self.length = tokenizer, tokenizer.context_length
        self.start, self.end = (tokenizer.sot_token_id,), (tokenizer.eot_token_id,)
        self.top = max(tokenizer.encoder.values())

    def encode(self, text: str) -> list[int]:
        return self.inner.encode(text)

    def words(self) -> dict[str, int]:
        whole = {token.removesuffix("</w>"): i for token, i in self.inner.encoder.items() if token.endswith("</w>")}
        return {word: i for word, i in whole.items() if word.isalpha() and len(word) >= LETTERS}


class TransformersTokens:
    """open_clip's HFTokenizer, as a `Tokenizer`. The tokenizer itself says what it puts around a text.

    Attributes:
        pad: id that fills a text up.
        tail: ids behind the padding.
        top: the largest id.
    """

    def __init__(self, tokenizer: Any, source: str):
        inner = tokenizer.tokenizer
        self.outer, self.inner, self.length, self.tail = tokenizer, inner, tokenizer.context_length, ()
        if inner.pad_token_id is None or inner.padding_side != "right":
            raise UserError(f"the tokenizer {source} pads no texts at their end: use the weights' own")
        self.pad, self.top = inner.pad_token_id, max(inner.get_vocab().values())
        if tokenizer.tokenizer_mode == "clips":  # start, text, end, padding, class token
            self.start, self.end, self.tail = (inner.bos_token_id,), (inner.eos_token_id,), (inner.cls_token_id,)
            self.length -= 1
            return
        ids, bare = self._strip(inner("a").input_ids), self.encode("a")
        at = next((i for i in range(len(ids)) if ids[i : i + len(bare)] == bare), None) if bare else None
        if at is None:
            raise UserError(f"the tokenizer {source} does not tell what it puts around a text: use the weights' own")
        self.start, self.end = tuple(ids[:at]), tuple(ids[at + len(bare) :])

    def encode(self, text: str) -> list[int]:
        return self._strip(self.inner(self.outer.clean_fn(text), add_special_tokens=False).input_ids)

    def words(self) -> dict[str, int]:
        # Word marks differ (▁cat, Ġcat, cat</w>, or ##ing for what is none); a word is what becomes one token.
        bare = {token.strip("▁Ġ").removesuffix("</w>") for token in self.inner.get_vocab()}
        words = sorted(word for word in bare if word.isalpha() and len(word) >= LETTERS)
        words = [word for word in words if self.outer.clean_fn(word) == word]
        if not words:
            return {}
        rows = self.inner(words, add_special_tokens=False).input_ids
        unknown = self.inner.unk_token_id
        return {word: row[0] for word, row in zip(words, rows, strict=True) if len(row) == 1 and row[0] != unknown}

    def _strip(self, ids: list[int]) -> list[int]:
        if not self.outer.strip_sep_token:
            return list(ids)
        return [0 if index == self.inner.sep_token_id else index for index in ids]
