"""States of optimisers, schedules and scalers: taken over from a checkpoint if they are this run's, else refused."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from .errors import UserError


def restore(piece: Any, state: Any, name: str, file: str | Path) -> None:
    """Give an optimiser, schedule or scaler its state back.

    Raises:
        UserError: it is another one's, naming the file.
    """
    told = f"the {name} in {file} is not this run's: remove the file, or take another folder"
    if not _alike(piece.state_dict(), state) or not _fits(piece, state):
        raise UserError(told)
    try:
        piece.load_state_dict(state)
    except Exception as error:  # torch raises many kinds for a state that does not fit
        raise UserError(told) from error


def _alike(own: Any, given: Any) -> bool:
    """Whether a state has the kinds of another where both have a key; what an optimiser remembers `_fits` looks at."""
    if isinstance(own, dict):
        if not isinstance(given, dict) or ("last_epoch" in own and "last_epoch" not in given):
            return False
        return all(_alike(value, given[key]) for key, value in own.items() if key in given and key != "state")
    if isinstance(own, (list, tuple)):
        return isinstance(given, (list, tuple)) and len(own) == len(given) and all(map(_alike, own, given))
    if own is None or given is None:
        return own is given
    if isinstance(own, (int, float)) and not isinstance(own, bool):
        return isinstance(given, (int, float)) and not isinstance(given, bool) and math.isfinite(given)
    return type(own) is type(given)


def _fits(piece: Any, state: Any) -> bool:
    """Whether what an optimiser remembers of each parameter is all there, of that parameter's shape, and finite."""
    if isinstance(piece, LRScheduler):  # which takes whatever it is given for its attributes
        return isinstance(state, dict) and not any(callable(getattr(piece, str(key), None)) for key in state)
    if not isinstance(piece, torch.optim.Optimizer):
        return True
    parameters = [p for group in piece.param_groups for p in group["params"]]
    if not isinstance(state, dict):
        return False
    remembered = state.get("state")
    if not isinstance(remembered, dict) or not remembered.keys() <= set(range(len(parameters))):
        return False
    wanted = _memory(piece)
    for index, own in remembered.items():
        if not isinstance(own, dict) or not wanted.keys() <= own.keys():
            return False
        if not all(_is_like(own[key], model, parameters[index]) for key, model in wanted.items()):
            return False
    return True


def _memory(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What an optimiser of this kind remembers of a parameter, here of one of two numbers that it has moved once."""
    like, kind = nn.Parameter(torch.zeros(2)), type(optimizer)
    like.grad = torch.zeros(2)
    known = inspect.signature(kind.__init__).parameters.keys() - {"params"}
    twin = kind([like], **{key: value for key, value in optimizer.param_groups[0].items() if key in known})
    twin.step()
    return twin.state[like]


def _is_like(value: Any, model: Any, parameter: torch.Tensor) -> bool:
    """Whether a remembered value is of the kind of another optimiser's, of a parameter's shape, and finite."""
    if model is None:
        return value is None
    if isinstance(model, torch.Tensor) and model.dim():
        fits = isinstance(value, torch.Tensor) and value.is_floating_point() and value.shape == parameter.shape
        return fits and bool(torch.isfinite(value).all())
    if isinstance(value, torch.Tensor):  # a count of steps, which older versions keep as a number
        return value.numel() == 1 and not value.is_complex() and math.isfinite(value)
    return isinstance(value, (int, float)) and math.isfinite(value)
