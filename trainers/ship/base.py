"""Dassl's life cycle around the library: what every trainer here is."""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from dassl.data.datasets import build_dataset
from dassl.engine import TRAINER_REGISTRY, TrainerX
from dassl.utils import load_pretrained_weights
from tabulate import tabulate
from torch import Tensor

from shipclip import checkpoints, evaluate, method
from shipclip.backbones import load_backbone
from shipclip.errors import UserError
from shipclip.learners import Learner
from shipclip.rng import run_seed
from shipclip.run import LEARNER, Run, of_nodes, plain
from shipclip.settings import Settings, nodes_of

from .tasks import task_of_dataset


class LibraryTrainer(TrainerX):
    """Builds the task from a Dassl data set, the method from the config, and lets the library train and test it."""

    def check_cfg(self, cfg: Any) -> None:
        self.settings = Settings.of(cfg)

    def build_data_loader(self) -> None:
        """The data set. There are no loaders: the library reads images by itself."""
        cfg = self.cfg
        self.run = Run(cfg.OUTPUT_DIR, cfg.RESUME, lambda *scalar: self.write_scalar(*scalar))
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
            load_pretrained_weights(self.model, self.cfg.MODEL.INIT_WEIGHTS)
        self.stage = method.tuning_stage(self.method)
        self.optim, self.sched, self.max_epoch = self.stage.optimizer, self.stage.scheduler, self.stage.epochs
        if self.optim is not None:
            self.register_model(LEARNER, self.model, self.optim, self.sched)

    # -- training ---------------------------------------------------------------------------------------

    def train(self) -> None:
        s = self.settings
        val, test = ({item.impath for item in self.task.part(part)} for part in ("val", "test"))
        if s.test.final_model == "best_val" and val & test:
            print("Warning: the validation images are the test images, so best_val selects on the test set")
        log_dir = Path(self.output_dir) / "tensorboard"
        log_dir.mkdir(parents=True, exist_ok=True)
        self.init_writer(str(log_dir))
        self.time_start = time.time()
        method.train(self.method, self.stage, self.run)
        self.run.train_seconds = time.time() - self.time_start
        print("Finish training\nFinished training")  # log parsers wait for the one or the other
        if s.test.no_test:
            self.write_results({})
        else:
            self.test()
        print(f"Elapsed: {datetime.timedelta(seconds=round(time.time() - self.time_start))}")
        self.close_writer()

    # -- testing ----------------------------------------------------------------------------------------

    def model_inference(self, x: Tensor) -> Tensor:
        return self.method.classifier()(x)

    @torch.no_grad()
    def test(self, split: str | None = None, **_: Any) -> float:
        """Evaluate; on the test set also write results.json. Returns the accuracy in percent."""
        split, ship = split or self.settings.test.split, self.settings.ship
        if split != "val" or not self.task.val:
            split = "test"
        if ship and ship.generator.only:
            self.write_results(method.quality(self.method))
            return 0.0
        if not self.task.part(split):
            print("There are no test images, so nothing is measured")
            self.write_results({})
            return 0.0
        print(f"Evaluate on the *{split}* set")
        logits, labels = method.logits(self.method, split)
        self.evaluator.reset()
        self.evaluator.process(logits, labels)
        scores = self.evaluator.evaluate()
        for name, value in scores.items():
            self.write_scalar(f"{split}/{name}", value, self.max_epoch)
        if split == "test":
            figures = evaluate.all_figures(logits, labels, self.task, self.settings.test.base_penalty)
            print(evaluate.summary(figures, self.task.mean_over_classes), end="")
            if self.settings.test.predictions:
                file = self.run.place("predictions.csv")
                evaluate.write_predictions(file, logits, self.task.test, self.task.labels.names)
            self.write_results({**figures, **method.quality(self.method)})
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
            self.run.weights = str(file)
            print(f'Loading weights to {LEARNER} from "{file}" (epoch = {checkpoint["epoch"]})')
        if ship and ship.measure:
            method.load_generator(self.method, directory)


def register(learner: type[Learner]) -> type[LibraryTrainer]:
    """The Dassl trainer, of the learner's own name, that tunes it on real images alone."""
    trainer = type(learner.__name__, (LibraryTrainer,), {"__doc__": learner.__doc__, "__module__": learner.__module__})
    TRAINER_REGISTRY.register(trainer)
    return trainer


def refuse_nothing_trained(settings: Settings, model_dir: str) -> None:
    """Refuse to evaluate what was never trained."""
    if not model_dir and settings.learner.__name__ != "ZeroshotCLIP":
        raise UserError(f"--eval-only needs --model-dir, the folder of a trained run of {settings.method}")
