"""What is settled before a fit, on held-out training images: learner, epochs, options; and what they say of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import torch

from . import method as methods
from .backbones.base import Backbone
from .choose import AUTO, CHEAP, Figures, as_data, best_of, choose
from .confidence import Calibration, calibrate
from .errors import UserError
from .features.source import FeatureSource
from .heldout import rounds_of
from .learners import LEARNERS
from .options import Tree
from .recipe import Recipe
from .rejection import fit_rejection
from .reliability import reliability
from .settings import Settings
from .task import Task
from .trials import HeldOut, encoded, trial_of
from .unknown import Rejection


@dataclass(frozen=True)
class Wish:
    """What the user asked for.

    Attributes:
        learner: a name, or "auto".
        epochs: how many; 0: as the config says; -1: as held-out images like best.
        calibrated: whether to hold images out at all.
        reject: the rate of known images that may be called unknown; 0: none is.
        alone: without SHIP's features, where there are classes by name.
    """

    learner: str
    epochs: int = 0
    calibrated: bool = True
    reject: float = 0.0
    alone: bool = False

    def check(self) -> None:
        """Refuse what contradicts itself."""
        if self.learner != AUTO:
            LEARNERS.get(self.learner, "learner", (AUTO,))
        if not self.calibrated and (self.learner == AUTO or self.reject or self.epochs < 0):
            what = "--learner auto" if self.learner == AUTO else "--reject" if self.reject else "--epochs auto"
            raise UserError(f"{what} needs held-out images, and --no-calibration holds none out: leave one of them out")
        if self.epochs < -1:
            raise UserError(f"the number of epochs is {self.epochs}: give 1 or more, or auto")
        if self.reject and not 0 < self.reject < 1:
            raise UserError(f"the rate of wrongly rejected images is {self.reject}: give one between 0 and 1, say 0.05")


@dataclass(frozen=True)
class Plan:
    """What was settled.

    Attributes:
        learner, ship: which learner, alone or with SHIP's features.
        tree: its settings.
        epochs: how many of them are run; 0: all.
        source: the images, encoded; None of a learner on images, or where nothing was held out.
        held: what the learner says of held-out images; None where there are none.
        chosen: what was chosen and why, as plain data.
    """

    learner: str
    ship: bool
    tree: Tree
    epochs: int = 0
    source: FeatureSource | None = None
    held: HeldOut | None = None
    chosen: dict[str, Any] = field(default_factory=dict)

    def confidence(self, wish: Wish, text: torch.Tensor, scale: float) -> tuple[Calibration, Rejection | None, dict]:
        """The calibration, the rejection rule if there is to be one, and what held-out images say of both."""
        if self.held is None:
            return Calibration(), None, {}
        way, rule, held = calibrate(self.held), None, self.held
        calibrated = way(held.logits, way.factors(held.scores))
        said: dict[str, Any] = {
            "images": len(held),
            "accuracy": Figures.of(held).as_data(),
            "uncalibrated": reliability(held.logits, held.labels),
            "calibrated": reliability(calibrated, held.labels),
        }
        if wish.reject:
            rule, said["unknown"] = fit_rejection(held, way, text, scale, wish.reject)
        return way, rule, said


def settle(recipe: Recipe, wish: Wish, task: Task, clip: Backbone, seed: int) -> Plan:
    """Choose what the user left open, and hear what held-out images say."""
    by_name = bool(task.labels.by_name)
    if wish.learner == AUTO:
        return _choose(recipe, wish, task, clip, seed)
    cls = LEARNERS.get(wish.learner)
    ship = by_name and not wish.alone and cls.sees == "features" and wish.learner != "ZeroshotCLIP"
    tree = _tree(recipe, wish, wish.learner, ship)
    settings = Settings.of(tree)
    recipe.tell(settings)
    _check(settings, task, clip, seed)
    if not wish.calibrated or not task.train:
        return Plan(wish.learner, ship, tree)
    source = encoded(FeatureSource(clip, task, settings.input, settings.features, seed, settings.workers))
    rounds = rounds_of(task, seed, wish.learner in CHEAP, by_name or bool(wish.reject))
    if not any(part.shown for part in rounds):
        if wish.reject or wish.epochs < 0:
            raise UserError(
                "no class has two images, so none can be held out for --reject or --epochs auto: add images"
            )
        print("Note: no class has two images, so none can be held out: probabilities stay as they are")
        return Plan(wish.learner, ship, tree)
    print(f"Tuning {wish.learner} {len(rounds)} times on a part of the training images, to calibrate it on the rest")
    best = best_of(wish.learner, ship, trial_of(settings, source, rounds, seed, look=wish.epochs < 0))
    _set(tree, settings, best.trial.options)
    keep = source if settings.features.views and cls.sees == "features" else None
    chosen = {"epochs": best.epochs} if best.epochs else {}
    return Plan(wish.learner, ship, tree, best.epochs, keep, best.trial.held, chosen | best.trial.options)


def _choose(recipe: Recipe, wish: Wish, task: Task, clip: Backbone, seed: int) -> Plan:
    by_name = bool(task.labels.by_name)
    shared = recipe.tree("LinearProbe", by_name)  # one augmentation for all, so that images are encoded once
    shared["FEATURES"]["VIEWS"] = shared["FEATURES"]["VIEWS"] or 10

    def tree_for(learner: str, ship: bool) -> Tree:
        tree = _tree(recipe, wish, learner, ship)
        return {**tree, "INPUT": shared["INPUT"], "FEATURES": shared["FEATURES"]}

    settings = Settings.of(tree_for("LinearProbe", by_name))
    _check(settings, task, clip, seed)
    source = FeatureSource(clip, task, settings.input, settings.features, seed, settings.workers)
    rounds = rounds_of(task, seed, True, by_name or bool(wish.reject))
    if not any(part.shown for part in rounds):
        raise UserError(
            "no class has two images, so there is nothing to choose a learner on: name one (--learner), or add images"
        )
    tried = choose(tree_for, source, rounds, seed, by_name and not wish.alone)
    best = tried[0]
    tree = tree_for(best.learner, best.ship)
    recipe.tell(Settings.of(tree))
    _set(tree, Settings.of(tree), best.trial.options)
    chosen = {"learner": best.name, "epochs": best.epochs, **best.trial.options, "tried": as_data(tried)}
    epochs = best.epochs if wish.epochs <= 0 else 0
    return Plan(best.learner, best.ship, tree, epochs, source, best.trial.held, chosen)


def _tree(recipe: Recipe, wish: Wish, learner: str, ship: bool) -> Tree:
    tree = recipe.tree(learner, ship)
    if wish.epochs > 0:
        tree["OPTIM"]["MAX_EPOCH"] = wish.epochs
    return tree


def _check(settings: Settings, task: Task, clip: Backbone, seed: int) -> None:
    """Refuse what cannot be tuned before anything is held out; what it is made with is told by the fit itself."""
    with redirect_stdout(StringIO()):
        methods.check(methods.build(settings, task, clip, seed))


def _set(tree: Tree, settings: Settings, options: Mapping[str, Any]) -> None:
    """Put a learner's options into a tree."""
    tree["TRAINER"][settings.learner.node()] |= {name.upper(): value for name, value in options.items()}
