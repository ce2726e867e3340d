"""Dassl's life cycle over cached features: the base of every trainer here.

A trainer tunes a learner (see learner.py). Images are encoded once into feature banks; the rest is Dassl's `TrainerX`:
config, checkpoints, resume, TensorBoard and the final test.
"""

from __future__ import annotations

import os
import time
from types import SimpleNamespace
from typing import Any

import torch
from dassl.data.datasets import build_dataset
from dassl.data.transforms import build_transform
from dassl.engine import TrainerX
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import MetricMeter, load_checkpoint, load_pretrained_weights
from tabulate import tabulate
from torch import Tensor, nn
from tqdm import tqdm
from yacs.config import CfgNode as CN

from . import checkpoints, results
from .clip import load_clip
from .features import FeatureBank, FeatureLoader, Views, fresh, load_bank
from .images import readable
from .learner import Classifier, Learner
from .precision import NAMES, update
from .rng import run_seed, stream
from .templates import template_for


class PromptTrainer(TrainerX):
    """Base class: tunes a learner on real features (see `trainer_of`)."""

    node = ""  # the trainer's config node under TRAINER
    Learner: type[Learner]
    drop_last = True  # Dassl's rule for training batches
    needs_training_images = True

    # -- what a subclass may define ---------------------------------------------------------------------

    def build_learner(self) -> nn.Module:
        """The module to learn; saved as `prompt_learner`."""
        return self.Learner(self.clip, self.trained_names(), self.options, self.seed, self.template)

    def loss(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """One step's scalars for the log; "loss" is the one that is minimised."""
        return self.model.loss(features, labels)

    def classifier(self) -> Classifier:
        """A function from image features to logits over the data set's classes; class features made once."""
        return self.model.classifier(self.dataset.classnames)

    def preparation_bank(self) -> FeatureBank:
        """All training features, for what a learner takes from them before the first epoch."""
        return self.training_bank(0)

    # -- building ---------------------------------------------------------------------------------------

    @classmethod
    def nodes(cls, cfg: CN) -> set[str]:
        """The nodes under TRAINER that a run with this config reads."""
        return {cls.node}

    @property
    def options(self) -> CN:
        return self.cfg.TRAINER[self.node]

    def check_cfg(self, cfg: CN) -> None:
        precision = cfg.TRAINER[self.node].PREC
        if precision not in NAMES:
            raise ValueError(f"TRAINER.{self.node}.PREC is {precision!r}: choose one of {', '.join(NAMES)}")
        if cfg.DATASET.ON_BAD_IMAGE not in ("stop", "skip"):
            raise ValueError(f"DATASET.ON_BAD_IMAGE is {cfg.DATASET.ON_BAD_IMAGE!r}: choose stop or skip")
        if cfg.FEATURES.VIEWS < 0:
            raise ValueError(f"FEATURES.VIEWS is {cfg.FEATURES.VIEWS}: give 0 (a fresh view each epoch) or more")

    def build_data_loader(self) -> None:
        """The data set. There are no loaders of images: they are read once, into feature banks."""
        self.time_built = time.time()
        self.seed = run_seed(self.cfg.SEED)
        self.dataset = dataset = build_dataset(self.cfg)
        upright = getattr(dataset, "upright", False)
        self.items = {"train": dataset.train_x, "val": dataset.val or [], "test": dataset.test or []}
        if self.cfg.DATASET.ON_BAD_IMAGE == "skip":
            self.items = {part: readable(items, part, upright) for part, items in self.items.items()}
        self.train_loader_x = FeatureLoader(
            len(self.items["train"]), self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE, self.drop_last
        )
        self.train_loader_u = self.val_loader = self.test_loader = None
        self.num_classes, self.lab2cname = dataset.num_classes, dataset.lab2cname
        self.num_source_domains = len(self.cfg.DATASET.SOURCE_DOMAINS)
        self.dm = SimpleNamespace(dataset=dataset, num_classes=self.num_classes, lab2cname=self.lab2cname)
        if self.cfg.VERBOSE:
            counts = [[f"# {part}", f"{len(items):,}"] for part, items in self.items.items()]
            print(tabulate([["Dataset", self.cfg.DATASET.NAME], ["# classes", f"{self.num_classes:,}"], *counts]))

    @property
    def template(self) -> str:
        """The data set's hand-written prompt."""
        return template_for(self.cfg.DATASET.NAME)

    def trained_names(self) -> list[str]:
        """Names of the classes that have training images, the first ones; others may have a name alone."""
        return self.dataset.classnames[: max(item.label for item in self.items["train"]) + 1]

    def build_model(self) -> None:
        cfg = self.cfg
        self.clip = load_clip(cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.PATH, self.options.PREC, self.device)
        if tuple(cfg.INPUT.SIZE) != (self.clip.resolution,) * 2:
            raise ValueError(
                f"INPUT.SIZE is {tuple(cfg.INPUT.SIZE)}, but {self.clip.name} reads images of "
                f"{self.clip.resolution} x {self.clip.resolution}: set INPUT.SIZE to "
                f"({self.clip.resolution}, {self.clip.resolution})"
            )
        self.scaler = self.clip.precision.scaler()
        self.model = self.build_learner()
        self.optim = self.sched = None
        if not any(True for _ in self.model.parameters()):
            self.max_epoch = 0  # nothing to learn, so nothing to register
            return
        if cfg.MODEL.INIT_WEIGHTS:
            load_pretrained_weights(self.model, cfg.MODEL.INIT_WEIGHTS)
        self.model.to(self.device)
        self.optim = build_optimizer(self.model, cfg.OPTIM)
        for group in self.optim.param_groups:
            if "eps" in group:  # upstream's Dassl knows no such key
                group["eps"] = cfg.OPTIM.ADAM_EPS
        self.sched = self.build_scheduler()
        self.register_model("prompt_learner", self.model, self.optim, self.sched)

    def build_scheduler(self) -> torch.optim.lr_scheduler.LRScheduler:
        return build_lr_scheduler(self.optim, self.cfg.OPTIM)

    # -- features ---------------------------------------------------------------------------------------

    def training_bank(self, epoch: int) -> FeatureBank:
        """The training images' features: one bank for all epochs, or the epoch's own (FEATURES.VIEWS 0)."""
        count = self.cfg.FEATURES.VIEWS
        if count and hasattr(self, "_training_bank"):
            return self._training_bank
        views = self._views(self.items["train"], training=True, count=max(count, 1))
        if count:
            self._training_bank = self._load_bank(views)
            return self._training_bank
        return self._load_bank(fresh(views, epoch), keep=False)

    def test_bank(self, split: str) -> FeatureBank:
        """The validation or test images' features under CLIP's plain preprocessing."""
        return self._load_bank(self._views(self.items[split], training=False))

    def _views(self, items: list, training: bool, count: int = 1) -> Views:
        recipe = [self.cfg.INPUT.dump(), "train" if training else "test"]
        quiet = self.cfg.clone()
        quiet.defrost()
        quiet.VERBOSE = False  # Dassl would list the transforms at each call
        transform = build_transform(quiet, is_train=training)
        upright = getattr(self.dataset, "upright", False)
        return Views(items, transform, recipe, self.seed if training else 0, 0, count, upright)

    def _load_bank(self, views: Views, keep: bool = True) -> FeatureBank:
        cache = self.cfg.FEATURES.CACHE_DIR if keep else ""
        return load_bank(self.clip, views, cache, self.cfg.DATALOADER.NUM_WORKERS).to(self.device)

    # -- training ---------------------------------------------------------------------------------------

    def before_train(self) -> None:
        if getattr(self.dataset, "test_only", False) and self.needs_training_images:
            raise ValueError(
                f"{self.cfg.DATASET.NAME} has no training images of the {self.cfg.DATASET.SUBSAMPLE_CLASSES} classes: "
                "use --eval-only with --model-dir of a trained run"
            )
        val, test = ({item.impath for item in self.items[part]} for part in ("val", "test"))
        if self.cfg.TEST.FINAL_MODEL == "best_val" and val & test:
            print("Warning: the validation images are the test images, so best_val selects on the test set")
        super().before_train()
        self.prepare_learner()

    def prepare_learner(self) -> None:
        """Give the learner all training features at once; where that is all its training, keep it as epoch 1."""
        if not isinstance(self.model, Learner):
            return
        self.model.check_classes(self.dataset.classnames)
        if self.start_epoch == 0 and type(self.model).prepare is not Learner.prepare:
            self.model.prepare(self.preparation_bank())
        if not self.max_epoch:
            state = {"state_dict": self.model.state_dict()}
            checkpoints.save(os.path.join(self.output_dir, "prompt_learner"), state, 1)

    def before_epoch(self) -> None:
        self.rng = stream(self.seed, "train", self.epoch)
        self.train_loader_x.start(self.training_bank(self.epoch), self.rng)

    def run_epoch(self) -> None:
        """One pass over the training features, with one line in CoOp's format at its end."""
        self.set_model_mode("train")
        losses, times = MetricMeter(), MetricMeter()
        self.num_batches = len(self.train_loader_x)
        end = time.time()
        bar = tqdm(self.train_loader_x, desc=f"Epoch {self.epoch + 1}", leave=False, delay=2, disable=None)
        for self.batch_idx, batch in enumerate(bar):
            data_time = time.time() - end
            losses.update(self.forward_backward(batch))
            times.update({"time": time.time() - end, "data": data_time})
            end = time.time()
        self._report_epoch(losses, times)

    def _report_epoch(self, losses: MetricMeter, times: MetricMeter) -> None:
        n, step = self.num_batches, times.meters["time"]
        remaining = int(step.avg * n * (self.max_epoch - self.epoch - 1))
        minutes, seconds = divmod(remaining, 60)
        clocks = " ".join(f"{k} {m.val:.3f} ({m.avg:.3f})" for k, m in times.meters.items())
        print(
            f"epoch [{self.epoch + 1}/{self.max_epoch}] batch [{n}/{n}] {clocks} {losses} "
            f"lr {self.get_current_lr():.4e} eta {minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
        )
        last_step = self.epoch * n + n - 1
        for name, meter in losses.meters.items():
            self.write_scalar(f"train/{name}", meter.avg, last_step)
        self.write_scalar("train/lr", self.get_current_lr(), last_step)

    def forward_backward(self, batch: dict[str, Tensor]) -> dict[str, float]:
        features, labels = self.parse_batch_train(batch)
        with self.clip.precision.training_step():
            summary = self.loss(features, labels)
        if self.scaler:
            update(summary["loss"], self.optim, self.scaler)
        else:
            self.model_backward_and_update(summary["loss"])
        self.step_schedule()
        return {name: value.item() for name, value in summary.items()}

    def step_schedule(self) -> None:
        """The schedule steps once an epoch, on its last batch, as in CoOp."""
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()

    def parse_batch_train(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return batch["img"].to(self.device), batch["label"].to(self.device)

    def after_train(self) -> None:
        self.train_seconds = time.time() - self.time_start
        super().after_train()
        if self.cfg.TEST.NO_TEST:
            results.write(self, {})

    # -- testing ----------------------------------------------------------------------------------------

    def model_inference(self, features: Tensor) -> Tensor:
        return self.classifier()(features)

    @torch.no_grad()
    def test(self, split: str | None = None) -> float:
        """Evaluate; on the test set also write results.json. Returns the accuracy in percent."""
        self.set_model_mode("eval")
        self.evaluator.reset()
        split = split or self.cfg.TEST.SPLIT
        if split != "val" or not self.items["val"]:
            split = "test"
        if not self.items[split]:
            print("There are no test images, so nothing is measured")
            results.write(self, {})
            return 0.0
        print(f"Evaluate on the *{split}* set")
        bank, classify = self.test_bank(split), self.classifier()
        rows = []
        batches = torch.arange(len(bank)).split(self.cfg.DATALOADER.TEST.BATCH_SIZE)
        for batch in tqdm(batches, desc="Testing", unit="batch", leave=False, delay=2, disable=None):
            place = batch.to(self.device)
            logits = classify(bank.features[0, place]).float()
            self.evaluator.process(logits, bank.labels[place])
            rows.append(logits.cpu())
        scores = self.evaluator.evaluate()
        for name, value in scores.items():
            self.write_scalar(f"{split}/{name}", value, self.epoch)
        if split == "test":
            n_base, cfg = self.base_classes(), self.cfg
            figures = results.figures(torch.cat(rows), bank.labels.cpu(), n_base)
            if n_base and cfg.TEST.BASE_PENALTY:
                figures |= results.calibrated(torch.cat(rows), bank.labels.cpu(), n_base, cfg.TEST.BASE_PENALTY)
            if n_base and cfg.DATASET.SUBSAMPLE_CLASSES == "dev":
                figures["best_penalty"] = results.best_penalty(torch.cat(rows), bank.labels.cpu(), n_base)
            print(results.summary(figures, getattr(self.dataset, "mean_over_classes", False)), end="")
            results.write(self, {**figures, "macro_f1": scores["macro_f1"], **self.further_figures(bank)})
        return next(iter(scores.values()))

    def further_figures(self, bank: FeatureBank) -> dict[str, Any]:
        """What else a trainer measures on the test images."""
        return {}

    def base_classes(self) -> int:
        """Of the joint label space, how many classes are base classes; 0 where base or new stand alone."""
        if self.cfg.DATASET.SUBSAMPLE_CLASSES in ("base", "new") or self.num_classes < 2:
            return 0
        return getattr(self.dataset, "n_base", 0) or results.base_count(self.num_classes)

    # -- checkpoints ------------------------------------------------------------------------------------

    def save_model(self, epoch: int, directory: str, *args, **kwargs) -> None:
        """Dassl's checkpoint, and before it the gradient scaler's, which Dassl does not know of."""
        if self.scaler:
            folder = os.path.join(directory, "scaler")
            checkpoints.save(folder, {"scaler": self.scaler.state_dict()}, epoch + 1)
        super().save_model(epoch, directory, *args, **kwargs)

    def resume_model_if_exist(self, directory: str) -> int:
        folder = os.path.join(directory, "prompt_learner")
        if not checkpoints.last_epoch(folder):
            print("No checkpoint found, train from scratch")
            return 0
        print(f"Found checkpoint at {directory} (will resume training)")
        epoch = checkpoints.resume(folder, self.model, self.optim, self.sched)
        scaler_folder = os.path.join(directory, "scaler")
        if self.scaler and checkpoints.last_epoch(scaler_folder):  # CoOp's own runs keep none
            file = checkpoints.find(scaler_folder, epoch)
            self.scaler.load_state_dict(load_checkpoint(str(file))["scaler"])
        return epoch

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load the learner of a finished run: the given epoch's, the best one's if kept, else the last one's.

        Token buffers in CoOp's own checkpoints belong to the old class names and are left out.
        """
        if not directory:
            print("Note that load_model() is skipped as no pretrained model is given")
            return
        folder = os.path.join(directory, "prompt_learner")
        best = self.cfg.TEST.FINAL_MODEL == "best_val" and self.max_epoch > 0  # one epoch has no best
        file = checkpoints.find(folder, epoch, best)
        epoch = checkpoints.load(file, self.model)
        self.weights_file = str(file)
        print(f'Loading weights to prompt_learner from "{file}" (epoch = {epoch})')


def trainer_of(learner: type[Learner]) -> type[PromptTrainer]:
    """The Dassl trainer, of the learner's own name, that tunes it on real features alone."""
    facts = {"Learner": learner, "node": learner.node, "__doc__": learner.__doc__, "__module__": learner.__module__}
    return type(learner.__name__, (PromptTrainer,), facts)
