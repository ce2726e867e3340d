"""Numerical precision, as CoOp's PREC key means it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from . import profiling
from .errors import UserError, first_line, unknown
from .machine import multiplies_bfloat16

HALF = (torch.float16, torch.bfloat16)
NAMES = ("fp32", "fp16", "amp", "bf16")


@dataclass(frozen=True)
class Precision:
    """How a run computes.

    * fp32: everything in float32.
    * fp16: CLIP as OpenAI's builder leaves it (half, layer norms in float32); learned vectors are half and
      there is no loss scaling, as in CoOp.
    * amp: weights in float32, training steps under float16 autocast with a gradient scaler; evaluation and
      the image tower in plain float32.
    * bf16: weights in float32, training steps and the features of images under bfloat16 autocast, which needs no
      scaler; everything else in plain float32, the cosines and the KL term of a step among it. Features have about
      three digits. For a GPU, or a CPU that multiplies bfloat16 matrices (AMX).

    Attributes:
        name: one of the above.
        weights: type of CLIP's weights.
        autocast: type that training steps are cast to, or None.
        device_type: "cpu" or "cuda".
    """

    name: str
    weights: torch.dtype = torch.float32
    autocast: torch.dtype | None = None
    device_type: str = "cpu"

    @staticmethod
    def choose(name: str, device: str | torch.device = "cpu") -> Precision:
        """The precision called `name`; half precision on the CPU becomes fp32, with a notice."""
        known(name)
        kind = torch.device(device).type
        if kind == "cpu" and name in ("fp16", "amp"):
            print(f"Note: {name} needs a GPU; on the CPU this run computes in fp32")
            name = "fp32"
        if kind == "cpu" and name == "bf16" and not multiplies_bfloat16():
            print("Note: this CPU has no instructions for bfloat16, so bf16 is slower here than fp32")
        weights = torch.float16 if name == "fp16" else torch.float32
        autocast = {"amp": torch.float16, "bf16": torch.bfloat16}.get(name)
        return Precision(name, weights, autocast, kind)

    def training_step(self) -> AbstractContextManager:
        """The context in which a training step computes its loss."""
        return torch.autocast(self.device_type, self.autocast) if self.autocast else nullcontext()

    def encoding(self) -> AbstractContextManager:
        """The context in which images are encoded."""
        return torch.autocast(self.device_type, torch.bfloat16) if self.rounds_images else nullcontext()

    @property
    def rounds_images(self) -> bool:
        """Whether image features are others than in fp32, from the same weights."""
        return self.name == "bf16"

    def scaler(self) -> torch.amp.GradScaler | None:
        """A gradient scaler, for amp alone."""
        return torch.amp.GradScaler(self.device_type) if self.name == "amp" else None


def known(name: str) -> str:
    """The name of a precision; a UserError if it is none."""
    if name not in NAMES:
        raise unknown("precision", name, NAMES)
    return name


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b; where autocast is on in float32, for cosines that tell classes apart differ by hundredths."""
    kind = a.device.type
    if not torch.is_autocast_enabled(kind):
        return a @ b
    with torch.autocast(kind, enabled=False):
        return full(a) @ full(b)


def full(x: Tensor) -> Tensor:
    """Half precision as float32."""
    return x.float() if x.dtype in HALF else x


def device_of(name: str | torch.device | None) -> torch.device:
    """A device by name; none: the GPU, if there is one.

    Raises:
        UserError: there is no such device here.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:  # torch built without it, or no device at all
        raise UserError(f"the device {name!r} is not to be had here ({first_line(error)}): give cpu or cuda") from error
    return device


def update(loss: Tensor, optimizer: Optimizer, scaler: torch.amp.GradScaler | None = None) -> None:
    """One optimiser step on a loss, through the gradient scaler where there is one."""
    optimizer.zero_grad(set_to_none=True)
    with profiling.part("backward", 1):
        (loss if scaler is None else scaler.scale(loss)).backward()
    with profiling.part("optimiser", 1):
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
