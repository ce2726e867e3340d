from __future__ import annotations

import os
import os.path as osp
import re
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shipclip import checkpoints
from shipclip.files import write_tensors

from .tools import replacing

__all__ = [
    "count_num_param",
    "init_network_weights",
    "load_checkpoint",
    "load_pretrained_weights",
    "open_all_layers",
    "open_specified_layers",
    "resume_from_checkpoint",
    "save_checkpoint",
]


def save_checkpoint(
    state: dict,
    save_dir: str,
    is_best: bool = False,
    remove_module_from_keys: bool = True,
    model_name: str = "",
) -> None:
    """Write `model.pth.tar-<epoch>` (or `model_name`), then point the file `checkpoint` to it.

    Both are written to a temporary name and renamed; with `is_best` a copy is kept as model-best.pth.tar.
    """
    if remove_module_from_keys:
        state = {**state, "state_dict": _without_module(state["state_dict"])}
    name = model_name or f"model.pth.tar-{state['epoch']}"
    _save(state, osp.join(save_dir, name))
    print(f"Checkpoint saved to {osp.join(save_dir, name)}")
    with replacing(osp.join(save_dir, "checkpoint")) as temporary, open(temporary, "w") as file:
        file.write(f"{name}\n")
    if is_best:
        _save(state, osp.join(save_dir, "model-best.pth.tar"))


def load_checkpoint(fpath: str) -> dict[str, Any]:
    """A checkpoint as saved, on the CPU where no GPU is present.

    Only tensors and plain containers are admitted. Files of upstream's Dassl also hold scheduler and optimiser
    objects; those are read by name as inert data, and nothing else is.

    Raises:
        ValueError: no path, or a damaged or foreign file.
        FileNotFoundError: no such file.
    """
    if fpath is None:
        raise ValueError("no checkpoint file is given")
    return checkpoints.read(fpath, None if torch.cuda.is_available() else "cpu")


def resume_from_checkpoint(fdir: str, model: nn.Module, optimizer: Any = None, scheduler: Any = None) -> int:
    """Restore weights (strictly), optimiser and schedule from a folder's newest file; returns the epochs done."""
    fpath = osp.join(fdir, _newest(fdir))
    print(f'Loading checkpoint from "{fpath}"')
    checkpoint = load_checkpoint(fpath)
    load_strictly(model, checkpoint["state_dict"], fpath)
    if optimizer is not None and checkpoint.get("optimizer"):
        optimizer.load_state_dict(checkpoint["optimizer"])
    if scheduler is not None and checkpoint.get("scheduler"):
        scheduler.load_state_dict(checkpoint["scheduler"])
    print(f"Previous epoch: {checkpoint['epoch']}")
    return checkpoint["epoch"]


def load_strictly(model: nn.Module, state_dict: dict[str, Any], fpath: str) -> None:
    """`load_state_dict`, with a ValueError that names the file and the first tensor that does not fit."""
    own = model.state_dict()
    for name in [*own, *state_dict]:
        if name not in own or name not in state_dict:
            holder = "the file" if name in state_dict else "the model"
            raise ValueError(f"{fpath} does not fit the model: only {holder} has {name}")
        if own[name].shape != state_dict[name].shape:
            shapes = f"{tuple(state_dict[name].shape)} in the file, {tuple(own[name].shape)} in the model"
            raise ValueError(f"{fpath} does not fit the model: {name} is {shapes}")
    model.load_state_dict(state_dict)


def _newest(fdir: str) -> str:
    """The file that `checkpoint` names; if that is not there (a run killed midway), the highest epoch's."""
    pointer = osp.join(fdir, "checkpoint")
    if osp.isfile(pointer):
        with open(pointer) as file:
            name = file.readline().strip()
        if name and osp.isfile(osp.join(fdir, name)):
            return name
    names = os.listdir(fdir) if osp.isdir(fdir) else []
    epochs = [int(match[1]) for name in names if (match := re.fullmatch(r"model\.pth\.tar-(\d+)", name))]
    if not epochs:
        raise FileNotFoundError(f"there is no checkpoint in {fdir}")
    return f"model.pth.tar-{max(epochs)}"


def load_pretrained_weights(model: nn.Module, weight_path: str) -> None:
    """Copy every tensor whose name and size match; warns if none does, and prints the names left out."""
    checkpoint = load_checkpoint(weight_path)
    given = _without_module(checkpoint.get("state_dict", checkpoint))
    own = model.state_dict()
    matched = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
    model.load_state_dict({**own, **matched})
    if not matched:
        warnings.warn(f"Cannot load {weight_path}: no tensor's name and size match the model's", stacklevel=2)
        return
    print(f"Successfully loaded pretrained weights from {weight_path}")
    discarded = [name for name in given if name not in matched]
    if discarded:
        print(f"Layers discarded due to unmatched keys or size: {discarded}")


def open_all_layers(model: nn.Module) -> None:
    """Train everything."""
    model.train()
    for parameter in model.parameters():
        parameter.requires_grad = True


def open_specified_layers(model: nn.Module, open_layers: str | list[str]) -> None:
    """Train the named direct children, freeze the others."""
    model = getattr(model, "module", model)
    names = [open_layers] if isinstance(open_layers, str) else list(open_layers)
    children = dict(model.named_children())
    for name in names:
        if name not in children:
            raise ValueError(f"the model has no layer {name!r}: choose among {', '.join(children)}")
    for name, child in children.items():
        child.train(name in names)
        for parameter in child.parameters():
            parameter.requires_grad = name in names


def count_num_param(model: nn.Module | None = None, params: Any = None) -> int:
    """Number of parameters of a model, or of an iterable of parameters or parameter groups."""
    if model is not None:
        return sum(p.numel() for p in model.parameters())
    if params is None:
        raise ValueError("count_num_param needs a model or parameters")
    return sum(sum(q.numel() for q in p["params"]) if isinstance(p, dict) else p.numel() for p in params)


def init_network_weights(model: nn.Module, init_type: str = "normal", gain: float = 0.02) -> None:
    """Initialise convolutions, linear layers and batch norms: normal, xavier, kaiming or orthogonal."""
    kinds = {
        "normal": lambda w: nn.init.normal_(w, 0.0, gain),
        "xavier": lambda w: nn.init.xavier_normal_(w, gain=gain),
        "kaiming": lambda w: nn.init.kaiming_normal_(w, a=0, mode="fan_in"),
        "orthogonal": lambda w: nn.init.orthogonal_(w, gain=gain),
    }
    if init_type not in kinds:
        raise ValueError(f"init_type is {init_type!r}: choose one of {', '.join(kinds)}")
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
            kinds[init_type](weight.data)
        elif isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.InstanceNorm2d)) and weight is not None:
            nn.init.constant_(weight.data, 1.0)
        else:
            continue
        if module.bias is not None:
            nn.init.constant_(module.bias.data, 0.0)


def _without_module(state_dict: dict[str, Any]) -> dict[str, Any]:
    return OrderedDict((name.removeprefix("module."), value) for name, value in state_dict.items())


def _save(state: dict, path: str) -> None:
    write_tensors(Path(path), state)
