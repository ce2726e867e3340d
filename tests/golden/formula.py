"""The formula that the golden figures' weights and inputs come from (no random numbers are involved)."""

from __future__ import annotations

import math

import torch
from clip.model import CLIP
from torch import Tensor, nn

from trainers.prompting.clip import FrozenCLIP
from trainers.prompting.precision import Precision


def wave(shape: tuple[int, ...] | torch.Size, k: int, scale: float) -> Tensor:
    """Numbers of zero mean and standard deviation `scale`, float32."""
    i = torch.arange(math.prod(shape), dtype=torch.float64)
    u = torch.sin(i * 12.9898 + k * 78.233) * 43758.5453
    u = u - torch.floor(u)
    return ((2 * u - 1) * math.sqrt(3) * scale).float().reshape(shape)


@torch.no_grad()
def fill(module: nn.Module, scale: float, k0: int) -> None:
    for k, (name, parameter) in enumerate(module.named_parameters(), start=k0):
        if name.endswith("bias"):
            parameter.copy_(wave(parameter.shape, k, scale / 10))
        elif "ln_" in name and name.endswith("weight"):
            parameter.copy_(1 + wave(parameter.shape, k, scale))
        else:
            parameter.copy_(wave(parameter.shape, k, scale))


def golden_clip() -> FrozenCLIP:
    model = CLIP(512, 32, 1, 64, 32, 77, 49408, 512, 8, 2).float()
    fill(model, 0.05, 0)
    with torch.no_grad():
        model.logit_scale.fill_(math.log(100))
    return FrozenCLIP(model, Precision("fp32"), "golden")
