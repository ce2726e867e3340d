"""The life cycle of a run: build, train with checkpoints and resume, evaluate.

train() = before_train, (before_epoch, run_epoch, after_epoch) x epochs, after_train
"""

from __future__ import annotations

import datetime
import os.path as osp
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from dassl.data import DataManager
from dassl.evaluation import build_evaluator
from dassl.utils import (
    AverageMeter,
    MetricMeter,
    load_checkpoint,
    load_pretrained_weights,
    mkdir_if_missing,
    resume_from_checkpoint,
    save_checkpoint,
    tolist_if_not,
)
from dassl.utils.torchtools import load_strictly
from torch import Tensor, nn
from tqdm import tqdm

from .build import TRAINER_REGISTRY, build_trainer

__all__ = [
    "TRAINER_REGISTRY",
    "AverageMeter",
    "MetricMeter",
    "SimpleNet",
    "SimpleTrainer",
    "SummaryWriter",
    "TrainerBase",
    "TrainerX",
    "TrainerXU",
    "build_trainer",
    "load_pretrained_weights",
]


def SummaryWriter(log_dir: str) -> Any:
    """torch's TensorBoard writer; imported when first used, because that is slow."""
    from torch.utils.tensorboard import SummaryWriter as Writer

    return Writer(log_dir=log_dir)


class SimpleNet(nn.Module):
    """A linear classifier (or, with no classes, nothing) behind a backbone module with `out_features`."""

    def __init__(self, cfg: Any, model_cfg: Any, num_classes: int, backbone: nn.Module | None = None, **kwargs: Any):
        super().__init__()
        if backbone is None:
            raise ValueError("SimpleNet needs its backbone as a module: pass backbone=")
        self.backbone = backbone
        self._fdim = backbone.out_features
        self.classifier = nn.Linear(self._fdim, num_classes) if num_classes > 0 else None

    @property
    def fdim(self) -> int:
        return self._fdim

    def forward(self, x: Tensor, return_feature: bool = False) -> Any:
        features = self.backbone(x)
        if self.classifier is None:
            return features
        logits = self.classifier(features)
        return (logits, features) if return_feature else logits


class TrainerBase:
    """Registered models with their optimisers and schedules, checkpoints, and the skeleton of training."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, nn.Module] = OrderedDict()
        self._optims: OrderedDict[str, Any] = OrderedDict()
        self._scheds: OrderedDict[str, Any] = OrderedDict()
        self._writer: Any = None

    def register_model(self, name: str = "model", model: Any = None, optim: Any = None, sched: Any = None) -> None:
        if self.__dict__.get("_models") is None:
            raise AttributeError("call super().__init__() before register_model()")
        assert name not in self._models, f"a model called {name!r} is registered already"
        self._models[name], self._optims[name], self._scheds[name] = model, optim, sched

    def get_model_names(self, names: str | list[str] | None = None) -> list[str]:
        known = list(self._models)
        if names is None:
            return known
        names = tolist_if_not(names)
        for name in names:
            assert name in known, f"no model called {name!r} is registered: there are {known}"
        return names

    # -- checkpoints ------------------------------------------------------------------------------------------

    def save_model(
        self,
        epoch: int,
        directory: str,
        is_best: bool = False,
        val_result: float | None = None,
        model_name: str = "",
    ) -> None:
        """Save every registered model after the 0-based `epoch`."""
        for name in self.get_model_names():
            optim, sched = self._optims[name], self._scheds[name]
            state = {
                "state_dict": self._models[name].state_dict(),
                "epoch": epoch + 1,
                "optimizer": optim.state_dict() if optim is not None else None,
                "scheduler": sched.state_dict() if sched is not None else None,
                "val_result": val_result,
            }
            save_checkpoint(state, osp.join(directory, name), is_best=is_best, model_name=model_name)

    def resume_model_if_exist(self, directory: str) -> int:
        """Restore all registered models if each has a folder; returns the number of epochs done."""
        names = self.get_model_names()
        if not names or not all(osp.exists(osp.join(directory, name, "checkpoint")) for name in names):
            print("No checkpoint found, train from scratch")
            return 0
        print(f"Found checkpoint at {directory} (will resume training)")
        epochs = [
            resume_from_checkpoint(
                osp.join(directory, name), self._models[name], self._optims[name], self._scheds[name]
            )
            for name in names
        ]
        return epochs[-1]

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load the best model of a folder, or the given epoch's, into every registered model (strictly)."""
        if not directory:
            print("Note that load_model() is skipped as no pretrained model is given (ignore this if it's intended)")
            return
        model_file = f"model.pth.tar-{epoch}" if epoch else "model-best.pth.tar"
        for name in self.get_model_names():
            path = osp.join(directory, name, model_file)
            if not osp.exists(path):
                raise FileNotFoundError(f"there is no model at {path}")
            checkpoint = load_checkpoint(path)
            result = checkpoint.get("val_result")
            shown = "" if result is None else f", val_result = {result:.1f}"
            print(f"Load {path} to {name} (epoch = {checkpoint['epoch']}{shown})")
            load_strictly(self._models[name], checkpoint["state_dict"], path)

    # -- TensorBoard ------------------------------------------------------------------------------------------

    def init_writer(self, log_dir: str) -> None:
        if self.__dict__.get("_writer") is None:
            print(f"Initialize tensorboard (log_dir={log_dir})")
            self._writer = SummaryWriter(log_dir=log_dir)

    def close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def write_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> None:
        if self._writer is not None:  # there is none in evaluation
            self._writer.add_scalar(tag, scalar_value, global_step)

    # -- training ---------------------------------------------------------------------------------------------

    def train(self, start_epoch: int, max_epoch: int) -> None:
        self.start_epoch, self.max_epoch = start_epoch, max_epoch
        self.before_train()
        for self.epoch in range(self.start_epoch, self.max_epoch):  # noqa: B020  Dassl keeps the epoch on the trainer
            self.before_epoch()
            self.run_epoch()
            self.after_epoch()
        self.after_train()

    def before_train(self) -> None: ...

    def after_train(self) -> None: ...

    def before_epoch(self) -> None: ...

    def after_epoch(self) -> None: ...

    def run_epoch(self) -> None:
        raise NotImplementedError

    def test(self) -> float:
        raise NotImplementedError

    def parse_batch_train(self, batch: Any) -> Any:
        raise NotImplementedError

    def parse_batch_test(self, batch: Any) -> Any:
        raise NotImplementedError

    def forward_backward(self, batch: Any) -> dict[str, float] | None:
        raise NotImplementedError

    def model_inference(self, input: Any) -> Any:
        raise NotImplementedError

    def set_model_mode(self, mode: str = "train", names: str | list[str] | None = None) -> None:
        """Switch registered models to "train", or to "test" or "eval"."""
        if mode not in ("train", "test", "eval"):
            raise KeyError(f"mode is {mode!r}: choose train, test or eval")
        for name in self.get_model_names(names):
            self._models[name].train(mode == "train")

    def update_lr(self, names: str | list[str] | None = None) -> None:
        for name in self.get_model_names(names):
            if self._scheds[name] is not None:
                self._scheds[name].step()

    def get_current_lr(self, names: str | list[str] | None = None) -> float:
        optims = [self._optims[name] for name in self.get_model_names(names)]
        return next((optim.param_groups[0]["lr"] for optim in optims if optim is not None), 0.0)

    def detect_anomaly(self, loss: Tensor) -> None:
        if not torch.isfinite(loss).all():
            raise FloatingPointError("the loss is not finite: lower OPTIM.LR, or compute in fp32")

    def model_zero_grad(self, names: str | list[str] | None = None) -> None:
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].zero_grad()

    def model_backward(self, loss: Tensor) -> None:
        self.detect_anomaly(loss)
        loss.backward()

    def model_update(self, names: str | list[str] | None = None) -> None:
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].step()

    def model_backward_and_update(self, loss: Tensor, names: str | list[str] | None = None) -> None:
        self.model_zero_grad(names)
        self.model_backward(loss)
        self.model_update(names)

    def prograd_backward_and_update(
        self, loss_a: Tensor, loss_b: Tensor, lambda_: float = 1, names: str | list[str] | None = None
    ) -> None:
        """Update on loss_a's gradient, without `lambda_` times the part of it that conflicts with loss_b's.

        Per parameter, where the angle between the two gradients is obtuse, the projection of the first on the
        second is taken away (ProGrad, Zhu et al., ICCV 2023). Only the Dassl 0.5.0 fork of KgCoOp and ProGrad
        has this method.
        """
        parameters = [p for name in self.get_model_names(names) for p in self._models[name].parameters()]
        self.model_zero_grad(names)
        self.detect_anomaly(loss_b)
        loss_b.backward(retain_graph=True)
        general = [None if p.grad is None else p.grad.clone() for p in parameters]
        self.model_zero_grad(names)
        self.model_backward(loss_a)
        for p, g in zip(parameters, general, strict=True):
            if p.grad is None or g is None or not g.norm() > 0:
                continue
            unit = g / g.norm()
            along = (p.grad * unit).sum()
            if along < 0:
                p.grad = p.grad - lambda_ * along * unit
        self.model_update(names)


class SimpleTrainer(TrainerBase):
    """A trainer for a config: data, model, evaluator, and what happens around the epochs."""

    def __init__(self, cfg: Any):
        super().__init__()
        self.check_cfg(cfg)
        self.device = torch.device("cuda" if torch.cuda.is_available() and cfg.USE_CUDA else "cpu")
        self.start_epoch = self.epoch = 0
        self.max_epoch = cfg.OPTIM.MAX_EPOCH
        self.output_dir = cfg.OUTPUT_DIR
        self.cfg = cfg
        self.build_data_loader()
        self.build_model()
        self.evaluator = build_evaluator(cfg, lab2cname=self.lab2cname)
        self.best_result = -float("inf")

    def check_cfg(self, cfg: Any) -> None:
        """Refuse a config that the trainer cannot work with."""

    def build_data_loader(self) -> None:
        dm = DataManager(self.cfg)
        self.train_loader_x, self.train_loader_u = dm.train_loader_x, dm.train_loader_u
        self.val_loader, self.test_loader = dm.val_loader, dm.test_loader
        self.num_classes, self.num_source_domains = dm.num_classes, dm.num_source_domains
        self.lab2cname = dm.lab2cname
        self.dm = dm

    def build_model(self) -> None:
        raise NotImplementedError("a trainer builds and registers its model in build_model()")

    def train(self) -> None:
        super().train(self.start_epoch, self.max_epoch)

    def before_train(self) -> None:
        # An interrupted run goes on by itself when it is started again in its own folder.
        directory = self.cfg.RESUME or self.output_dir
        self.start_epoch = self.resume_model_if_exist(directory)
        best = [osp.join(directory, name, "model-best.pth.tar") for name in self.get_model_names()]
        if self.start_epoch and best and osp.exists(best[0]):
            self.best_result = load_checkpoint(best[0]).get("val_result") or self.best_result
        log_dir = osp.join(self.output_dir, "tensorboard")
        mkdir_if_missing(log_dir)
        self.init_writer(log_dir)
        self.time_start = time.time()

    def after_epoch(self) -> None:
        last = self.epoch + 1 == self.max_epoch
        frequency = self.cfg.TRAIN.CHECKPOINT_FREQ
        if not self.cfg.TEST.NO_TEST and self.cfg.TEST.FINAL_MODEL == "best_val":
            result = self.test(split="val")
            if result > self.best_result:
                self.best_result = result
                self.save_model(self.epoch, self.output_dir, val_result=result, model_name="model-best.pth.tar")
        if last or (frequency > 0 and (self.epoch + 1) % frequency == 0):
            self.save_model(self.epoch, self.output_dir)

    def after_train(self) -> None:
        print("Finish training\nFinished training")  # log parsers wait for the one or the other
        if not self.cfg.TEST.NO_TEST:
            if self.cfg.TEST.FINAL_MODEL == "best_val":
                print("Deploy the model with the best val performance")
                self.load_model(self.output_dir)
            else:
                print("Deploy the last-epoch model")
            self.test()
        print(f"Elapsed: {datetime.timedelta(seconds=round(time.time() - self.time_start))}")
        self.close_writer()

    @torch.no_grad()
    def test(self, split: str | None = None) -> float:
        """Evaluate on TEST.SPLIT or the given split; returns the first figure (accuracy, percent)."""
        self.set_model_mode("eval")
        self.evaluator.reset()
        split = split or self.cfg.TEST.SPLIT
        if split == "val" and self.val_loader is not None:
            loader = self.val_loader
        else:
            split, loader = "test", self.test_loader
        print(f"Evaluate on the *{split}* set")
        for batch in tqdm(loader, disable=None):
            input, label = self.parse_batch_test(batch)
            self.evaluator.process(self.model_inference(input), label)
        results = self.evaluator.evaluate()
        for name, value in results.items():
            self.write_scalar(f"{split}/{name}", value, self.epoch)
        return next(iter(results.values()))

    def model_inference(self, input: Any) -> Any:
        return self.model(input)

    def parse_batch_test(self, batch: dict) -> tuple[Tensor, Tensor]:
        return batch["img"].to(self.device), batch["label"].to(self.device)


class TrainerX(SimpleTrainer):
    """Epochs over labelled data."""

    def run_epoch(self) -> None:
        self.num_batches = len(self.train_loader_x)
        self._run_batches(({"batch": batch} for batch in self.train_loader_x), self.forward_backward)

    def _run_batches(self, batches: Iterator[dict[str, Any]], step: Any) -> None:
        self.set_model_mode("train")
        losses, batch_time, data_time = MetricMeter(), AverageMeter(), AverageMeter()
        end = time.time()
        for self.batch_idx, batch in enumerate(batches):
            data_time.update(time.time() - end)
            losses.update(step(*batch.values()))
            batch_time.update(time.time() - end)
            frequency = self.cfg.TRAIN.PRINT_FREQ
            if frequency > 0 and ((self.batch_idx + 1) % frequency == 0 or self.num_batches < frequency):
                self._print_batch(losses, batch_time, data_time)
            n_iter = self.epoch * self.num_batches + self.batch_idx
            for name, meter in losses.meters.items():
                self.write_scalar(f"train/{name}", meter.avg, n_iter)
            self.write_scalar("train/lr", self.get_current_lr(), n_iter)
            end = time.time()

    def _print_batch(self, losses: MetricMeter, batch_time: AverageMeter, data_time: AverageMeter) -> None:
        left = self.num_batches - self.batch_idx - 1 + (self.max_epoch - self.epoch - 1) * self.num_batches
        print(
            f"epoch [{self.epoch + 1}/{self.max_epoch}] batch [{self.batch_idx + 1}/{self.num_batches}] "
            f"time {batch_time.val:.3f} ({batch_time.avg:.3f}) data {data_time.val:.3f} ({data_time.avg:.3f}) "
            f"{losses} lr {self.get_current_lr():.4e} eta {datetime.timedelta(seconds=int(batch_time.avg * left))}"
        )

    def parse_batch_train(self, batch: dict) -> tuple[Tensor, Tensor, Tensor]:
        return batch["img"].to(self.device), batch["label"].to(self.device), batch["domain"].to(self.device)


class TrainerXU(TrainerX):
    """Epochs over labelled and unlabelled data side by side; TRAIN.COUNT_ITER says whose length counts."""

    def run_epoch(self) -> None:
        n_x, n_u = len(self.train_loader_x), len(self.train_loader_u)
        counts = {"train_x": n_x, "train_u": n_u, "smaller_one": min(n_x, n_u)}
        if self.cfg.TRAIN.COUNT_ITER not in counts:
            raise ValueError(f"TRAIN.COUNT_ITER is {self.cfg.TRAIN.COUNT_ITER!r}: choose one of {', '.join(counts)}")
        self.num_batches = counts[self.cfg.TRAIN.COUNT_ITER]
        x, u = _endless(self.train_loader_x), _endless(self.train_loader_u)
        self._run_batches(({"x": next(x), "u": next(u)} for _ in range(self.num_batches)), self.forward_backward)

    def parse_batch_train(self, batch_x: dict, batch_u: dict) -> tuple[Tensor, Tensor, Tensor]:
        return (
            batch_x["img"].to(self.device),
            batch_x["label"].to(self.device),
            batch_u["img"].to(self.device),
        )


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader
