"""One run: its folder is taken, something is trained, tested, and written down.

train.py's trainers and the plans of experiments/ both go through this. What is trained is in method.py.
"""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import checkpoints, claim, evaluate, method
from .backbones.base import Backbone
from .claim import EVALUATION, TRAINING, Claim
from .curves import Curves
from .errors import UserError
from .identity import identity_of, summary
from .locks import Lock
from .loop import Stage
from .method import Method, parts_of
from .options import Tree
from .rng import run_seed
from .run import LEARNER, Run, of_nodes, plain
from .settings import Settings, default_tree, nodes_of
from .task import Task

# From logits (N, C) and labels (N,) to figures, the accuracy in percent first; prints them in CoOp's format.
Teller = Callable[[Tensor, Tensor], Mapping[str, float]]


@dataclass
class Session:
    """A run from settings to results.

    Attributes:
        method: what is trained and tested.
        stage: its training.
        run: its folder.
        tree: all settings, as config.json and results.json keep them.
        defaults: of keys that a folder's earlier run had not heard of.
        facts: what results.json tells beside: config, experiment.
        tell: prints a test's figures.
    """

    method: Method
    stage: Stage
    run: Run
    tree: Tree
    defaults: Mapping[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    tell: Teller = evaluate.tell
    curves: Curves | None = None
    lock: Lock | None = None

    @staticmethod
    def of(
        tree: Mapping[str, Any],
        task: Task,
        backbone: Backbone,
        folder: str,
        defaults: Mapping[str, Any] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Session:
        """A run with everything in place and nothing trained.

        Args:
            tree: all its settings; keys of others are kept as they are.
            task: its images and classes.
            backbone: on the device where it computes.
            folder: of its results; empty: nothing is kept.

        Raises:
            UserError: settings that no run can work with.
        """
        settings = Settings.of(tree)
        built = method.build(settings, task, backbone, run_seed(settings.seed), repeats=settings.seed >= 0)
        built.learner.to(backbone.device)
        curves = Curves(folder) if folder else None
        run = Run(folder, settings.resume, curves.add if curves else (lambda name, value, step: None))
        kept = of_nodes(plain(tree), nodes_of(tree))
        return Session(
            built,
            method.tuning_stage(built),
            run,
            kept,
            default_tree() if defaults is None else defaults,
            dict(facts or {}),
            curves=curves,
        )

    @property
    def settings(self) -> Settings:
        return self.method.settings

    @property
    def task(self) -> Task:
        return self.method.task

    # -- the folder -------------------------------------------------------------------------------------

    def take(self, act: str, model_dir: str = "", epoch: int | None = None) -> bool:
        """Make the folder this run's, until `release`; false if its results are there already.

        Args:
            act: training, or evaluation.
            model_dir, epoch: of an evaluation, whose weights.

        Raises:
            UserError: another process, another run, or the same over other data has it.
        """
        folder, s = Path(self.run.folder), self.settings
        method.check(self.method) if act == TRAINING else method.check_parts(self.method)
        taken = s.ship.generator.from_ if s.ship and act == TRAINING else ""
        parts = parts_of(s, act == TRAINING)
        identity = identity_of(self.task, s.dataset.root, self.method.backbone, taken, parts)
        own = bool(model_dir) and claim.is_own(folder, model_dir)
        mine = Claim(self.tree, identity, TRAINING if own else act)
        self.lock, self.run.identity = Lock(folder), summary(identity)
        resume = s.resume if act == TRAINING else ""
        return claim.take(folder, mine, self.defaults, lambda: claim.is_finished(folder, model_dir, epoch), resume)

    def release(self) -> None:
        """Give the folder back; safe to call again."""
        if self.lock:
            self.lock.release()
            self.lock = None

    # -- training ---------------------------------------------------------------------------------------

    def train(self, logits: Callable[[], tuple[Tensor, Tensor] | None] = lambda: None) -> None:
        """Train from wherever an earlier start left off, then test; arguments as of `test`."""
        val, test = ({item.impath for item in self.task.part(part)} for part in ("val", "test"))
        if self.settings.test.final_model == "best_val" and val & test:
            print("Warning: the validation images are the test images, so best_val selects on the test set")
        if self.curves:
            self.curves.begin()
        began = time.time()
        self.run.begin_training()
        method.tell_unknown(self.method.backbone, self.task.labels.known)
        method.train(self.method, self.stage, self.run)
        self.run.end_training()
        print("Finish training\nFinished training")  # log parsers wait for the one or the other
        if self.settings.test.no_test:
            self.write({})
        else:
            self.test(logits=logits)
        print(f"Elapsed: {datetime.timedelta(seconds=round(time.time() - began))}")
        if self.curves:
            self.curves.end()

    # -- testing ----------------------------------------------------------------------------------------

    @torch.no_grad()
    def test(self, split: str = "", logits: Callable[[], tuple[Tensor, Tensor] | None] = lambda: None) -> float:
        """Evaluate; on the test set also write results.json. Returns the accuracy in percent.

        Args:
            split: val or test; empty: as the settings say.
            logits: gives those of the test images over the task's classes, (N, C), and labels (N,), where somebody has
                them already; None: they are computed here.
        """
        split, ship = "val" if (split or self.settings.test.split) == "val" else "test", self.settings.ship
        if ship and ship.generator.only:
            self.write(method.quality(self.method))
            return 0.0
        if not self.task.part(split):
            print(f"There are no {'test' if split == 'test' else 'validation'} images, so nothing is measured")
            self.write({})
            return 0.0
        print(f"Evaluate on the *{split}* set")
        found, labels = (logits() if split == "test" else None) or method.logits(self.method, split)
        scores = self.tell(found, labels)
        for name, value in scores.items():
            self.run.scalar(f"{split}/{name}", value, self.stage.epochs)
        if split == "test":
            figures = evaluate.all_figures(found, labels, self.task, self.settings.test.base_penalty)
            print(evaluate.summary(figures, self.task.mean_over_classes), end="")
            if self.settings.test.predictions:
                file = self.run.place("predictions.csv")
                evaluate.write_predictions(file, found, self.task.test, self.task.labels.names)
            self.write({**figures, **method.quality(self.method)})
        else:
            print("Note: TEST.SPLIT is val, so no results.json is written: it holds figures of test images alone")
        return next(iter(scores.values()))

    def write(self, figures: Mapping[str, Any]) -> None:
        s, labels = self.settings, self.task.labels
        facts = {
            "trainer": s.method,
            "method": s.name,
            **self.facts,
            "dataset": s.dataset.name,
            "subset": s.dataset.subsample_classes,
            "seed": s.seed,
            "shots": s.dataset.num_shots,
            "classnames": list(labels.names),
            "new_classnames": list(labels.by_name),
            "texts": self.task.texts.as_data(),
            "cfg": self.tree,
        }
        self.run.write(facts, figures, self.method.backbone.device)

    # -- weights ----------------------------------------------------------------------------------------

    def load(self, folder: str, epoch: int | None = None) -> None:
        """Load the learner of a finished run: the given epoch's, the best one's if kept, else the last one's; of SHIP
        the generator as well, where it is looked at.

        Token buffers in CoOp's own checkpoints belong to the old class names and are left out.
        """
        if not folder:
            print("Note that load_model() is skipped as no pretrained model is given")
            return
        ship, learner = self.settings.ship, self.method.learner
        if not (ship and ship.generator.only):
            epochs = self.stage.epochs
            best = self.settings.test.final_model == "best_val" and epochs > 0  # one epoch has no best
            file = checkpoints.find(Path(folder) / LEARNER, epoch, best)
            checkpoint = checkpoints.load(file, learner)
            learner.trained_on(trained_names(checkpoint, folder))
            learner.check_classes(self.task.labels.names)
            self.run.weights = str(file)
            print(f'Loading weights to {LEARNER} from "{file}" (epoch = {checkpoint["epoch"]})')
            if epoch is None and not best and checkpoint["epoch"] < epochs:
                print(f"Warning: that model is half trained, for {checkpoint['epoch']} of {epochs} epochs")
        if ship and ship.measure:
            method.load_generator(self.method, folder)


@contextlib.contextmanager
def taken(session: Session, act: str, model_dir: str = "", epoch: int | None = None) -> Iterator[bool]:
    """Whether there is something to do in the folder, which is the session's in the meantime."""
    try:
        yield session.take(act, model_dir, epoch)
    finally:
        session.release()


def trained_names(checkpoint: Mapping[str, Any], folder: str) -> list[str] | None:
    """The classes of a checkpoint's training, as it tells them or the results beside it; None: nobody knows."""
    names = checkpoint.get("classnames") or claim.trained_names(Path(folder))
    return names if isinstance(names, list) else None


def refuse_nothing_trained(settings: Settings, model_dir: str) -> None:
    """Refuse to evaluate what was never trained."""
    if not model_dir and settings.learner.__name__ != "ZeroshotCLIP":
        raise UserError(f"--eval-only needs --model-dir, the folder of a trained run of {settings.method}")


__all__ = ["EVALUATION", "TRAINING", "Session", "refuse_nothing_trained", "taken"]
