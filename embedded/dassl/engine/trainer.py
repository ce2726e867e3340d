"""The life cycle of a run: build, train with checkpoints and resume, evaluate.

train() = before_train, (before_epoch, run_epoch, after_epoch) x epochs, after_train
"""

from __future__ import annotations

import datetime
import os.path as osp
import time
from collections.abc import Iterator
from typing import Any

import torch
from dassl.data import DataManager
from dassl.evaluation import build_evaluator
from dassl.utils import AverageMeter, MetricMeter, load_checkpoint, load_pretrained_weights, mkdir_if_missing
from torch import Tensor
from tqdm import tqdm

from .base import SimpleNet, SummaryWriter, TrainerBase
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
    def test(self, split: str | None = None, **_: Any) -> float:
        """Evaluate on TEST.SPLIT or the given split; returns the first figure (accuracy, percent).

        Further keywords are ignored: forks of Dassl (ATPrompt's) call test(is_final=True).
        """
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
