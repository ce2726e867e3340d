"""Stage 2's mixture and loss."""

from __future__ import annotations

import math
from contextlib import contextmanager

import pytest
import torch

from shipclip import synthesis
from shipclip.synthesis import ShipOptions, add_synthetic, agreement, objective, synthetic_bank

LOGITS = torch.tensor([[2.0, 0, 1], [0, 1, 0], [1, 0, 3]])
LABELS = torch.tensor([0, 1, 2])  # classes 0 and 1 are base


class Named:
    """A feature is its class and the number that was drawn for it; `passes` counts the samples of each pass, `inside`
    tells of each whether the context was entered."""

    def __init__(self):
        self.passes: list[int] = []
        self.inside: list[bool] = []
        self.entered = False

    @contextmanager
    def context(self):
        self.entered = True
        yield
        self.entered = False

    def draw(self, count, rng):
        return (torch.rand(count, generator=rng),)

    def make(self, labels, drawn):
        self.passes.append(len(labels))
        self.inside.append(self.entered)
        return torch.stack([labels.float(), drawn], dim=1)

    def sample(self, labels, rng):
        return self.make(labels, *self.draw(len(labels), rng))


def weights(*values: float) -> torch.Tensor:
    return torch.tensor(values)


def options(joint: float, own: float) -> ShipOptions:
    return ShipOptions(joint_weight=joint, own_weight=own)


def entropy(row: list[float], right: int) -> float:
    return -math.log(math.exp(row[right]) / sum(map(math.exp, row)))


def test_the_reference_loss_is_plain_cross_entropy():
    found = objective(LOGITS, LABELS, torch.ones(3), 2, options(1.0, 0.0))
    torch.testing.assert_close(found["loss"], torch.nn.functional.cross_entropy(LOGITS, LABELS))
    assert found["acc"] == 100


def test_weighted_joint_and_own_terms_by_hand():
    found = objective(LOGITS, LABELS, weights(1, 1, 0.5), 2, options(2.0, 3.0))["loss"].item()
    joint = [entropy([2, 0, 1], 0), entropy([0, 1, 0], 1), entropy([1, 0, 3], 2)]
    own = [entropy([2, 0], 0), entropy([0, 1], 1), 0.0]  # class 2 is the only new one
    mean = [(a + b + 0.5 * c) / 2.5 for a, b, c in (joint, own)]
    assert found == pytest.approx(2 * mean[0] + 3 * mean[1], rel=1e-5)


def test_the_own_term_has_no_gradient_across_halves():
    logits = LOGITS.clone().requires_grad_()
    objective(logits, LABELS, torch.ones(3), 2, options(0.0, 1.0))["loss"].backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[:2, 2].abs().sum() == 0 and logits.grad[2, :2].abs().sum() == 0
    assert logits.grad[0, 0] != 0


def test_share_and_classes_of_the_synthetic_features():
    batches = [(torch.zeros(400, 2), torch.zeros(400, dtype=torch.long))]
    rng = torch.Generator().manual_seed(0)
    ((x, _, _, of),) = add_synthetic(Named(), batches, 2, 2, rng, share=0.5)
    assert len(x) + len(of) == 600
    ((_, _, _, made),) = add_synthetic(Named(), batches, 2, 2, rng, share=2.0, classes="all")
    assert len(made) == 800 and set(made.tolist()) == {0, 1, 2, 3}


def batches_of(*sizes: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.full((n, 2), float(n)), torch.zeros(n, dtype=torch.long)) for n in sizes]


@pytest.mark.parametrize(
    ("share", "passes", "asked"),
    [
        (1.0, [6, 6, 4], [0, 0, 0, 1, 1, 2]),
        (2.0, [6, 6, 4, 8, 6, 2], [0, 0, 1, 2, 3, 4]),
        (0.4, [2, 3, 1], [0, 0, 0, 1, 1, 2]),  # 1, 1; 1, 2; 1, 0 synthetic ones
    ],
)
def test_synthetic_features_are_drawn_by_the_batch_and_made_for_several(
    share: float, passes: list[int], asked: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(synthesis, "SAMPLES_AT_ONCE", 7)
    batches, named, rng, read = batches_of(3, 3, 2, 4, 3, 1), Named(), torch.Generator().manual_seed(4), []

    def reading():
        for batch in batches:
            read.append(len(named.passes))
            yield batch

    found = []
    for one in add_synthetic(named, reading(), 2, 3, rng, share, context=named.context):
        assert not named.entered
        found.append(one)
    assert named.passes == passes and all(named.inside) and read == asked
    alone, rng = Named(), torch.Generator().manual_seed(4)
    for (x, labels, features, made), (real, of) in zip(found, batches, strict=True):
        assert torch.equal(x, real) and torch.equal(labels, of) and torch.equal(features[:, 0], made.float())
        ((*_, wanted, _),) = add_synthetic(alone, [(real, of)], 2, 3, rng, share)
        assert torch.equal(features, wanted) and len(wanted) == round(share * len(real))


def test_where_nothing_is_synthesized_an_epoch_is_not_held(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(synthesis, "SAMPLES_AT_ONCE", 7)
    held, most = 0, 0

    def reading():
        nonlocal held, most
        for batch in batches_of(*[3] * 20):
            held += 1
            most = max(most, held)
            yield batch

    for _ in add_synthetic(Named(), reading(), 2, 3, torch.Generator(), 0.0):
        held -= 1
    assert held == 0 and most == 3


def test_features_that_clip_takes_for_another_class_are_left_out_unless_real():
    class_features = torch.eye(3)
    features = torch.eye(3)[[1, 0, 2, 1]]
    found = agreement(features, torch.tensor([0, 0, 2, 2]), class_features, n_real=1)
    assert found.tolist() == [1, 1, 1, 0]


def test_a_synthetic_bank_has_views_and_labels():
    bank = synthetic_bank(Named(), torch.tensor([3, 3, 5]), 2, torch.Generator())
    assert bank.features.shape == (2, 3, 2) and bank.labels.tolist() == [3, 3, 5]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.25])
def test_a_share_that_comes_to_nothing_adds_nothing(share: float):
    """The last batch of an epoch may be a single feature."""
    features, labels = torch.ones(1, 1), torch.zeros(1, dtype=torch.long)
    named = Named()
    ((x, y, made, of),) = add_synthetic(named, [(features, labels)], 1, 2, torch.Generator(), share)
    assert x is features and y is labels and made.shape == (0, 1) and not len(of) and not named.passes
