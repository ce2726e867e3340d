"""Optimisers and their schedules, by Dassl's keys and with Dassl's numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, StepLR

from .errors import UserError
from .options import one_of

OPTIMISERS = ("adam", "amsgrad", "sgd", "rmsprop", "radam", "adamw")
SCHEDULES = ("single_step", "multi_step", "cosine")


@dataclass(frozen=True)
class OptimOptions:
    """A learner's optimiser. The defaults are Dassl's."""

    name: str = "adam"
    lr: float = 0.0003
    weight_decay: float = 5e-4
    momentum: float = 0.9
    sgd_dampning: float = 0.0
    sgd_nesterov: bool = False
    rmsprop_alpha: float = 0.99
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_eps: float = 1e-8
    lr_scheduler: str = "single_step"
    stepsize: tuple[int, ...] = (-1,)
    gamma: float = 0.1
    max_epoch: int = 10
    warmup_epoch: int = -1
    warmup_type: str = "linear"
    warmup_cons_lr: float = 1e-5
    warmup_min_lr: float = 1e-5
    warmup_recount: bool = True


def build_optimizer(parameters: Iterable[Any], options: OptimOptions) -> Optimizer:
    """The optimiser over parameters, or groups of them (frozen ones get no gradient).

    Raises:
        UserError: an unknown name.
    """
    o = options
    one_of(o.name, "OPTIM.NAME", OPTIMISERS)
    shared: dict[str, Any] = {"lr": o.lr, "weight_decay": o.weight_decay}
    if o.name == "sgd":
        further = {"momentum": o.momentum, "dampening": o.sgd_dampning, "nesterov": o.sgd_nesterov}
        return torch.optim.SGD(parameters, **shared, **further)
    if o.name == "rmsprop":
        return torch.optim.RMSprop(parameters, **shared, momentum=o.momentum, alpha=o.rmsprop_alpha)
    adam = {**shared, "betas": (o.adam_beta1, o.adam_beta2), "eps": o.adam_eps}
    if o.name == "radam":
        return torch.optim.RAdam(parameters, **adam)
    if o.name == "adamw":
        return torch.optim.AdamW(parameters, **adam)
    return torch.optim.Adam(parameters, amsgrad=o.name == "amsgrad", **adam)


def build_schedule(optimizer: Optimizer, options: OptimOptions, steps_an_epoch: int = 1) -> LRScheduler:
    """The schedule; it is stepped once an epoch, or, with `steps_an_epoch`, once a batch.

    The cosine goes over max_epoch epochs and starts after warmup_epoch, so it never quite reaches zero.

    Raises:
        UserError: an unknown schedule or warm-up.
    """
    o, length = options, options.max_epoch * steps_an_epoch
    one_of(o.lr_scheduler, "OPTIM.LR_SCHEDULER", SCHEDULES)
    if o.lr_scheduler == "single_step":
        size = o.stepsize[-1] if o.stepsize else -1
        scheduler: LRScheduler = StepLR(optimizer, step_size=size if size > 0 else length, gamma=o.gamma)
    elif o.lr_scheduler == "multi_step":
        scheduler = MultiStepLR(optimizer, milestones=list(o.stepsize), gamma=o.gamma)
    else:
        scheduler = CosineAnnealingLR(optimizer, float(length))
    if o.warmup_epoch <= 0:
        return scheduler
    if not o.warmup_recount:
        scheduler.last_epoch = o.warmup_epoch
    if o.warmup_type == "constant":
        return ConstantWarmup(optimizer, scheduler, o.warmup_epoch, o.warmup_cons_lr)
    if o.warmup_type == "linear":
        return LinearWarmup(optimizer, scheduler, o.warmup_epoch, o.warmup_min_lr)
    raise UserError(f"OPTIM.WARMUP_TYPE is {o.warmup_type!r}: choose constant or linear")


class Warmup(LRScheduler):
    """W epochs of warm-up, after which another schedule starts from its own beginning.

    Upstream's state dict holds the other scheduler as an object (and with it the optimiser), which cannot be
    loaded safely and, on a resume, steps a copy of the optimiser. Here the state is plain numbers.
    """

    def __init__(self, optimizer: Optimizer, successor: LRScheduler, warmup_epoch: int):
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


class ConstantWarmup(Warmup):
    def __init__(self, optimizer: Optimizer, successor: LRScheduler, warmup_epoch: int, cons_lr: float):
        self.cons_lr = cons_lr
        super().__init__(optimizer, successor, warmup_epoch)

    def _warm(self, lr: float) -> float:
        return self.cons_lr


class LinearWarmup(Warmup):
    def __init__(self, optimizer: Optimizer, successor: LRScheduler, warmup_epoch: int, min_lr: float):
        self.min_lr = min_lr
        super().__init__(optimizer, successor, warmup_epoch)

    def _warm(self, lr: float) -> float:
        return lr * self.last_epoch / self.warmup_epoch if self.last_epoch else self.min_lr
