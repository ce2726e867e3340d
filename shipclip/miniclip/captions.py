"""The captions that MiniCLIP is trained with, and their way through its text tower."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ..backbones.openai import package
from .world import COLOURS, SHAPES, TEXTURES

POSITIONS = 32  # text positions that training reaches: 16 vectors of context and a long caption
SOS, EOT = 49406, 49407

FRAMES = (
    "{}",
    "a {}.",
    "a photo of a {}.",
    "a photo of a {}.",
    "a photo of the {}.",
    "this is a {}.",
    "a picture of a {}.",
    "an image of a {}.",
    "a drawing of a {}.",
    "one {} on a background.",
    "a small photo of a {}.",
    "there is a {} in the image.",
)
ORDERS = ("{c} {t} {s}", "{c} {t} {s}", "{c} {t} {s}", "{t} {c} {s}", "{s}, {c} and {t}", "{c} {s}, {t}")

tokenizer = package().simple_tokenizer.SimpleTokenizer()


def caption(attribute: list[int], rng: np.random.Generator) -> tuple[str, list[bool]]:
    """A caption of (colour, texture, shape) and which of the three it mentions."""
    words = (list(COLOURS)[attribute[0]], TEXTURES[attribute[1]], SHAPES[attribute[2]])
    said = [True, True, True]
    if rng.random() < 0.12:
        said[rng.integers(3)] = False
        phrase = " ".join(word for word, keep in zip(words, said, strict=True) if keep)
    else:
        phrase = ORDERS[rng.integers(len(ORDERS))].format(c=words[0], t=words[1], s=words[2])
    return FRAMES[rng.integers(len(FRAMES))].format(phrase), said


def vocabulary() -> list[int]:
    """CLIP's ids of all tokens that captions are made of, sorted, start and EOT last."""
    texts = [*FRAMES, *ORDERS, *COLOURS, *TEXTURES, *SHAPES]
    ids = {i for text in texts for i in tokenizer.encode(text.translate(str.maketrans("", "", "{}")))}
    for order in ORDERS:  # punctuation fuses with neighbouring marks in some frames
        for frame in FRAMES:
            ids |= set(tokenizer.encode(frame.format(order.format(c="red", t="plain", s="star"))))
    return [*sorted(ids), SOS, EOT]


def encode_captions(model: nn.Module, captions: list[list[int]], prefix: int, rng: torch.Generator) -> Tensor:
    """Text features of captions (compact ids without start and EOT), (len(captions), d).

    Args:
        prefix: random context in front of them: n > 0 random vectors, or -n random words for n < 0.
    """
    last = model.vocab_size - 1  # EOT; the start token is the one before
    n = min(abs(prefix), POSITIONS - 2 - max(map(len, captions)))
    lengths = torch.tensor([2 + n + len(ids) for ids in captions])
    L = int(lengths.max())
    rows = torch.zeros(len(captions), L, dtype=torch.long)
    rows[:, 0] = last - 1
    rows[:, 1 : 1 + n] = torch.randint(last - 1, (len(captions), n), generator=rng)
    for row, ids in zip(rows, captions, strict=True):
        row[1 + n : 2 + n + len(ids)] = torch.tensor([*ids, last])
    x = model.token_embedding(rows)
    if prefix > 0:
        x = torch.cat([x[:, :1], torch.randn(len(x), n, x.shape[2], generator=rng) * 0.02, x[:, 1 + n :]], dim=1)
    for block in model.transformer.resblocks:  # causal, so positions after the longest caption may be left out
        block.attn_mask = model.build_attention_mask()[:L, :L]
    x = model.transformer((x + model.positional_embedding[:L]).transpose(0, 1)).transpose(0, 1)
    return model.ln_final(x[torch.arange(len(x)), lengths - 1]) @ model.text_projection
