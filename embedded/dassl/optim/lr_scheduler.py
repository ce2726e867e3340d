"""Schedules that step once an epoch: step, multi-step and cosine, after an optional warm-up."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from shipclip.optim import SCHEDULES, ConstantWarmup, LinearWarmup, OptimOptions, Warmup, build_schedule
from shipclip.options import read

__all__ = [
    "AVAI_SCHEDS",
    "ConstantWarmupScheduler",
    "LinearWarmupScheduler",
    "_BaseWarmupScheduler",
    "build_lr_scheduler",
]

AVAI_SCHEDS = list(SCHEDULES)
_BaseWarmupScheduler, ConstantWarmupScheduler, LinearWarmupScheduler = Warmup, ConstantWarmup, LinearWarmup


def build_lr_scheduler(optimizer: torch.optim.Optimizer, optim_cfg: Any) -> LRScheduler:
    """The schedule of an OPTIM node."""
    stepsize = optim_cfg.STEPSIZE
    if not isinstance(stepsize, (list, tuple)):
        if optim_cfg.LR_SCHEDULER == "multi_step":
            raise TypeError(f"OPTIM.STEPSIZE is {stepsize!r}: multi_step needs a list of epochs")
        stepsize = (stepsize,)
    return build_schedule(optimizer, read(OptimOptions, {**optim_cfg, "STEPSIZE": stepsize}, "OPTIM."))
