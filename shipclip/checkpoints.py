"""Checkpoints: one format for both stages, in Dassl's layout, `<folder>/model.pth.tar-<epoch>`.

A file holds state_dict, epoch, optimizer, scheduler, scaler and val_result; the text file `checkpoint` beside it names
the newest. CoOp's own files, upstream Dassl's among them, are read as well; nothing in a file is ever executed.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from .errors import MissingFile, UserError, first_line
from .files import replacing, write_tensors, write_text
from .options import shown

TOKEN_BUFFERS = ("token_prefix", "token_suffix")  # class names in CoOp's checkpoints; never taken over
BEST = "model-best.pth.tar"


def save(folder: str | Path, state: dict[str, Any], epoch: int, name: str = "") -> Path:
    """Write `model.pth.tar-<epoch>` (or `name`), whole or not at all; `checkpoint` names the newest epoch's."""
    file = Path(folder) / (name or f"model.pth.tar-{epoch}")
    write_tensors(file, {**state, "epoch": epoch})
    if not name:
        write_text(file.with_name("checkpoint"), f"{file.name}\n")
    return file


def adopt(file: Path, folder: Path) -> None:
    """Take another run's checkpoint over, as if it had been saved in this folder, with the best one beside it: whole or
    not at all."""
    for one in (file.with_name(BEST), file):
        if one.is_file():
            with replacing(folder / one.name) as temporary:
                shutil.copyfile(one, temporary)
    write_text(folder / "checkpoint", f"{file.name}\n")


def last_epoch(folder: str | Path) -> int:
    """The highest epoch saved in a folder, 0 if none."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    found = [re.fullmatch(r"model\.pth\.tar-(\d+)", name) for name in names]
    return max((int(match[1]) for match in found if match), default=0)


def find(folder: str | Path, epoch: int | None = None, best: bool = False) -> Path:
    """The file of an epoch; without one the best (if asked for), else the last.

    Raises:
        MissingFile: naming the file or folder that was looked for.
    """
    name = BEST if best and not epoch else f"model.pth.tar-{epoch or last_epoch(folder)}"
    file = Path(folder) / name
    if not file.is_file():
        wanted = f"no {name}" if epoch or best else "no checkpoint"
        raise MissingFile(f"there is {wanted} in {folder}: check --model-dir and --load-epoch")
    return file


def best_result(folder: str | Path) -> float:
    """The validation result of the best epoch so far; minus infinity if none was kept."""
    file = Path(folder) / BEST
    checkpoint = read(file) if file.is_file() else None
    result = checkpoint.get("val_result") if isinstance(checkpoint, dict) else None
    return float(result) if isinstance(result, (int, float)) else float("-inf")


def seconds_of(checkpoint: dict[str, Any]) -> float:
    """The training time that led to a checkpoint; 0 where an older version kept none."""
    seconds = checkpoint.get("seconds", 0.0)
    return float(seconds) if isinstance(seconds, (int, float)) else 0.0


def read(file: str | Path, place: Any = "cpu") -> dict[str, Any]:
    """A checkpoint as saved. Only tensors and plain containers are admitted.

    Files of upstream's Dassl also hold scheduler and optimiser objects; those are read by name as inert data, and
    nothing else is (see `_OldCheckpoint`).

    Raises:
        MissingFile, UserError: no such file, or a damaged or foreign one, by name.
    """
    if not os.path.isfile(file):
        raise MissingFile(f"there is no checkpoint at {file}")
    try:
        refuse_damaged(file)
        try:
            checkpoint = torch.load(file, map_location=place, weights_only=True)
        except pickle.UnpicklingError:  # an object in it: perhaps an old checkpoint
            checkpoint = torch.load(file, map_location=place, weights_only=False, pickle_module=_OldCheckpoint)
            if isinstance(checkpoint, dict) and isinstance(checkpoint.get("scheduler"), dict):
                checkpoint["scheduler"] = _plain(checkpoint["scheduler"])
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        raise UserError(
            f"the checkpoint {file} cannot be read safely ({first_line(error)}): it is damaged, or no checkpoint"
        ) from error
    except Exception as error:  # damaged bytes make torch raise nearly anything
        raise UserError(f"the checkpoint {file} cannot be read ({first_line(error)}): it is damaged") from error
    return checkpoint


def refuse_damaged(file: str | Path) -> None:
    """Refuse an archive of torch's in which a byte has changed: torch itself does not look at its checksums.

    Raises:
        UserError: naming the file.
    """
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        if any(entry.CRC for entry in archive.infolist()) and archive.testzip():
            raise UserError(f"{file} is damaged (its checksum is another): take another copy of it, or make it anew")


def load(file: str | Path, module: nn.Module) -> dict[str, Any]:
    """Copy a checkpoint's weights into a module; returns the checkpoint.

    A module with a `make_room` may first take the shapes that the file's tensors have.

    Raises:
        UserError: the file is no checkpoint, or its tensors are not the module's, naming the first that differs.
    """
    checkpoint = read(file)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise UserError(f"{file} is no checkpoint of a run: it has no state_dict; give the folder of a trained run")
    if type(checkpoint.get("epoch")) is not int or checkpoint["epoch"] < 1:
        raise UserError(f"{file} does not say how many epochs it was trained for: give the folder of a trained run")
    load_state(module, checkpoint["state_dict"], file)
    return checkpoint


def load_state(module: nn.Module, state: dict[str, Any], file: str | Path) -> None:
    """Copy tensors into a module, all of them or none.

    Raises:
        UserError: they are not the module's, naming the file and the first that differs or is not finite.
    """
    refuse_foreign_state(state, file)
    state = {k: v for k, v in state.items() if k.split(".")[-1] not in TOKEN_BUFFERS}
    if hasattr(module, "make_room"):
        module.make_room(state)
    own = module.state_dict()
    for name in [*own, *state]:
        if name not in state:
            raise UserError(f"{file} does not fit this model: it has no {name}; was it another method's?")
        if name not in own:
            raise UserError(f"{file} does not fit this model: its {name} has no place here; was it another method's?")
        if name.endswith("_extra_state"):
            continue
        if state[name].shape != own[name].shape:
            raise UserError(
                f"{file} does not fit this model: {name} is {tuple(state[name].shape)} there and "
                f"{tuple(own[name].shape)} here; use the backbone, classes and context length it was trained with"
            )
        if kind_of(state[name]) != kind_of(own[name]):
            raise UserError(f"{file} does not fit this model: {name} holds {state[name].dtype}; train it anew")
        if state[name].is_floating_point() and not torch.isfinite(state[name]).all():
            raise UserError(f"{file} holds numbers in {name} that are not finite: train it anew, or take another epoch")
    if hasattr(module, "check_state"):
        module.check_state(state, file)
    module.load_state_dict(state)


def kind_of(tensor: torch.Tensor) -> str:
    """What numbers a tensor holds, however exact."""
    if tensor.is_floating_point() or tensor.is_complex():
        return "complex" if tensor.is_complex() else "real"
    return "truth" if tensor.dtype == torch.bool else "whole"


def is_longer(tensor: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether one tensor has another number of rows than another, and is like it otherwise."""
    return tensor.dim() == other.dim() > 0 and tensor.shape[1:] == other.shape[1:] and len(tensor) != len(other)


def refuse_foreign_state(state: dict[Any, Any], file: str | Path) -> None:
    """Refuse what is no state dict: names of tensors, and the class names that some learners keep beside them."""
    for name, value in state.items():
        names = value.get("names") if isinstance(value, dict) else None
        extra = (
            str(name).endswith("_extra_state") and isinstance(names, list) and all(isinstance(n, str) for n in names)
        )
        if not isinstance(name, str) or not (extra or isinstance(value, torch.Tensor)):
            raise UserError(f"{file} is no checkpoint of a run: its {shown(name)} is no tensor; train it anew")


class _Inert:
    """Stands for an object of an old checkpoint: takes its state and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _OldCheckpoint(SimpleNamespace):
    """A stand-in for the module `pickle` that admits tensors, containers and inert schedulers and optimisers."""

    class Unpickler(pickle.Unpickler):
        ADMITTED = {
            ("collections", "OrderedDict"): OrderedDict,
            ("collections", "Counter"): Counter,
            ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
            ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
            ("builtins", "set"): set,
            ("__builtin__", "set"): set,
        }

        def find_class(self, module: str, name: str) -> Any:
            if (module, name) in self.ADMITTED:
                return self.ADMITTED[module, name]
            if module == "torch" and re.fullmatch(r"\w+Storage", name):
                return getattr(torch, name)
            if (module, name) == ("collections", "defaultdict"):
                return lambda *args: {}  # its factory would be code
            if module.startswith(("torch.optim.", "dassl.optim.")):
                return _Inert
            if (module, name) in (("builtins", "dict"), ("__builtin__", "dict")):
                return dict
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which is not admitted")

    @staticmethod
    def load(file: Any, **kwargs: Any) -> Any:
        return _OldCheckpoint.Unpickler(file, **kwargs).load()


def _plain(scheduler: dict[str, Any]) -> dict[str, Any]:
    """A scheduler's state; an old checkpoint's wrapped scheduler object becomes its plain numbers."""
    successor = scheduler.get("successor")
    if isinstance(successor, _Inert):
        state = {k: v for k, v in successor.state.items() if k != "optimizer" and not callable(v)}
        scheduler = {**scheduler, "successor": state}
    return {k: v for k, v in scheduler.items() if not isinstance(v, _Inert)}
