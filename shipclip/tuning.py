"""Stage 2's parts: what a learner is given, and what its updates minimise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from .build import Method
from .features.bank import FeatureBank
from .features.source import Batch, Batches, PixelSource, feature_batches
from .loop import Losses, Stage
from .optim import build_optimizer, build_schedule
from .precision import update
from .rng import stream
from .settings import Settings
from .synthesis import add_synthetic, agreement, objective, synthetic_bank


def batches_of(settings: Settings) -> Batches:
    """How many images an update sees, and whether an epoch's last, smaller batch is left out."""
    return Batches(settings.batch_size, drop_last=settings.ship.drop_last if settings.ship else True)


def tuning_stage(method: Method) -> Stage:
    """Stage 2: the learner's updates on real features (or images) and, with SHIP, on synthetic ones beside them."""
    s, learner, scaler = method.settings, method.learner, method.backbone.precision.scaler()
    batches = batches_of(s)
    per_epoch, epochs = batches.count(images_an_epoch(method)), s.optim.max_epoch
    stage = Stage("train", learner, _nothing, _nothing, epochs, "OPTIM.LR", scaler=scaler)  # type: ignore[arg-type]
    if learner.training_free:
        stage.epochs = 0
        return stage
    stage.optimizer = build_optimizer(learner.parameters(), s.optim)
    stage.step_schedule = bool(s.ship and s.ship.step_schedule)
    stage.scheduler = build_schedule(stage.optimizer, s.optim, per_epoch if stage.step_schedule else 1)
    own = learner.schedule(stage.optimizer, method.task.shots)
    if own:  # a learner whose length is counted in updates
        stage.scheduler, steps = own
        stage.epochs, stage.step_schedule = -(-steps // max(per_epoch, 1)), True
    stage.begin = learner.begin_epoch
    stage.batches = lambda epoch, rng: training_batches(method, epoch, rng, batches)

    def step(batch: tuple[Tensor, ...], rng: torch.Generator, epoch: int) -> Losses:
        with method.backbone.precision.training_step():
            summary = loss(method, *batch)
        update(summary["loss"], stage.optimizer, scaler)
        return summary

    stage.update = step
    return stage


def images_an_epoch(method: Method) -> int:
    if method.ship and not method.ship.real:
        return synthetic_shots(method) * len(method.names)
    return len(method.task.train)


def synthetic_shots(method: Method) -> int:
    """Features of each class where all are synthetic."""
    return method.task.shots if method.task.shots > 0 else 16


def training_batches(
    method: Method, epoch: int, rng: torch.Generator, batches: Batches
) -> Iterable[tuple[Tensor, ...]]:
    """An epoch's batches, with SHIP synthetic features beside real ones. With fresh views in every epoch stage 2's are
    not those of stage 1; without real features synthetic ones of all classes are made anew."""
    source, ship = method.source, method.ship
    if isinstance(source, PixelSource):
        return source.train_batches(epoch, rng, batches)
    if not ship:
        return feature_batches(source.training_bank(epoch), rng, batches)
    if ship.real:
        bank = source.training_bank(method.settings.generator.epochs + epoch)
        return with_synthetic(method, feature_batches(bank, rng, batches), rng)
    return feature_batches(all_synthetic(method, epoch), rng, batches)


def with_synthetic(
    method: Method, batches: Iterable[Batch], rng: torch.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Batches of real features with synthetic ones beside them, as SHIP's options say."""
    o, n_base, n_new = method.ship, method.n_base, len(method.names) - method.n_base
    context = method.backbone.precision.training_step
    return add_synthetic(method.sampler, batches, n_base, n_new, rng, o.synthetic_share, o.synthetic_classes, context)


def all_synthetic(method: Method, epoch: int) -> FeatureBank:
    """An epoch's features where no class has real ones: as many of each class."""
    labels = torch.arange(len(method.names)).repeat_interleave(synthetic_shots(method))
    return synthetic_bank(method.sampler, labels, 1, stream(method.seed, "synthetic", epoch))


def loss(method: Method, x: Tensor, labels: Tensor, *synthetic: Tensor) -> Losses:
    """One step's scalars: the learner's own loss, or SHIP's on B real and S synthetic features.

    Args:
        x, labels: images or features, and their classes, (B,), on the CPU.
        synthetic: beside real features, synthetic ones (S, d) and theirs (S,), on the CPU.
    """
    options, learner, B, n_base = method.ship, method.learner, len(x), method.n_base
    if synthetic:
        x, labels = torch.cat([x, synthetic[0]]), torch.cat([labels, synthetic[1]])
    labels = labels.to(x.device, non_blocking=True)
    if not options:
        return learner.loss(x, labels)
    n_real = B if options.real else 0
    weights = torch.full(labels.shape, options.synthetic_weight, device=labels.device)
    weights[:n_real] = 1.0
    if options.filter:
        weights *= agreement(x, labels, learner.text_features(method.names), n_real)
    classify = learner.classifier(method.names, options.logit_scale)
    summary = objective(classify(x), labels, weights, n_base, options)
    if options.anchor_weight:  # mean of 1 - cosine similarity of the class features and the hand-written texts'
        near = (classify.class_features * learner.text_features(method.names)).sum(dim=1)
        summary["loss"] = summary["loss"] + options.anchor_weight * (1 - near).mean()
    return summary


def preparation_bank(method: Method) -> FeatureBank:
    """All training features, for what a learner takes from them before the first epoch; with SHIP real ones, then some
    of each new class under as many views."""
    ship, epoch = method.ship, method.settings.generator.epochs if method.ship else 0
    if ship and not ship.real:
        return all_synthetic(method, 0)
    real = method.source.training_bank(epoch)
    if not ship:
        return real
    shots = ship.synthetic_shots or max(1, round(len(real) / method.n_base))
    labels = torch.arange(method.n_base, len(method.names)).repeat_interleave(shots)
    made = synthetic_bank(method.sampler, labels, len(real.features), stream(method.seed, "preparation"))
    features = torch.cat([real.features.float(), made.features], dim=1)
    return FeatureBank(features, torch.cat([real.labels, made.labels]))


def _nothing(*args: Any) -> Any:
    return ()
