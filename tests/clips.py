"""Small random CLIPs in OpenAI's architecture, and what tests of them share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from shipclip.backbones.base import Backbone
from shipclip.backbones.openai import package, random_clip, wrap
from shipclip.precision import Precision

FP32 = Precision("fp32")


def small_clip(seed: int = 0, layers: int = 2) -> Backbone:
    """32 px, w = 128, d = 64, `layers` of text."""
    model = random_clip(64, 32, 1, 64, 16, 77, 49408, 128, 2, layers, seed=seed)
    model.logit_scale.data.fill_(4.6)
    return wrap(model, FP32, "small")


def tokenize(texts: str | list[str]) -> Tensor:
    """OpenAI's own tokenisation, (B, 77)."""
    return package().tokenize(texts)


def rewrapped(clip: Backbone) -> Backbone:
    """The same weights, with a fingerprint that is made anew."""
    return wrap(clip.model, clip.precision, clip.name)


def plain_text_pass(model: Any, embedded: Tensor, eot: Tensor) -> Tensor:
    """OpenAI's pass over all 77 positions, (B, 77, w) -> (B, d)."""
    x = model.transformer((embedded + model.positional_embedding).transpose(0, 1)).transpose(0, 1)
    return model.ln_final(x)[torch.arange(len(x)), eot] @ model.text_projection
