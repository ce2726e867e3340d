"""Registered models with optimisers, schedules and checkpoints: what all trainers are made of."""

from __future__ import annotations

import os.path as osp
from collections import OrderedDict
from typing import Any

import torch
from dassl.utils import load_checkpoint, resume_from_checkpoint, save_checkpoint, tolist_if_not
from dassl.utils.torchtools import load_strictly
from torch import Tensor, nn


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
