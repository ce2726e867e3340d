"""SHIP's second stage: real base features and synthetic ones of the new classes, and the loss on both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from . import profiling
from .errors import UserError
from .features.bank import FeatureBank
from .features.source import Batch
from .generators.base import SAMPLES_AT_ONCE
from .options import option
from .precision import NAMES, product


@dataclass(frozen=True)
class GeneratorChoice:
    """Which generator, and how it comes about; its own options stand beside these keys."""

    name: str = "VAE"  # VAE, GAN, MLP (a decoder learned from scratch), Gaussian or TextPoint
    from_: str = ""  # folder of a finished SHIP run whose generator is taken as it is: no stage 1
    only: bool = False  # stop after stage 1
    checkpoint_freq: int = option(10, least=0)  # epochs between checkpoints; the last is always kept


@dataclass(frozen=True)
class ShipOptions:
    """SHIP's options. The defaults are the reference code's settings."""

    prec: str = option("fp32", choices=NAMES)
    new_classnames: str = ""  # file with a new class's name a line; empty: the data set's new half
    measure: bool = True  # at the test, compare synthetic features with the test images' (Frechet distance and so on)
    generator: GeneratorChoice = field(default_factory=GeneratorChoice)

    # Stage 2: a fresh learner on real and synthetic features (OPTIM holds its optimiser). Learners other than CoOp
    # and CoCoOp take their options from their own node, TRAINER.<LEARNER>.
    learner: str = "CoOp"  # a name in shipclip/learners
    n_ctx: int = option(4, least=1, most=1000)
    ctx_init: str = "a photo of a"  # sets the number of vectors
    logit_scale: float = option(100.0, above=0)  # the reference code's constant in training
    step_schedule: bool = True  # the learning rate steps with each batch, not with each epoch
    drop_last: bool = False  # leave out the last, smaller batch of an epoch
    real: bool = True  # False: synthetic features alone, of all classes of the data set (cross-data-set transfer)
    synthetic_share: float = option(1.0, least=0, most=1000)  # synthetic features for each real one
    synthetic_classes: str = option("new", choices=("new", "all"))  # of new classes alone, or of "all"
    synthetic_weight: float = option(1.0, least=0)  # of a synthetic feature in the loss; a real one has 1
    # Features of each new class that a learner is prepared with; 0: as a base class has.
    synthetic_shots: int = option(0, least=0, most=100_000)
    filter: bool = False  # leave out synthetic features that zero-shot CLIP takes for another class
    joint_weight: float = option(1.0, least=0)  # cross entropy among all classes
    own_weight: float = option(0.0, least=0)  # of base features among base classes, of new ones among new classes
    # Pulls class features to the hand-written prompts' (KgCoOp, Yao et al., CVPR 2023).
    anchor_weight: float = option(0.0, least=0)

    def check(self, where: str) -> None:
        """Refuse what fits one by one and not together."""
        if self.new_classnames and not self.real:
            raise UserError(
                "TRAINER.SHIP.NEW_CLASSNAMES adds classes to real ones, and with TRAINER.SHIP.REAL False there are "
                "none: leave one of the two out"
            )
        if self.joint_weight <= 0 and self.own_weight <= 0:
            raise UserError("TRAINER.SHIP.JOINT_WEIGHT and OWN_WEIGHT are both 0, so there is no loss: raise one")


class Sampler(Protocol):
    """What stage 2 asks of a trained generator: samples, in one go or in two halves."""

    def sample(self, labels: Tensor, rng: torch.Generator) -> Tensor:
        """A unit-length synthetic feature for each label, (B,) -> (B, d)."""

    def draw(self, count: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        """What is random about so many of them, a row each."""

    def make(self, labels: Tensor, *drawn: Tensor) -> Tensor:
        """The features, (B, d), from what was drawn."""


class Held(NamedTuple):
    """A batch of real features whose synthetic ones are drawn, and not made yet."""

    x: Tensor  # real features, (B, d)
    labels: Tensor  # theirs, (B,)
    classes: Tensor  # of the synthetic ones, (S,)
    drawn: tuple[Tensor, ...]  # what is random about them, a row each

    @property
    def rows(self) -> int:
        return max(len(self.x), len(self.classes))


def add_synthetic(
    generator: Sampler,
    batches: Iterable[Batch],
    n_base: int,
    n_new: int,
    rng: torch.Generator,
    share: float = 1.0,
    classes: str = "new",
    context: Callable[[], AbstractContextManager] = nullcontext,
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Batches of B real features, each with S synthetic ones whose labels are uniform over the new classes.

    What is random is drawn batch by batch; the features are made for several batches at once, up to SAMPLES_AT_ONCE of
    them, for the text tower takes less time for many prompts than for the same in small portions.

    Args:
        generator: the trained first stage.
        batches: real features (B, d) and their classes, all below n_base, (B,).
        n_base: number of base classes; they come first.
        n_new: number of new classes, labels n_base ... n_base + n_new - 1.
        rng: source of labels and latents.
        share: synthetic features for each real one; S = round(share * B).
        classes: "new", or "all" to synthesize base classes as well.
        context: in which the features are made (autocast).

    Yields:
        Features (B, d) and labels (B,) as they were, synthetic features (S, d) and theirs (S,).
    """
    first, held, rows = 0 if classes == "all" else n_base, list[Held](), 0
    for x, labels in batches:
        wanted = torch.randint(first, n_base + n_new, (round(share * len(labels)),), generator=rng)
        batch = Held(x, labels, wanted, generator.draw(len(wanted), rng))
        if held and rows + batch.rows > SAMPLES_AT_ONCE:
            yield from _made(generator, held, context)
            held, rows = [], 0
        held.append(batch)
        rows += batch.rows
    if held:
        yield from _made(generator, held, context)


def _made(
    generator: Sampler, held: list[Held], context: Callable[[], AbstractContextManager]
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """The batches with their synthetic features."""
    classes = torch.cat([batch.classes for batch in held])
    if not len(classes):  # a share that comes to nothing
        yield from ((batch.x, batch.labels, batch.x[:0], batch.classes) for batch in held)
        return
    drawn = [torch.cat(rows) for rows in zip(*(batch.drawn for batch in held), strict=True)]
    with profiling.part("synthesis", len(classes), len(classes)), context():
        features = generator.make(classes, *drawn)
    for batch, synthetic in zip(held, features.split([len(batch.classes) for batch in held]), strict=True):
        yield batch.x, batch.labels, synthetic, batch.classes


def synthetic_bank(generator: Sampler, labels: Tensor, views: int, rng: torch.Generator) -> FeatureBank:
    """Synthetic features of these labels, as if each had that many views: (V, N, d)."""
    features = torch.stack([generator.sample(labels, rng) for _ in range(views)])
    return FeatureBank(features, labels.to(features.device))


def agreement(features: Tensor, labels: Tensor, class_features: Tensor, n_real: int) -> Tensor:
    """1 for real features and for synthetic ones that zero-shot CLIP gives their own class, else 0: (B + S,)."""
    agrees = product(features, class_features.T).argmax(dim=1) == labels
    agrees[:n_real] = True
    return agrees.to(features.dtype)


def objective(logits: Tensor, labels: Tensor, weights: Tensor, n_base: int, options: ShipOptions) -> dict[str, Tensor]:
    """Stage 2's loss and the accuracy in percent.

    JOINT_WEIGHT * cross entropy among all classes + OWN_WEIGHT * cross entropy among each feature's own half, each the
    weighted mean over features. The reference: 1 and 0, all weights 1.

    Args:
        logits: (B, C).
        labels: (B,).
        weights: of the features, (B,).
        n_base: number of base classes; they come first.
        options: JOINT_WEIGHT and OWN_WEIGHT.
    """
    logits, total = logits.float(), weights.sum().clamp(min=1e-8)
    hits = (logits.detach().argmax(dim=1) == labels).float().mean() * 100
    loss = logits.new_zeros(())
    if options.joint_weight:
        joint = F.cross_entropy(logits, labels, reduction="none")
        loss = loss + options.joint_weight * (weights * joint).sum() / total
    if options.own_weight:
        is_base = torch.arange(logits.shape[1], device=labels.device) < n_base
        other = is_base != (labels < n_base)[:, None]  # (B, C)
        own = F.cross_entropy(logits.masked_fill(other, float("-inf")), labels, reduction="none")
        loss = loss + options.own_weight * (weights * own).sum() / total
    return {"loss": loss, "acc": hits}
