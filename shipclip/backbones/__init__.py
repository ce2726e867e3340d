"""Backbones: OpenAI's CLIP, open_clip's models, and MiniCLIP, behind one seam."""

from __future__ import annotations

import torch

from .base import Backbone, normalise

__all__ = ["Backbone", "load_backbone", "normalise"]


def load_backbone(
    name: str,
    path: str = "",
    precision: str = "fp32",
    device: str | torch.device = "cpu",
    activation: str = "",
) -> Backbone:
    """Load and freeze a CLIP of any kind.

    Args:
        name: one of OpenAI's names ("ViT-B/16"), MiniCLIP, `open_clip:NAME/WEIGHTS` or `hf-hub:OWNER/REPOSITORY`; with
            a
            file also `open_clip:NAME` or open_clip's bare NAME.
        path: a weight file (.pt, .bin or .safetensors); if given, no weights are downloaded.
        precision: fp32, fp16, amp or bf16 (see `Precision`).
        device: where it computes.
        activation: quickgelu or gelu, of a weight file that does not tell.

    Returns:
        A backbone: `.resolution` R, `.encode_image` of (B, 3, R, R) and `.encode_texts` of a list give L2-normalised
        float32 features, (B, d).

    Raises:
        UserError: what cannot be loaded, in one sentence.
    """
    from . import open_clip, openai

    if open_clip.is_meant(name, path):
        return open_clip.load(name, path, precision, device, activation)
    return openai.load(name, path, precision, device, activation)
