"""The activations of CLIP's towers, by what they compute."""

from __future__ import annotations

from torch import nn

QUICK = 1.702  # QuickGELU(x) = x * sigmoid(1.702 x) = SiLU(1.702 x) / 1.702


def is_quick(module: nn.Module) -> bool:
    """OpenAI's QuickGELU, which open_clip has its own copy of."""
    return type(module).__name__ == "QuickGELU"
