"""The method on one page: SHIP, and any learner by itself (SHIP without its first stage).

    images ──frozen image tower──> features of classes with images ──┐
                                        │ stage 1: fit the generator  │ stage 2: tune the learner
    class names ────────────────> generator ──> features of classes   │ on both
                                                without images ───────┴──> classifier ──> base, new, H, joint

Wang et al., "Improving Zero-Shot Generalization for CLIP with Synthesized Prompts", ICCV 2023.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import checkpoints, evaluate, loop, stage1
from .build import Method, build, new_names
from .errors import UserError
from .generators import GENERATORS
from .learners import Learner
from .loop import Stage
from .quality import measure
from .run import GENERATOR, LEARNER, Run
from .tuning import preparation_bank, tuning_stage

__all__ = [
    "Method",
    "build",
    "fit_generator",
    "load_generator",
    "logits",
    "quality",
    "test",
    "train",
    "tune",
    "tuning_stage",
]


def train(method: Method, stage: Stage, run: Run) -> None:
    """Both stages, from wherever an earlier start left off."""
    check(method)
    run.check_resume()
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
    if stage.optimizer is None:
        run.save(LEARNER, stage, 1)
        return
    by_validation = s.test.final_model == "best_val" and not s.test.no_test
    best = checkpoints.best_result(run.place(LEARNER)) if start and run.folder else float("-inf")

    def on_epoch(epoch: loop.Epoch) -> None:
        nonlocal best
        run.tell(stage, epoch)
        if by_validation:
            result = test(method, "val")["accuracy"]
            if result > best:
                best = result
                run.save(LEARNER, stage, epoch.number, checkpoints.BEST, val_result=result)
        every = s.train.checkpoint_freq
        if epoch.number == stage.epochs or (every > 0 and epoch.number % every == 0):
            run.save(LEARNER, stage, epoch.number)

    loop.run(stage, method.seed, start, on_epoch)
    if by_validation:
        print("Deploy the model with the best val performance")
        checkpoints.load(checkpoints.find(run.place(LEARNER), best=True), learner)


def check(method: Method) -> None:
    """Refuse what cannot be trained, before anything is."""
    labels, ship = method.task.labels, method.ship
    if not method.task.train and not (ship and not ship.real) and not method.learner.training_free:
        raise UserError(
            f"{method.task.dataset} has no training images of the {method.task.subset} classes: "
            "use --eval-only with --model-dir of a trained run"
        )
    if ship:
        if ship.new_classnames:
            labels.refuse_trained(new_names(ship), ship.new_classnames)
        by_name = labels.by_name
        if not ship.generator.only:
            stage1.need_new(by_name, method.task.subset)
        print(f"SHIP: {method.n_base} base classes with images, {len(by_name)} new classes by name")
    method.learner.check_classes(method.names if ship else labels.names)


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
    bank = method.source.bank("test")
    halves = {"base": bank.labels < labels.n_base, "new": bank.labels >= labels.n_base}
    if not labels.n_base:
        half = method.task.subset if ship.real else "new"
        halves = {half: torch.ones_like(bank.labels, dtype=torch.bool)}
    return {
        "synthetic": {
            half: measure(method.generator, bank.features[0, rows], bank.labels[rows], list(labels.names), method.seed)
            for half, rows in halves.items()
            if rows.any()
        }
    }
