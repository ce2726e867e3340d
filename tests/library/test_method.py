"""Both stages on small features: what stage 2 trains on, its loss, and its updates written out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from shipclip import loop, method, tuning
from shipclip.backbones.base import Backbone, normalise
from shipclip.errors import UserError
from shipclip.features.bank import FeatureBank
from shipclip.features.source import Batches
from shipclip.generators.gaussian import Gaussian
from shipclip.learners import LEARNERS
from shipclip.method import Method
from shipclip.optim import OptimOptions
from shipclip.rng import stream
from shipclip.settings import Settings
from shipclip.synthesis import ShipOptions
from shipclip.task import Item, LabelSpace, Task
from shipclip.texts import Texts

BASE, NEW = ("cat", "dog"), ("goat", "sea_or_lake")
LABELS = torch.tensor([0, 0, 0, 1, 1, 1, 0, 1, 0, 1])
OPTIM = OptimOptions(name="sgd", lr=0.05, lr_scheduler="cosine", max_epoch=3)


class Fixed:
    """A source whose images are known by their features; remembers which epochs it was asked for."""

    def __init__(self, dim: int, views: int = 2):
        rng = torch.Generator().manual_seed(0)
        self.bank_of = FeatureBank(normalise(torch.randn(views, len(LABELS), dim, generator=rng)), LABELS)
        self.asked: list[int] = []

    def training_bank(self, epoch: int) -> FeatureBank:
        self.asked.append(epoch)
        return self.bank_of


def made(clip: Backbone, learner: str, ship: ShipOptions | None = None, **changed: Any) -> Method:
    cls = LEARNERS.get(learner)
    settings = Settings(
        method="SHIP" if ship else learner,
        learner=cls,
        options=cls.Options(**changed),
        precision="fp32",
        optim=OPTIM,
        batch_size=4,
        ship=ship,
        generator=Gaussian.Options(epochs=7) if ship else None,
    )
    items = [Item("", label) for label in LABELS.tolist()]
    task = Task("Own", LabelSpace(BASE, 2, further=NEW), items, shots=5)
    if ship and not ship.real:
        task = replace(task, labels=LabelSpace((*BASE, *NEW), 0))
    one = Method(settings, task, clip, Fixed(clip.dim), None, 3)  # type: ignore[arg-type]
    one.learner = cls(clip, one.names, settings.options, 3, Texts())
    if ship:
        one.generator = Gaussian(clip, one.names, settings.generator, 3)
        one.generator.std = torch.full((clip.dim,), 0.1)
    return one


def test_a_learners_epochs_are_those_of_a_loop_written_out(clip: Backbone):
    """The same loop as a generator's, but for its stream's name and the smaller last batch, which is left out."""
    first, second = made(clip, "CLIPAdapter"), made(clip, "CLIPAdapter")
    loop.run(method.tuning_stage(first), 3, 0, lambda epoch: None)
    optimizer = torch.optim.SGD(second.learner.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)
    data = second.source.training_bank(0)
    for epoch in range(3):
        rng = stream(3, "train", epoch)
        features = data.draw(rng)
        for rows in torch.randperm(len(data), generator=rng).split(4)[:2]:
            optimizer.zero_grad()
            F.cross_entropy(second.learner.classifier(BASE)(features[rows]), LABELS[rows]).backward()
            optimizer.step()
        schedule.step()
    for a, b in zip(first.learner.parameters(), second.learner.parameters(), strict=True):
        assert torch.equal(a, b)


def test_with_ship_synthetic_features_stand_behind_the_real_ones(clip: Backbone, monkeypatch: pytest.MonkeyPatch):
    ship = made(clip, "CoOp", ShipOptions(synthetic_weight=0.25), n_ctx=2)
    assert ship.names == (*BASE, *NEW) and ship.n_base == 2
    seen: list[tuple[Tensor, Tensor, int]] = []
    production = tuning.objective

    def objective(
        logits: Tensor, labels: Tensor, weights: Tensor, n_base: int, options: ShipOptions
    ) -> dict[str, Tensor]:
        seen.append((labels, weights, n_base))
        return production(logits, labels, weights, n_base, options)

    monkeypatch.setattr(tuning, "objective", objective)
    x = ship.source.training_bank(0).features[0, :4]
    ((*batch,),) = tuning.with_synthetic(ship, [(x, LABELS[:4])], torch.Generator().manual_seed(0))
    tuning.loss(ship, *batch)
    ((labels, weights, n_base),) = seen
    assert labels[:4].tolist() == LABELS[:4].tolist() and set(labels[4:].tolist()) <= {2, 3} and len(labels) == 8
    assert weights.tolist() == [1.0] * 4 + [0.25] * 4 and n_base == 2


def test_stage_2_sees_other_epochs_of_views_than_stage_1(clip: Backbone):
    ship = made(clip, "CoOp", ShipOptions(), n_ctx=2)
    list(tuning.training_batches(ship, 2, torch.Generator(), Batches(4)))
    assert ship.source.asked == [7 + 2]


def test_a_learner_is_prepared_with_as_many_features_of_each_new_class(clip: Backbone):
    bank = tuning.preparation_bank(made(clip, "TipAdapter", ShipOptions()))
    assert bank.features.shape == (2, 20, clip.dim)
    assert torch.bincount(bank.labels).tolist() == [5, 5, 5, 5]
    bank = tuning.preparation_bank(made(clip, "TipAdapter", ShipOptions(synthetic_shots=3)))
    assert torch.bincount(bank.labels).tolist() == [5, 5, 3, 3]


def test_without_real_features_all_classes_are_synthesized(clip: Backbone):
    ship = made(clip, "CoOp", ShipOptions(real=False), n_ctx=2)
    assert ship.names == (*BASE, *NEW) and ship.n_base == 0 and tuning.images_an_epoch(ship) == 20
    found = list(tuning.training_batches(ship, 0, torch.Generator().manual_seed(0), Batches(20)))
    assert torch.bincount(found[0][1]).tolist() == [5, 5, 5, 5] and not ship.source.asked


def test_the_anchor_is_to_the_hand_written_texts(clip: Backbone):
    x = torch.eye(clip.dim)[:4]
    ships = [made(clip, "CoOp", ShipOptions(anchor_weight=weight), n_ctx=2) for weight in (0.0, 2.0)]
    plain, pulled = (
        tuning.loss(ship, *batch)["loss"]
        for ship in ships
        for batch in tuning.with_synthetic(ship, [(x, LABELS[:4])], torch.Generator().manual_seed(0))
    )
    learner = made(clip, "CoOp", ShipOptions(), n_ctx=2).learner
    near = (learner.classifier(learner.names).class_features * learner.text_features(learner.names)).sum(dim=1)
    torch.testing.assert_close(pulled - plain, 2 * (1 - near).mean())


def test_an_anchor_needs_class_features(clip: Backbone):
    ship = made(clip, "CLIPAdapter", ShipOptions(anchor_weight=1.0, learner="CLIPAdapter"))
    with pytest.raises(UserError, match="ANCHOR_WEIGHT needs class features, and CLIPAdapter learns none: set it to 0"):
        method.check(ship)


def test_what_has_nothing_to_train_has_no_epochs(clip: Backbone):
    stage = method.tuning_stage(made(clip, "TipAdapter"))
    assert stage.epochs == 0 and stage.optimizer is None
