"""The formula that the golden figures' weights and inputs come from (no random numbers are involved)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shipclip.backbones.base import Backbone
from shipclip.backbones.openai import package, wrap
from shipclip.precision import Precision


def read(name: str) -> dict[str, Any]:
    """The golden figures in a file here."""
    return json.loads((Path(__file__).parent / f"{name}.json").read_text())


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


def filled_clip(*shape: Any) -> Backbone:
    """A `clip.model.CLIP` of the formula's weights."""
    model = package().model.CLIP(*shape).float()
    fill(model, 0.05, 0)
    with torch.no_grad():
        model.logit_scale.fill_(math.log(100))
    return wrap(model, Precision("fp32"), "golden")


def golden_clip() -> Backbone:
    """Of CoOp's, CoCoOp's and SHIP's figures."""
    return filled_clip(512, 32, 1, 64, 32, 77, 49408, 512, 8, 2)


def deep_clip() -> Backbone:
    """Of MaPLe's and CLIP-LoRA's figures: four layers in both towers."""
    return filled_clip(64, 32, 4, 128, 16, 77, 49408, 64, 2, 4)


def abs_sum(tensor: Tensor) -> float:
    return tensor.detach().double().abs().sum().item()
