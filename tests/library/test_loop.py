"""The one epoch loop, which trains generators and learners alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shipclip import loop, stage1
from shipclip.backbones.base import Backbone
from shipclip.errors import NotFinite
from shipclip.generators.mlp import MLP, MLPOptions
from shipclip.loop import Epoch, Stage
from shipclip.rng import stream
from tests.generators.common import NAMES, Fixed, bank

ROWS = torch.arange(5.0)[:, None]  # features of five images


def batches(epoch: int, rng: torch.Generator) -> Iterable[tuple[Tensor, Tensor]]:
    order = torch.randperm(5, generator=rng)
    return [(ROWS[part], part) for part in order.split(2)]


def stage(**further: Any) -> Stage:
    """The loss is each batch's mean; nothing is learned."""
    module = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)

    def update(batch: Any, rng: torch.Generator, epoch: int) -> loop.Losses:
        optimizer.step()
        return {"loss": batch[0].mean(), "noise": torch.rand((), generator=rng)}

    return Stage("train", module, batches, update, 4, "OPTIM.LR", optimizer, **further)


def epochs(one: Stage, start: int = 0) -> list[Epoch]:
    told: list[Epoch] = []
    loop.run(one, 7, start, told.append)
    return told


def test_an_epochs_mean_is_over_its_samples_not_its_batches():
    first = epochs(stage())[0]
    assert first.mean["loss"] == pytest.approx(2.0)  # 0 ... 4, the last batch has one of them
    assert (first.number, first.batches) == (1, 3)
    assert first.last["loss"] in ROWS.flatten().tolist()


def test_every_epoch_has_a_stream_of_its_own():
    whole, rest = epochs(stage()), epochs(stage(), start=2)
    assert len({epoch.mean["noise"] for epoch in whole}) == 4
    assert [epoch.mean for epoch in whole[2:]] == [epoch.mean for epoch in rest]
    rng = stream(7, "train", 0)
    torch.randperm(5, generator=rng)
    draws = [torch.rand((), generator=rng).double() for _ in range(3)]
    assert whole[0].mean["noise"] == pytest.approx(float((2 * draws[0] + 2 * draws[1] + draws[2]) / 5))


@pytest.mark.parametrize(("each_step", "lr"), [(False, 0.5), (True, 0.125)])
def test_the_schedule_steps_with_each_epoch_or_each_batch(each_step: bool, lr: float):
    one = stage(step_schedule=each_step)
    one.scheduler = torch.optim.lr_scheduler.ExponentialLR(one.optimizer, 0.5)
    assert epochs(one)[0].lr == pytest.approx(lr)


def test_begin_comes_before_each_epoch_and_finish_before_the_last_is_told():
    calls: list[Any] = []
    one = stage(begin=lambda epoch: calls.append(epoch), finish=lambda: calls.append("finish"))
    loop.run(one, 0, 2, lambda epoch: calls.append(f"told {epoch.number}"))
    assert calls == [2, "told 3", 3, "finish", "told 4"]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_loss_that_is_not_finite_stops_it_with_its_key(value: str):
    one, told = stage(), []
    plain = one.update
    one.update = lambda batch, rng, epoch: (
        plain(batch, rng, epoch) | ({"loss": torch.tensor(float(value))} if epoch == 1 else {})
    )
    with pytest.raises(NotFinite, match="the loss is not finite in epoch 2: lower OPTIM.LR, or compute in fp32"):
        loop.run(one, 0, 0, told.append)
    assert len(told) == 1  # nothing of the second is kept


def test_a_stage_without_batches_is_a_bug():
    one = stage()
    one.batches = lambda epoch, rng: []
    with pytest.raises(RuntimeError, match="'train' has no batches"):
        epochs(one)


def test_a_generators_epochs_are_those_of_a_loop_written_out(clip: Backbone):
    """Draw a view, shuffle, and take all batches, the smaller last one too; one stream of numbers an epoch."""
    data, options = bank(clip), MLPOptions(encoder_hidden=16, hidden=16, epochs=3, batch_size=8)
    first, second = (MLP(clip, NAMES, options, 5) for _ in range(2))
    curve: list[dict[str, float]] = []
    source = Fixed(data)
    loop.run(stage1.stage_of(first, source), 5, 0, lambda epoch: curve.append(epoch.mean))  # type: ignore[arg-type]
    optimizer, means = second.optimizer(), []
    for epoch in range(3):
        rng, losses = stream(5, "stage1", epoch), torch.zeros(3, dtype=torch.float64)
        features = data.draw(rng)
        for rows in torch.randperm(len(data), generator=rng).split(8):
            noise = torch.randn(len(rows), clip.dim, generator=rng)
            losses += len(rows) * second.step(optimizer, features[rows], data.labels[rows], noise, epoch).double()
        means.append((losses / len(data)).tolist())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert [list(epoch.values()) for epoch in curve] == means
