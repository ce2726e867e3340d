"""Which learner: the cheap ones, alone and with SHIP's features, on features that are encoded once.

Choices are made on held-out training images alone: how well a learner does on classes that it was shown, and on classes
that it was not (they play those that have a name alone). Of the learners that are no more than a standard error worse
than the best the simplest is taken (Breiman et al., 1984): alone before with SHIP's features, then in CHEAP's order.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .confidence import fit_temperature
from .evaluate import class_accuracies, harmonic_mean, mean_class_accuracy
from .features.source import FeatureSource
from .generators import FeatureGenerator
from .heldout import Round
from .options import Tree
from .settings import Settings
from .trials import HeldOut, Trial, trial_of

AUTO = "auto"
# On cached features a fit of theirs takes seconds. The simplest first.
CHEAP = ("ZeroshotCLIP", "TipAdapter", "GDA", "LinearProbe", "CLIPAdapter", "TipAdapterF")


@dataclass(frozen=True)
class Figures:
    """What held-out images say of a learner.

    Attributes:
        base, new: accuracy among all classes in percent, mean over classes: of those that it was shown, and of those by
            name (None: there are none in the task, or none was taken away).
        h: their harmonic mean; without the latter, base.
        nll: mean negative log-likelihood at the best temperature, nats.
        parts: by how much each of the K classes that there are images of is above or below h, to first order, (K,):
            their mean is 0, and the error of their mean is that of h.
    """

    base: float
    new: float | None
    h: float
    nll: float
    parts: Tensor = field(repr=False, compare=False)

    @staticmethod
    def of(held: HeldOut) -> Figures:
        held, labels = held.among(too_many(held)), held.labels
        logits, rows = held.logits, held.shown | torch.tensor(held.named)
        predicted, by_name = logits.argmax(dim=1), rows & ~held.shown
        base, parts = (
            mean_class_accuracy(predicted[held.shown], labels[held.shown]),
            _less_mean(predicted, held, held.shown),
        )
        new, h = None, base
        if by_name.any():
            new, of_new = mean_class_accuracy(predicted[by_name], labels[by_name]), _less_mean(predicted, held, by_name)
            h, both = harmonic_mean(base, new), max((base + new) ** 2, 1e-9)
            parts = (2 * new**2 * parts + 2 * base**2 * of_new) / both  # H's derivatives
        T = fit_temperature(logits[rows], labels[rows])
        nll = F.cross_entropy(logits[rows].double() / T, labels[rows]).item()
        return Figures(base, new, h, nll, parts)

    def as_data(self) -> dict[str, Any]:
        """Without `parts`."""
        return {"base": self.base, "new": self.new, "h": self.h, "nll": self.nll}

    @property
    def rank(self) -> tuple[float, float]:
        """Higher is better: H, of equal ones the likelier."""
        return self.h, -self.nll


def too_many(held: HeldOut) -> Tensor:
    """Classes by name beyond as many for each class with images as the fit will have, (M, C), so that shares are the
    fit's: both kinds take images from each other. A part of the classes has gone from one kind to the other; as many of
    those that have a name anyhow are left out, spread evenly. Where there are none, those that were taken away are."""
    if not held.named:
        return held.away
    names = (held.by_name & ~held.away)[0].nonzero().flatten()
    n_trained = held.logits.shape[1] - len(names)
    out = torch.zeros_like(held.away)
    for row in held.by_name.unique(dim=0):
        shown = int((~row).sum())
        kept = max(0, round(len(names) * shown / n_trained) - (n_trained - shown))
        left = torch.ones(len(names), dtype=torch.bool)
        left[torch.arange(kept) * len(names) // max(kept, 1)] = False
        mine = (held.by_name == row).all(dim=1)
        out[mine[:, None] & torch.isin(torch.arange(len(row)), names[left])] = True
    return out


def _less_mean(predicted: Tensor, held: HeldOut, rows: Tensor) -> Tensor:
    """Accuracy of each class of all held-out images, on these rows, less their mean; 0 where there are none, (K,)."""
    out = torch.zeros(int(held.labels.max()) + 1, dtype=torch.float64)
    classes, accuracies = class_accuracies(predicted[rows], held.labels[rows])
    out[classes] = accuracies - accuracies.mean()
    return out[held.labels.unique()]


@dataclass(frozen=True)
class Candidate:
    """A learner that was tried: alone or with SHIP's features, best after so many epochs (0: it has none)."""

    learner: str
    ship: bool
    epochs: int
    figures: Figures
    trial: Trial
    seconds: float

    @property
    def name(self) -> str:
        return f"SHIP+{self.learner}" if self.ship else self.learner


def choose(
    tree_for: Callable[[str, bool], Tree], source: FeatureSource, rounds: list[Round], seed: int, ship: bool
) -> list[Candidate]:
    """Try the cheap learners: the one to take first, the others by what they are worth.

    Args:
        tree_for: settings of a learner, alone or with SHIP's features.
        source: the whole task's images, encoded.
        rounds: of the task.
        seed: of the fit that this prepares.
        ship: whether there are classes by name, and so SHIP.
    """
    tried = []
    generators: list[FeatureGenerator | None] = [None] * len(rounds)
    for learner in CHEAP:
        for with_ship in (False, True) if ship and learner != "ZeroshotCLIP" else (False,):
            began = time.time()
            settings = Settings.of(tree_for(learner, with_ship))
            best = best_of(learner, with_ship, trial_of(settings, source, rounds, seed, generators, look=True))
            tried.append(replace(best, seconds=time.time() - began))
            print(f"Tried {tried[-1].name}: {tried[-1].figures.h:.1f} on held-out images")
    first = simplest(sorted(tried, key=lambda candidate: candidate.ship))
    others = (candidate for candidate in tried if candidate is not first)
    return [first, *sorted(others, key=lambda candidate: candidate.figures.rank, reverse=True)]


def simplest(tried: list[Candidate]) -> Candidate:
    """The first of the candidates that are as good as the best, but for one standard error of the difference.

    Both have seen the same classes, so the error is that of their paired differences.
    """
    best = max(tried, key=lambda candidate: candidate.figures.rank)

    def as_good(candidate: Candidate) -> bool:
        differences = best.figures.parts - candidate.figures.parts
        error = differences.std().item() / len(differences) ** 0.5 if len(differences) > 1 else 0.0
        return best.figures.h - candidate.figures.h <= error

    return next(candidate for candidate in tried if candidate is best or as_good(candidate))


def best_of(learner: str, ship: bool, trial: Trial) -> Candidate:
    """A learner's trial after the epochs that did best."""
    if not trial.epochs:
        return Candidate(learner, ship, 0, Figures.of(trial.held), trial, 0.0)
    figures = {epoch: Figures.of(held) for epoch, held in trial.epochs.items()}
    epoch = max(figures, key=lambda epoch: (*figures[epoch].rank, -epoch))
    return Candidate(learner, ship, epoch, figures[epoch], Trial(trial.epochs[epoch], {}, trial.options), 0.0)


def as_data(tried: list[Candidate]) -> list[dict[str, Any]]:
    """The table as plain data, for the model's folder."""
    return [
        {
            "learner": c.name,
            "epochs": c.epochs,
            **c.figures.as_data(),
            "seconds": round(c.seconds, 2),
            **c.trial.options,
        }
        for c in tried
    ]
