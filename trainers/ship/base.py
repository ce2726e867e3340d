"""Dassl's life cycle around the library: what every trainer here is."""

from __future__ import annotations

import datetime
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from dassl.config import get_cfg_default
from dassl.data.datasets import build_dataset
from dassl.engine import TRAINER_REGISTRY, TrainerX
from dassl.utils import load_checkpoint, load_pretrained_weights
from tabulate import tabulate
from torch import Tensor

from shipclip import checkpoints, claim, evaluate, method
from shipclip.backbones import load_backbone
from shipclip.claim import EVALUATION, TRAINING, Claim
from shipclip.errors import UserError
from shipclip.identity import identity_of, summary
from shipclip.learners import Learner
from shipclip.locks import Lock
from shipclip.method import parts_of
from shipclip.rng import run_seed
from shipclip.run import LEARNER, Run, of_nodes
from shipclip.settings import Settings, nodes_of

from .config import extend_cfg, plain
from .tasks import task_of_dataset


class LibraryTrainer(TrainerX):
    """Builds the task from a Dassl data set, the method from the config, and lets the library train and test it."""

    lock: Lock | None = None

    def check_cfg(self, cfg: Any) -> None:
        self.settings = Settings.of(cfg)

    def build_data_loader(self) -> None:
        """The data set. There are no loaders: the library reads images by itself."""
        cfg = self.cfg
        self.run = Run(cfg.OUTPUT_DIR, cfg.RESUME, self.tell_scalar)
        self.seed = run_seed(cfg.SEED)
        self.dataset = build_dataset(cfg)
        self.task = task_of_dataset(self.dataset, cfg, self.settings.dataset)
        names = self.task.labels.names
        self.train_loader_x = self.train_loader_u = self.val_loader = self.test_loader = None
        self.num_classes, self.lab2cname = len(names), dict(enumerate(names))
        self.num_source_domains = len(cfg.DATASET.SOURCE_DOMAINS)
        self.dm = SimpleNamespace(dataset=self.dataset, num_classes=self.num_classes, lab2cname=self.lab2cname)
        if cfg.VERBOSE:
            counts = [[f"# {part}", f"{len(self.task.part(part)):,}"] for part in ("train", "val", "test")]
            print(tabulate([["Dataset", cfg.DATASET.NAME], ["# classes", f"{self.num_classes:,}"], *counts]))

    def build_model(self) -> None:
        s = self.settings
        backbone = load_backbone(s.backbone.name, s.backbone.path, s.precision, self.device, s.backbone.activation)
        self.method = method.build(s, self.task, backbone, self.seed, repeats=self.cfg.SEED >= 0)
        self.task, self.model = self.method.task, self.method.learner.to(self.device)
        if self.cfg.MODEL.INIT_WEIGHTS:
            refuse_unfit(self.cfg.MODEL.INIT_WEIGHTS, self.model)
            load_pretrained_weights(self.model, self.cfg.MODEL.INIT_WEIGHTS)
        self.stage = method.tuning_stage(self.method)
        self.optim, self.sched, self.max_epoch = self.stage.optimizer, self.stage.scheduler, self.stage.epochs
        if self.optim is not None:
            self.register_model(LEARNER, self.model, self.optim, self.sched)

    # -- the folder -------------------------------------------------------------------------------------

    def take_folder(self, act: str, model_dir: str = "", epoch: int | None = None) -> bool:
        """Make the output folder this run's, until `give_folder_back`; false if its results are there already.

        Raises:
            UserError: another process, another run, or the same over other data has it.
        """
        folder, s, cfg = Path(self.cfg.OUTPUT_DIR), self.settings, self.cfg
        method.check(self.method) if act == TRAINING else method.check_parts(self.method)
        taken = s.ship.generator.from_ if s.ship and act == TRAINING else ""
        identity = identity_of(self.task, s.dataset.root, self.method.backbone, taken, parts_of(s, act == TRAINING))
        own = bool(model_dir) and claim.is_own(folder, model_dir)
        mine = Claim(of_nodes(plain(cfg), nodes_of(cfg)), identity, TRAINING if own else act)
        defaults = get_cfg_default()
        extend_cfg(defaults)
        self.lock = Lock(folder)
        claim.check_settings(folder, mine.tree, plain(defaults))
        done = claim.is_finished(folder, model_dir, epoch)
        claim.check_identity(folder, mine)
        self.run.identity = summary(identity)
        if done:
            return False
        if cfg.RESUME and act == TRAINING:
            claim.check_resumed(Path(cfg.RESUME), mine, plain(defaults))
        mine.write(folder)
        return True

    def give_folder_back(self) -> None:
        if self.lock:
            self.lock.release()
            self.lock = None

    # -- training ---------------------------------------------------------------------------------------

    def train(self) -> None:
        if self.lock:
            self.train_and_test()
            return
        self.take_folder(TRAINING)  # another train.py than ours
        try:
            self.train_and_test()
        finally:
            self.give_folder_back()

    def train_and_test(self) -> None:
        s = self.settings
        val, test = ({item.impath for item in self.task.part(part)} for part in ("val", "test"))
        if s.test.final_model == "best_val" and val & test:
            print("Warning: the validation images are the test images, so best_val selects on the test set")
        with suppress(OSError):  # the curves are no reason to end a run
            log_dir = Path(self.output_dir) / "tensorboard"
            log_dir.mkdir(parents=True, exist_ok=True)
            self.init_writer(str(log_dir))
        self.time_start = time.time()
        self.run.begin_training()
        method.tell_unknown(self.method.backbone, self.task.labels.known)
        method.train(self.method, self.stage, self.run)
        self.run.end_training()
        print("Finish training\nFinished training")  # log parsers wait for the one or the other
        if s.test.no_test:
            self.write_results({})
        else:
            self.test()
        print(f"Elapsed: {datetime.timedelta(seconds=round(time.time() - self.time_start))}")
        with suppress(OSError):
            self.close_writer()

    def tell_scalar(self, name: str, value: float, step: int) -> None:
        """A point of TensorBoard's curves; where they cannot be written the run goes on without."""
        try:
            self.write_scalar(name, value, step)
        except OSError as error:
            print(f"Note: the curves in {self.output_dir}/tensorboard end here ({error.strerror})")
            self._writer = None

    # -- testing ----------------------------------------------------------------------------------------

    def model_inference(self, x: Tensor) -> Tensor:
        return self.method.classifier()(x)

    @torch.no_grad()
    def test(self, split: str | None = None, **_: Any) -> float:
        """Evaluate; on the test set also write results.json. Returns the accuracy in percent."""
        split, ship = "val" if (split or self.settings.test.split) == "val" else "test", self.settings.ship
        if ship and ship.generator.only:
            self.write_results(method.quality(self.method))
            return 0.0
        if not self.task.part(split):
            print(f"There are no {'test' if split == 'test' else 'validation'} images, so nothing is measured")
            self.write_results({})
            return 0.0
        print(f"Evaluate on the *{split}* set")
        logits, labels = method.logits(self.method, split)
        self.evaluator.reset()
        self.evaluator.process(logits, labels)
        scores = self.evaluator.evaluate()
        for name, value in scores.items():
            self.tell_scalar(f"{split}/{name}", value, self.max_epoch)
        if split == "test":
            figures = evaluate.all_figures(logits, labels, self.task, self.settings.test.base_penalty)
            print(evaluate.summary(figures, self.task.mean_over_classes), end="")
            if self.settings.test.predictions:
                file = self.run.place("predictions.csv")
                evaluate.write_predictions(file, logits, self.task.test, self.task.labels.names)
            self.write_results({**figures, **method.quality(self.method)})
        else:
            print("Note: TEST.SPLIT is val, so no results.json is written: it holds figures of test images alone")
        return next(iter(scores.values()))

    def write_results(self, figures: dict[str, Any]) -> None:
        cfg = self.cfg
        facts = {
            "trainer": cfg.TRAINER.NAME,
            "method": self.settings.name,
            **getattr(self, "facts", {}),  # what the command line knows: config and experiment
            "dataset": cfg.DATASET.NAME,
            "subset": cfg.DATASET.SUBSAMPLE_CLASSES,
            "seed": cfg.SEED,
            "shots": cfg.DATASET.NUM_SHOTS,
            "classnames": list(self.task.labels.names),
            "new_classnames": list(self.task.labels.by_name),
            "texts": self.task.texts.as_data(),
            "cfg": of_nodes(plain(cfg), nodes_of(cfg)),
        }
        self.run.write(facts, figures, self.device)

    # -- checkpoints ------------------------------------------------------------------------------------

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load the learner of a finished run: the given epoch's, the best one's if kept, else the last one's.

        Token buffers in CoOp's own checkpoints belong to the old class names and are left out.
        """
        if not directory:
            print("Note that load_model() is skipped as no pretrained model is given")
            return
        ship = self.settings.ship
        if not (ship and ship.generator.only):
            best = self.settings.test.final_model == "best_val" and self.max_epoch > 0  # one epoch has no best
            file = checkpoints.find(Path(directory) / LEARNER, epoch, best)
            checkpoint = checkpoints.load(file, self.model)
            self.model.trained_on(trained_names(checkpoint, directory))
            self.model.check_classes(self.task.labels.names)
            self.run.weights = str(file)
            print(f'Loading weights to {LEARNER} from "{file}" (epoch = {checkpoint["epoch"]})')
            if epoch is None and not best and checkpoint["epoch"] < self.max_epoch:
                print(f"Warning: that model is half trained, for {checkpoint['epoch']} of {self.max_epoch} epochs")
        if ship and ship.measure:
            method.load_generator(self.method, directory)


def trained_names(checkpoint: dict[str, Any], directory: str) -> list[str] | None:
    """The classes of a checkpoint's training, as it tells them or the results beside it; None: nobody knows."""
    names = checkpoint.get("classnames") or claim.trained_names(Path(directory))
    return names if isinstance(names, list) else None


def refuse_unfit(file: str, model: torch.nn.Module) -> None:
    """Refuse weights (MODEL.INIT_WEIGHTS) of which nothing fits, or that are no state dict: Dassl goes on without a
    word that anybody would read."""
    content = load_checkpoint(file)
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"MODEL.INIT_WEIGHTS: {file} holds no state dict: save model.state_dict() there")
    own = model.state_dict()
    shapes = {name.removeprefix("module."): value.shape for name, value in state.items()}
    if not any(
        name in shapes and shapes[name] == value.shape for name, value in own.items() if hasattr(value, "shape")
    ):
        raise UserError(f"MODEL.INIT_WEIGHTS: no tensor in {file} has the name and size of one that is trained here")


def register(learner: type[Learner]) -> type[LibraryTrainer]:
    """The Dassl trainer, of the learner's own name, that tunes it on real images alone."""
    trainer = type(learner.__name__, (LibraryTrainer,), {"__doc__": learner.__doc__, "__module__": learner.__module__})
    TRAINER_REGISTRY.register(trainer)
    return trainer


def refuse_nothing_trained(settings: Settings, model_dir: str) -> None:
    """Refuse to evaluate what was never trained."""
    if not model_dir and settings.learner.__name__ != "ZeroshotCLIP":
        raise UserError(f"--eval-only needs --model-dir, the folder of a trained run of {settings.method}")


__all__ = ["EVALUATION", "TRAINING", "LibraryTrainer", "refuse_nothing_trained", "register"]
