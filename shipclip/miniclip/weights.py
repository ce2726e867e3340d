"""MiniCLIP: a miniature model in OpenAI's architecture, trained on a rendered world (see README.md).

The file `miniclip.pt` leaves out the rows of tokens that training never saw. `load` puts them back
with their deterministic initial values, so words outside the trained vocabulary mean nothing.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..files import write_tensors

FILE = Path(__file__).parent / "miniclip.pt"
INIT_SEED = 0
TOKENS, POSITIONS = 49408, 77  # of OpenAI's tokenizer and text tower
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's pixels


def load(file: Path = FILE) -> tuple[dict[str, Tensor], set[int]]:
    """MiniCLIP's weights in OpenAI's format, float16, all 49,408 token rows in place, and the tokens that training has
    shown; the others' embeddings mean nothing."""
    stored = torch.load(file, map_location="cpu", weights_only=True)
    ids = stored.pop("token_ids")
    width = stored["token_embedding.weight"].shape[1]
    table = initial_rows(width).half()
    table[ids] = stored["token_embedding.weight"]
    positions = (initial_rows(width)[:POSITIONS] / 2).half()  # places that training never reached
    positions[: len(stored["positional_embedding"])] = stored["positional_embedding"]
    state = {**stored, "token_embedding.weight": table, "positional_embedding": positions}
    return state, set(ids.tolist())


def save_compact(file: Path, state_dict: dict[str, Tensor], token_ids: list[int]) -> None:
    """Write trained weights, whose token table has a row for each of `token_ids`, as float16."""
    compact = {name: value.detach().half() for name, value in state_dict.items()}
    write_tensors(file, {**compact, "token_ids": torch.tensor(token_ids)})


@cache  # they take longer to draw than the file to read
def initial_rows(width: int) -> Tensor:
    """The token table before training, N(0, 0.02), (49408, width); the same with every version of NumPy.

    All callers get the same tensor: it is not to be written to.
    """
    rows = np.random.RandomState(INIT_SEED).standard_normal((TOKENS, width)) * 0.02
    return torch.from_numpy(rows.astype(np.float32))
