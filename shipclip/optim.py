"""Optimisers and their schedules, by Dassl's keys and with Dassl's numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, StepLR

from .errors import UserError
from .options import option

OPTIMISERS = ("adam", "amsgrad", "sgd", "rmsprop", "radam", "adamw")
SCHEDULES = ("single_step", "multi_step", "cosine")
WARMUPS = ("constant", "linear")
SCHEDULE_KEYS = ("LR_SCHEDULER", "STEPSIZE", "GAMMA", "WARMUP_EPOCH", "WARMUP_TYPE", "WARMUP_CONS_LR", "WARMUP_MIN_LR")
SCHEDULE_KEYS += ("WARMUP_RECOUNT",)
EPOCHS = 1_000_000  # more than anybody trains for


@dataclass(frozen=True)
class OptimOptions:
    """A learner's optimiser. The defaults are Dassl's."""

    name: str = option("adam", choices=OPTIMISERS)
    lr: float = option(0.0003, above=0)
    weight_decay: float = option(5e-4, least=0)
    momentum: float = option(0.9, least=0, below=1)
    sgd_dampning: float = option(0.0, least=0, most=1)
    sgd_nesterov: bool = False
    rmsprop_alpha: float = option(0.99, least=0, below=1)
    adam_beta1: float = option(0.9, least=0, below=1)
    adam_beta2: float = option(0.999, least=0, below=1)
    adam_eps: float = option(1e-8, least=0)
    lr_scheduler: str = option("single_step", choices=SCHEDULES)
    stepsize: tuple[int, ...] = option((-1,), of=int, least=-1)
    gamma: float = option(0.1, above=0)
    max_epoch: int = option(10, least=1, most=EPOCHS)
    warmup_epoch: int = option(-1, least=-1, most=EPOCHS)
    warmup_type: str = option("linear", choices=WARMUPS)
    warmup_cons_lr: float = option(1e-5, least=0)
    warmup_min_lr: float = option(1e-5, least=0)
    warmup_recount: bool = True

    def check(self, where: str) -> None:
        """Refuse what fits one by one and not together."""
        if self.name == "sgd" and self.sgd_nesterov and (self.momentum == 0 or self.sgd_dampning):
            raise UserError(
                f"{where}SGD_NESTEROV needs momentum without dampening: set {where}MOMENTUM above 0 and "
                f"{where}SGD_DAMPNING to 0"
            )
        steps = self.stepsize
        if self.lr_scheduler == "multi_step" and (min(steps, default=0) < 1 or list(steps) != sorted(set(steps))):
            raise UserError(f"{where}STEPSIZE is {steps}: give multi_step the epochs of its steps, in order, from 1 on")


def build_optimizer(parameters: Iterable[Any], options: OptimOptions) -> Optimizer:
    """The optimiser over parameters, or groups of them (frozen ones get no gradient)."""
    o = options
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
    """
    o, length = options, options.max_epoch * steps_an_epoch
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
    return LinearWarmup(optimizer, scheduler, o.warmup_epoch, o.warmup_min_lr)


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
