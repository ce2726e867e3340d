"""Checkpoints in Dassl's layout: `<folder>/model.pth.tar-<epoch>`, found, loaded and resumed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch
from dassl.utils import load_checkpoint
from torch import nn

from .files import replacing

TOKEN_BUFFERS = ("token_prefix", "token_suffix")  # class names in CoOp's checkpoints; never taken over


def save(folder: str, state: dict, epoch: int) -> Path:
    """Write `model.pth.tar-<epoch>`, whole or not at all."""
    file = Path(folder) / f"model.pth.tar-{epoch}"
    with replacing(file) as temporary:
        torch.save({**state, "epoch": epoch}, temporary)
    return file


def last_epoch(folder: str) -> int:
    """The highest epoch saved in a folder, 0 if none."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    found = [re.fullmatch(r"model\.pth\.tar-(\d+)", name) for name in names]
    return max((int(match[1]) for match in found if match), default=0)


def find(folder: str, epoch: int | None = None, best: bool = False) -> Path:
    """The file of an epoch; without one the best (if asked for), else the last.

    Raises:
        FileNotFoundError: naming the file or folder that was looked for.
    """
    name = "model-best.pth.tar" if best and not epoch else f"model.pth.tar-{epoch or last_epoch(folder)}"
    file = Path(folder) / name
    if not file.is_file():
        wanted = f"no {name}" if epoch or best else "no checkpoint"
        raise FileNotFoundError(f"there is {wanted} in {folder}: check --model-dir and --load-epoch")
    return file


def load(file: Path, module: nn.Module) -> int:
    """Copy a checkpoint's weights into a module; returns the number of epochs they were trained for.

    Raises:
        ValueError: the file's tensors are not the module's, naming the first that differs.
    """
    checkpoint = load_checkpoint(str(file))
    state = {k: v for k, v in checkpoint["state_dict"].items() if k.split(".")[-1] not in TOKEN_BUFFERS}
    if hasattr(module, "make_room"):
        module.make_room(state)
    own = module.state_dict()
    for name in [*own, *state]:
        if name not in state:
            raise ValueError(f"{file} does not fit this model: it has no {name}; was it another method's?")
        if name not in own:
            raise ValueError(f"{file} does not fit this model: its {name} has no place here; was it another method's?")
        if not name.endswith("_extra_state") and state[name].shape != own[name].shape:
            raise ValueError(
                f"{file} does not fit this model: {name} is {tuple(state[name].shape)} there and "
                f"{tuple(own[name].shape)} here; use the backbone, classes and context length it was trained with"
            )
    module.load_state_dict(state)
    return checkpoint["epoch"]


def resume(folder: str, module: nn.Module, optimizer=None, scheduler=None, scaler=None) -> int:
    """Restore weights, optimiser, schedule and gradient scaler from the last epoch in a folder; returns the
    epochs done. A checkpoint without a scaler's state leaves the scaler as it is."""
    file = find(folder)
    epoch = load(file, module)
    checkpoint = load_checkpoint(str(file))
    if optimizer is not None:
        optimizer.load_state_dict(checkpoint["optimizer"])
    if scheduler is not None:
        scheduler.load_state_dict(checkpoint["scheduler"])
    if scaler is not None and checkpoint.get("scaler"):
        scaler.load_state_dict(checkpoint["scaler"])
    print(f"Resumed from {file} (epoch {epoch})")
    return epoch
