"""What a backbone is: a frozen CLIP with all that adapting it asks of it.

A backbone owns its tokenizer and the placing of tokens, both towers, preprocessing, logit scale and bias, and the
digest of its weights. Nothing outside this folder knows how long a prompt may be, where it ends, or what a pixel is
divided by.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..precision import Precision, full
from ..profiling import a_part
from .prompts import ClassTokens, Prompts, prefix_tree


@dataclass(frozen=True)
class Preprocessing:
    """How images become tensors.

    Attributes:
        size: side of the square image, pixels.
        mean, std: of each channel, pixels in 0 ... 1.
        interpolation: bilinear, bicubic or nearest.
        resize: shortest (that side to the size, then the centre) or squash (both sides).
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    resize: str = "shortest"


class Tokenizer(Protocol):
    """Text to token ids, as a text tower was trained with them.

    Attributes:
        start, end: ids that every prompt begins and ends with (CLIP: start of text, end of text).
        length: positions that the text tower has.
    """

    start: tuple[int, ...]
    end: tuple[int, ...]
    length: int

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without start and end."""

    def words(self) -> dict[str, int]:
        """The vocabulary's whole words, of letters alone, and their ids."""


class Tower(Protocol):
    """The text tower: prompt embeddings in, text features out, not normalised, (G, S, d)."""

    def __call__(self, prompts: Prompts, hooks: Any = None) -> Tensor: ...


class Backbone:
    """A frozen CLIP.

    Args:
        name: what it was loaded as.
        model: all its weights; they are frozen here.
        image: images (B, 3, R, R) to features (B, d), not normalised.
        text: the text tower.
        tokenizer: of its texts.
        embedding: the table of token embeddings.
        preprocessing: of its images.
        dim: d, dimension of the joint space.
        logit_scale, logit_bias: of a logit, scale * cosine similarity + bias. The bias is the same for all classes, so
            softmax does not see it; sigmoid losses (SigLIP) do.
        precision: see `Precision`.
        known_ids: token ids that training has shown, where those are not all.

    Attributes:
        resolution: side of the square images that it reads, pixels.
        width: w, width of the text tower and so of a context vector.
        dtype: type of its activations, and so of context vectors.
    """

    def __init__(
        self,
        *,
        name: str,
        model: nn.Module,
        image: Callable[..., Tensor],
        text: Tower,
        tokenizer: Tokenizer,
        embedding: nn.Embedding,
        preprocessing: Preprocessing,
        dim: int,
        logit_scale: float,
        logit_bias: float = 0.0,
        precision: Precision,
        dtype: torch.dtype,
        known_ids: set[int] | None = None,
    ):
        self.name, self.model = name, model.eval().requires_grad_(False)
        self.image, self.text, self.tokenizer, self.embedding = image, text, tokenizer, embedding
        self.preprocessing, self.resolution = preprocessing, preprocessing.size
        self.dim, self.width = dim, embedding.embedding_dim
        self.logit_scale, self.logit_bias = logit_scale, logit_bias
        self.precision, self.dtype, self.known_ids = precision, dtype, known_ids

    @property
    def device(self) -> torch.device:
        return self.embedding.weight.device

    # -- images -----------------------------------------------------------------------------------------

    @a_part("encoding", key=lambda images: images.shape)
    def encode_image(self, images: Tensor) -> Tensor:
        """L2-normalised image features of (B, 3, R, R) images, float32: (B, d)."""
        with self.precision.encoding():
            features = self.image(images.to(self.device, self.dtype))
        return normalise(features.float())

    def unrounded(self) -> Backbone:
        """The same model, whose images are encoded in the type of its weights."""
        if not self.precision.rounds_images:
            return self
        other = copy.copy(self)
        other.__dict__.pop("fingerprint", None)
        other.precision = Precision("fp32", device_type=self.precision.device_type)
        return other

    # -- texts ------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """L2-normalised features of whole texts, float32: (len(texts), d).

        Raises:
            UserError: a text that is longer than the text tower.
        """
        return normalise(self.text(self.text_prompts(texts))[0].float())

    def text_prompts(self, texts: Sequence[str]) -> Prompts:
        """Whole texts as one group of prompts. Raises as `encode_texts`."""
        rows = [[*self.tokenizer.encode(text), *self.tokenizer.end] for text in texts]
        room = self.tokenizer.length - len(self.tokenizer.start)
        for text, row in zip(texts, rows, strict=True):
            if len(row) > room:
                raise UserError(
                    f"the text {shorten(text)!r} needs {len(row) + len(self.tokenizer.start)} tokens, and {self.name} "
                    f"reads {self.tokenizer.length}: shorten the text"
                )
        suffix, lengths, tree = self._embed_rows(rows)
        return Prompts(self._start()[None], suffix[None], lengths, tree)

    def class_tokens(self, names: Sequence[str], n_ctx: int, words: str = "") -> ClassTokens:
        """Class names (underscores read as blanks) as "<words> <name> . EOT", for prompts with `n_ctx` context vectors.

        Raises:
            UserError: no names, an empty one, or one that leaves no room for the context vectors.
        """
        if not names:
            raise UserError("there are no class names to make prompts of: the data set has no classes")
        token, rows, name_lengths = self.tokenizer, [], []
        for name in names:
            plain = name.replace("_", " ")
            if not plain.strip():
                raise UserError(f"a class has the empty name {name!r}: give every class a name")
            ids = token.encode(f"{words} {plain}." if words else f"{plain}.")
            length = len(token.start) + n_ctx + len(ids) + len(token.end)
            if length > token.length:
                raise UserError(
                    f"class name {shorten(name)!r} needs {length} tokens with {n_ctx} context vectors, and "
                    f"{self.name} reads {token.length}: shorten the name or use fewer context vectors"
                )
            rows.append([*ids, *token.end])
            name_lengths.append(min(len(token.encode(plain)), len(ids)))
        suffix, lengths, tree = self._embed_rows(rows)
        return ClassTokens(tuple(names), self._start(), suffix, lengths, torch.tensor(name_lengths), tree)

    def embed_words(self, text: str) -> Tensor:
        """Token embeddings of a few words, a row a token: (n, w)."""
        return self.embed(torch.tensor(self.tokenizer.encode(text.replace("_", " ")), dtype=torch.long))

    @torch.no_grad()
    def embed(self, ids: Tensor) -> Tensor:
        """Token embeddings, (*) -> (*, w)."""
        return self.embedding(ids.to(self.device)).to(self.dtype)

    def _start(self) -> Tensor:
        return self.embed(torch.tensor(self.tokenizer.start, dtype=torch.long))  # (P, w)

    def _embed_rows(self, rows: list[list[int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Ragged rows of ids as embeddings, zero behind each row's end, (N, M, w), and, on the CPU, their lengths (N,)
        and their prefix tree (N, M)."""
        lengths = torch.tensor([len(row) for row in rows])
        width = int(lengths.max())
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])  # (N, M)
        filled = torch.arange(width) < lengths[:, None]
        embedded = self.embed(ids) * filled[..., None].to(self.device, self.dtype)
        return embedded, lengths, prefix_tree(ids.where(filled, -1))

    # -- identity ---------------------------------------------------------------------------------------

    @cached_property
    def fingerprint(self) -> str:
        """A digest of all weights, their precision and activation; equal digests give equal features."""
        rounded = " images" if self.precision.rounds_images else ""
        digest = hashlib.sha256(f"{self.precision.name}{rounded} {self._activation()}".encode())
        for key, value in self.model.state_dict().items():
            raw = value.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(f"{key} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(raw.numpy().data)
        return digest.hexdigest()

    @cached_property
    def digest(self) -> str:
        """A digest that tells one set of weights from another, whatever precision they are held in."""
        digest = hashlib.sha256(self._activation().encode())
        for key, value in sorted(self.model.state_dict().items()):
            if value.is_floating_point():
                digest.update(f"{key} {tuple(value.shape)}".encode())
                digest.update(value.detach().half().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _activation(self) -> str:
        """QuickGELU or GELU, or both: the same weights are another model under the other."""
        kinds = {type(module).__name__ for module in self.model.modules()}
        return ", ".join(sorted(kind for kind in kinds if "GELU" in kind))


def normalise(features: Tensor) -> Tensor:
    """Features of unit length along the last dimension; where autocast is on in float32."""
    if torch.is_autocast_enabled(features.device.type):
        features = full(features)
    return features / features.norm(dim=-1, keepdim=True)


def shorten(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
