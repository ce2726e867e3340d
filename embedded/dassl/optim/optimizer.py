from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from shipclip import optim as shared
from shipclip.options import read

AVAI_OPTIMS = list(shared.OPTIMISERS)


def build_optimizer(
    model: nn.Module | Iterable[nn.Parameter], optim_cfg: Any, param_groups: Any = None
) -> torch.optim.Optimizer:
    """The optimiser of an OPTIM node, over all of a model's parameters (frozen ones get no gradient).

    Args:
        model: a module, or parameters.
        optim_cfg: the node; NAME is one of adam, amsgrad, sgd, rmsprop, radam, adamw.
        param_groups: if given, used in place of the model's parameters.

    Raises:
        ValueError: an unknown name.
        TypeError: STAGED_LR without a module.
    """
    if param_groups is not None:
        if optim_cfg.STAGED_LR:
            warnings.warn("OPTIM.STAGED_LR is ignored: parameter groups are given", stacklevel=2)
    elif optim_cfg.STAGED_LR:
        param_groups = _staged(model, optim_cfg)
    else:
        param_groups = model.parameters() if isinstance(model, nn.Module) else model

    # The schedule's keys are not the optimiser's, and STEPSIZE may be a number here.
    own = {key: value for key, value in optim_cfg.items() if key not in ("LR_SCHEDULER", "STEPSIZE")}
    return shared.build_optimizer(param_groups, read(shared.OptimOptions, own, "OPTIM."))


def _staged(model: nn.Module, optim_cfg: Any) -> list[dict[str, Any]]:
    """Two groups: all direct children but NEW_LAYERS at LR * BASE_LR_MULT, then NEW_LAYERS at LR."""
    if not isinstance(model, nn.Module):
        raise TypeError("OPTIM.STAGED_LR needs a module, to tell its children apart")
    model = getattr(model, "module", model)
    new_layers = optim_cfg.NEW_LAYERS
    new_layers = [new_layers] if isinstance(new_layers, str) else list(new_layers)
    if not new_layers:
        warnings.warn("OPTIM.NEW_LAYERS is empty, so OPTIM.STAGED_LR has no effect on any layer", stacklevel=3)
    unknown = set(new_layers) - {name for name, _ in model.named_children()}
    if unknown:
        warnings.warn(f"OPTIM.NEW_LAYERS names {', '.join(sorted(unknown))}, which the model has not", stacklevel=3)
    base, new = [], []
    for name, child in model.named_children():
        (new if name in new_layers else base).extend(child.parameters())
    return [{"params": base, "lr": optim_cfg.LR * optim_cfg.BASE_LR_MULT}, {"params": new}]
