"""The one epoch loop: SHIP's generator and every learner are trained by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from . import profiling
from .errors import NotFinite
from .rng import stream

Losses = dict[str, Tensor]


@dataclass
class Stage:
    """What one stage of training is.

    Attributes:
        name: of its stream of random numbers.
        module: what is trained, and kept in checkpoints.
        batches: (epoch, rng) -> the epoch's batches: images or features, their labels (on the CPU), and what more.
        update: (batch, rng, epoch) -> the batch's scalars as they were before the update that it made.
        epochs: how many.
        lr_key: the config key of the learning rate, for the sentence on a loss that is not finite.
        optimizer, scheduler, scaler: kept in checkpoints.
        step_schedule: the schedule steps with each batch, not with each epoch.
        begin: called with the epoch before it.
        finish: called after the last epoch, before its checkpoint.
    """

    name: str
    module: nn.Module
    batches: Callable[[int, torch.Generator], Iterable[tuple[Tensor, ...]]]
    update: Callable[[Any, torch.Generator, int], Losses]
    epochs: int
    lr_key: str
    optimizer: torch.optim.Optimizer | None = None
    scheduler: Any = None
    scaler: torch.amp.GradScaler | None = None
    step_schedule: bool = False
    begin: Callable[[int], None] | None = None
    finish: Callable[[], None] | None = None

    @property
    def lr(self) -> float:
        return self.optimizer.param_groups[0]["lr"] if self.optimizer else 0.0

    def state(self) -> dict[str, Any]:
        """All that a checkpoint keeps, but for the epoch."""
        parts = {"optimizer": self.optimizer, "scheduler": self.scheduler, "scaler": self.scaler}
        states = {name: part.state_dict() if part is not None else None for name, part in parts.items()}
        return {"state_dict": self.module.state_dict(), **states}


@dataclass(frozen=True)
class Epoch:
    """What an epoch was.

    Attributes:
        number: epochs done, from 1.
        batches: how many.
        last, mean: the last batch's scalars, and their means over the epoch's samples.
        lr: after it.
        time, data: seconds, (last batch's, mean over batches).
    """

    number: int
    batches: int
    last: dict[str, float]
    mean: dict[str, float]
    lr: float
    time: tuple[float, float]
    data: tuple[float, float]


def run(stage: Stage, seed: int, start: int, on_epoch: Callable[[Epoch], None]) -> None:
    """Train from epoch `start` to the last; scalars are fetched from the device once an epoch.

    Raises:
        NotFinite: a loss that is no number any more.
    """
    with profiling.stage(stage.name):
        for epoch in range(start, stage.epochs):
            on_epoch(_train(stage, seed, epoch))


def _train(stage: Stage, seed: int, epoch: int) -> Epoch:
    stage.module.train()
    if stage.begin:
        stage.begin(epoch)
    rng = stream(seed, stage.name, epoch)
    sums: Tensor | None = None
    rows = count = 0
    data_time, took, total_data, began = 0.0, 0.0, 0.0, time.time()
    losses: Losses = {}
    bar = tqdm(stage.batches(epoch, rng), desc=f"Epoch {epoch + 1}", leave=False, delay=2, disable=None)
    ended = began
    for batch in bar:
        data_time, size = time.time() - ended, len(batch[0])
        with profiling.step(size):
            losses = stage.update(batch, rng, epoch)
        if stage.scheduler is not None and stage.step_schedule:
            stage.scheduler.step()
        weighted = torch.stack([value.detach().double() for value in losses.values()]) * size
        sums = weighted if sums is None else sums + weighted
        rows, count, total_data = rows + size, count + 1, total_data + data_time
        took, ended = time.time() - ended, time.time()
    if sums is None:
        raise RuntimeError(f"the stage {stage.name!r} has no batches")
    means = (sums / rows).tolist()
    if not all(abs(value) < float("inf") for value in means):  # false for NaN as well
        raise NotFinite(f"the loss is not finite in epoch {epoch + 1}: lower {stage.lr_key}, or compute in fp32")
    if stage.scheduler is not None and not stage.step_schedule:
        stage.scheduler.step()
    if epoch + 1 == stage.epochs and stage.finish:
        stage.finish()
    last = dict(zip(losses, torch.stack([v.detach().double() for v in losses.values()]).tolist(), strict=True))
    seconds = time.time() - began
    mean = dict(zip(losses, means, strict=True))
    return Epoch(epoch + 1, count, last, mean, stage.lr, (took, seconds / count), (data_time, total_data / count))
