"""Schedules that step once an epoch: step, multi-step and cosine, after an optional warm-up."""

from __future__ import annotations

from typing import Any

import torch
from dassl.utils import check_availability
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, StepLR

AVAI_SCHEDS = ["single_step", "multi_step", "cosine"]


class _BaseWarmupScheduler(LRScheduler):
    """W epochs of warm-up, after which another schedule starts from its own beginning.

    Upstream's state dict holds the other scheduler as an object (and with it the optimiser), which cannot be
    loaded safely and, on a resume, steps a copy of the optimiser. Here the state is plain numbers.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, successor: LRScheduler, warmup_epoch: int):
        self.successor = successor
        self.warmup_epoch = warmup_epoch
        super().__init__(optimizer)

    def step(self, epoch: int | None = None) -> None:
        if self.last_epoch >= self.warmup_epoch:
            self.successor.step(epoch)
            self._last_lr = self.successor.get_last_lr()
        else:
            super().step(epoch)

    def get_lr(self) -> list[float]:
        if self.last_epoch >= self.warmup_epoch:
            return self.successor.get_last_lr()
        return [self._warm(lr) for lr in self.base_lrs]

    def _warm(self, lr: float) -> float:
        """The rate of warm-up epoch `last_epoch` for a base rate."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        own = {key: value for key, value in self.__dict__.items() if isinstance(value, (int, float, list))}
        return {**own, "successor": self.successor.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.successor.load_state_dict(state_dict["successor"])
        self.__dict__.update({key: value for key, value in state_dict.items() if key != "successor"})


class ConstantWarmupScheduler(_BaseWarmupScheduler):
    def __init__(self, optimizer, successor: LRScheduler, warmup_epoch: int, cons_lr: float):
        self.cons_lr = cons_lr
        super().__init__(optimizer, successor, warmup_epoch)

    def _warm(self, lr: float) -> float:
        return self.cons_lr


class LinearWarmupScheduler(_BaseWarmupScheduler):
    def __init__(self, optimizer, successor: LRScheduler, warmup_epoch: int, min_lr: float):
        self.min_lr = min_lr
        super().__init__(optimizer, successor, warmup_epoch)

    def _warm(self, lr: float) -> float:
        return lr * self.last_epoch / self.warmup_epoch if self.last_epoch else self.min_lr


def build_lr_scheduler(optimizer: torch.optim.Optimizer, optim_cfg: Any) -> LRScheduler:
    """The schedule of an OPTIM node.

    The cosine goes over MAX_EPOCH epochs and starts after WARMUP_EPOCH, so it never quite reaches zero.
    """
    check_availability(optim_cfg.LR_SCHEDULER, AVAI_SCHEDS, "OPTIM.LR_SCHEDULER")
    stepsize, gamma = optim_cfg.STEPSIZE, optim_cfg.GAMMA
    if optim_cfg.LR_SCHEDULER == "single_step":
        size = stepsize[-1] if isinstance(stepsize, (list, tuple)) else stepsize
        scheduler = StepLR(optimizer, step_size=size if size > 0 else optim_cfg.MAX_EPOCH, gamma=gamma)
    elif optim_cfg.LR_SCHEDULER == "multi_step":
        if not isinstance(stepsize, (list, tuple)):
            raise TypeError(f"OPTIM.STEPSIZE is {stepsize!r}: multi_step needs a list of epochs")
        scheduler = MultiStepLR(optimizer, milestones=list(stepsize), gamma=gamma)
    else:
        scheduler = CosineAnnealingLR(optimizer, float(optim_cfg.MAX_EPOCH))

    if optim_cfg.WARMUP_EPOCH <= 0:
        return scheduler
    if not optim_cfg.WARMUP_RECOUNT:
        scheduler.last_epoch = optim_cfg.WARMUP_EPOCH
    if optim_cfg.WARMUP_TYPE == "constant":
        return ConstantWarmupScheduler(optimizer, scheduler, optim_cfg.WARMUP_EPOCH, optim_cfg.WARMUP_CONS_LR)
    if optim_cfg.WARMUP_TYPE == "linear":
        return LinearWarmupScheduler(optimizer, scheduler, optim_cfg.WARMUP_EPOCH, optim_cfg.WARMUP_MIN_LR)
    raise ValueError(f"OPTIM.WARMUP_TYPE is {optim_cfg.WARMUP_TYPE!r}: choose constant or linear")
