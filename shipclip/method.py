"""The method on one page: SHIP, and any learner by itself (SHIP without its first stage).

    images ──frozen image tower──> features of classes with images ──┐
                                        │ stage 1: fit the generator  │ stage 2: tune the learner
    class names ────────────────> generator ──> features of classes   │ on both
                                                without images ───────┴──> classifier ──> base, new, H, joint

Wang et al., "Improving Zero-Shot Generalization for CLIP with Synthesized Prompts", ICCV 2023.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import checkpoints, evaluate, loop, stage1
from .backbones.base import Backbone
from .build import Method, build
from .errors import UserError
from .generators import GENERATORS
from .learners import Learner
from .loop import Stage
from .quality import of_generator
from .run import GENERATOR, LEARNER, Run
from .settings import Settings
from .tuning import preparation_bank, tuning_stage

__all__ = [
    "Method",
    "build",
    "check",
    "check_parts",
    "fit_generator",
    "load_generator",
    "logits",
    "parts_of",
    "quality",
    "tell_unknown",
    "test",
    "train",
    "tune",
    "tuning_stage",
]


def train(method: Method, stage: Stage, run: Run) -> None:
    """Both stages, from wherever an earlier start left off."""
    check(method)
    tell(method)
    if method.ship:
        fit_generator(method, run)
        if method.ship.generator.only:
            return
    tune(method, stage, run)


# -- stage 1 ------------------------------------------------------------------------------------------------


def fit_generator(method: Method, run: Run) -> None:
    """Stage 1: learn to make features of a class from its name, on the classes with images; or take over a
    generator."""
    choice, texts = method.ship.generator, method.task.texts
    if choice.from_:
        method.generator = stage1.load(choice.from_, method.backbone, method.names, method.seed, texts)
    else:
        cls = GENERATORS.get(choice.name)
        generator = cls(method.backbone, method.names, method.settings.generator, method.seed, texts)
        method.generator = stage1.fit(generator, method.source, choice, run)


def load_generator(method: Method, folder: str) -> None:
    """The generator of a finished run, for the classes at hand; none if it was taken from another run and that is
    gone."""
    for place in filter(None, (folder, method.ship.generator.from_)):
        if checkpoints.last_epoch(Path(place) / GENERATOR):
            names = method.task.labels.names
            method.generator = stage1.load(place, method.backbone, names, method.seed, method.task.texts)
            return


# -- stage 2 ------------------------------------------------------------------------------------------------


def tune(method: Method, stage: Stage, run: Run) -> None:
    """Stage 2: prepare the learner with all training features, then its epochs; the best of them where validation
    decides (TEST.FINAL_MODEL)."""
    s, learner = method.settings, method.learner
    start = run.resume(LEARNER, stage)
    if start == 0 and type(learner).prepare is not Learner.prepare:
        wanted = learner.wants_validation and len(method.task.val)
        learner.prepare(preparation_bank(method), method.source.bank("val") if wanted else None)
        count_spared(method, run)
    names = list(learner.names)
    if stage.optimizer is None:
        if start == 0:
            run.save(LEARNER, stage, 1, classnames=names)
        return
    by_validation = s.test.final_model == "best_val" and not s.test.no_test
    best = checkpoints.best_result(run.place(LEARNER)) if start and run.folder else float("-inf")
    kept: dict[str, Any] = {}  # the best weights, where there is no folder to keep them

    def on_epoch(epoch: loop.Epoch) -> None:
        nonlocal best
        count_spared(method, run)
        run.tell(stage, epoch)
        if by_validation:
            result = test(method, "val")["accuracy"]
            if result > best:
                best = result
                if not run.save(LEARNER, stage, epoch.number, checkpoints.BEST, val_result=result, classnames=names):
                    kept.update(copy.deepcopy(learner.state_dict()))
        every = s.train.checkpoint_freq
        if epoch.number == stage.epochs or (every > 0 and epoch.number % every == 0):
            run.save(LEARNER, stage, epoch.number, classnames=names)

    loop.run(stage, method.seed, start, on_epoch)
    if by_validation:
        print("Deploy the model with the best val performance")
        if run.folder:
            checkpoints.load(checkpoints.find(run.place(LEARNER), best=True), learner)
        else:
            learner.load_state_dict(kept)


def count_spared(method: Method, run: Run) -> None:
    """Time that others spent on this run's synthetic features belongs to its training, as that of a generator does."""
    if method.samples:
        run.seconds_before += method.samples.spared_since()


def check_parts(method: Method) -> None:
    """Refuse a choice by validation images, or a test on them, where there are none."""
    s, none = method.settings, not method.task.val
    chosen = s.test.final_model == "best_val" and not method.learner.training_free and not s.test.no_test
    if none and chosen and not (s.ship and s.ship.generator.only):
        raise UserError(f"TEST.FINAL_MODEL best_val needs validation images, and {method.task.dataset} has none here")
    if none and s.test.split == "val":
        raise UserError(f"TEST.SPLIT val needs validation images, and {method.task.dataset} has none here")


def parts_of(settings: Settings, training: bool) -> tuple[str, ...]:
    """Whose images a run reads."""
    val = settings.test.final_model == "best_val" or settings.learner.wants_validation or settings.test.split == "val"
    if not training:
        return ("val", "test") if settings.test.split == "val" else ("test",)
    return ("train", "val", "test") if val else ("train", "test")


def check(method: Method) -> None:
    """Refuse what cannot be trained, before anything is."""
    check_parts(method)
    labels, ship = method.task.labels, method.ship
    if not method.task.train and not (ship and not ship.real) and not method.learner.training_free:
        raise UserError(
            f"{method.task.dataset} has no training images of the {method.task.subset} classes: "
            "use --eval-only with --model-dir of a trained run"
        )
    if ship:
        if not ship.generator.only:
            stage1.need_new(labels.by_name, method.task.subset)
        if ship.anchor_weight and not method.learner.has_class_features and not method.learner.training_free:
            raise UserError(
                f"TRAINER.SHIP.ANCHOR_WEIGHT needs class features, and {ship.learner} learns none: set it to 0"
            )
    method.learner.check_classes(labels.names)


def tell(method: Method) -> None:
    """What is about to be trained."""
    if method.ship:
        n_new = len(method.task.labels.by_name)
        print(f"SHIP: {method.n_base} base classes with images, {n_new} new classes by name")


def tell_unknown(backbone: Backbone, names: Sequence[str]) -> None:
    """Warn of a backbone that has never seen the words of the classes' names: it can only guess."""
    known = backbone.known_ids
    if known is None:
        return
    encode = backbone.tokenizer.encode
    unknown = [name for name in names if not known.issuperset(encode(name.replace("_", " ")))]
    if unknown:
        shown = ", ".join(repr(name) for name in unknown[:3])
        print(
            f"Warning: {backbone.name} has never seen the words of {len(unknown)} of {len(names)} class names "
            f"({shown}{' ...' if len(unknown) > 3 else ''}), so it knows nothing of them: choose another "
            "MODEL.BACKBONE.NAME, ViT-B/16 say"
        )


# -- test ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def logits(method: Method, split: str = "test") -> tuple[Tensor, Tensor]:
    """Logits (N, C) and labels (N,) of the validation or test images."""
    method.learner.eval()
    return evaluate.predict(method.classifier(), method.source.test_batches(split, method.settings.test_batch_size))


def test(method: Method, split: str = "test") -> dict[str, Any]:
    """The figures of a split."""
    return evaluate.all_figures(*logits(method, split), method.task, method.settings.test.base_penalty)


def quality(method: Method) -> dict[str, Any]:
    """How good synthetic features are, of base and of new classes where the data set has both."""
    ship, labels = method.ship, method.task.labels
    if not ship or not ship.measure or method.generator is None or not method.task.test:
        return {}
    bank, cache = method.source.bank("test"), method.settings.features.cache_dir
    halves = {"base": bank.labels < labels.n_base, "new": bank.labels >= labels.n_base}
    if not labels.n_base:
        half = method.task.subset if ship.real else "new"
        halves = {half: torch.ones_like(bank.labels, dtype=torch.bool)}
    return {
        "synthetic": {
            half: of_generator(
                method.generator, bank.of_view(0)[rows], bank.labels[rows], list(labels.names), method.seed, cache
            )
            for half, rows in halves.items()
            if rows.any()
        }
    }
