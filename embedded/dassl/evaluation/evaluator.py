from __future__ import annotations

import os.path as osp
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from dassl.utils.tools import replacing
from torch import Tensor

from shipclip.evaluate import tell_predictions

from .build import EVALUATOR_REGISTRY


class EvaluatorBase:
    """Takes model output and truth batch by batch, then gives an ordered dict of figures."""

    def __init__(self, cfg: Any):
        self.cfg = cfg

    def reset(self) -> None:
        raise NotImplementedError

    def process(self, mo: Tensor, gt: Tensor) -> None:
        raise NotImplementedError

    def evaluate(self) -> OrderedDict[str, float]:
        raise NotImplementedError


@EVALUATOR_REGISTRY.register()
class Classification(EvaluatorBase):
    """Accuracy, error rate and macro F1, in percent, of arg-max predictions.

    With TEST.PER_CLASS_RESULT also the mean of the classes' accuracies; with TEST.COMPUTE_CMAT the
    row-normalised confusion matrix goes to OUTPUT_DIR/cmat.pt.
    """

    def __init__(self, cfg: Any, lab2cname: dict[int, str] | None = None, **kwargs: Any):
        super().__init__(cfg)
        self._lab2cname = lab2cname
        if cfg.TEST.PER_CLASS_RESULT and lab2cname is None:
            raise ValueError("TEST.PER_CLASS_RESULT needs the class names: pass lab2cname")
        self.reset()

    def reset(self) -> None:
        self._y_true: list[int] = []
        self._y_pred: list[int] = []

    def process(self, mo: Tensor, gt: Tensor) -> None:
        """Scores (B, C) and labels (B,)."""
        self._y_pred.extend(mo.argmax(dim=1).tolist())
        self._y_true.extend(gt.tolist())

    def evaluate(self) -> OrderedDict[str, float]:
        true, pred = np.array(self._y_true), np.array(self._y_pred)
        if not len(true):
            raise ValueError("there is nothing to evaluate: the test set is empty")
        results = OrderedDict(tell_predictions(torch.from_numpy(pred), torch.from_numpy(true)))
        if self.cfg.TEST.PER_CLASS_RESULT:
            results["perclass_accuracy"] = self._per_class(true, pred)
        if self.cfg.TEST.COMPUTE_CMAT:
            from sklearn.metrics import confusion_matrix  # slow to import, and rarely asked for

            path = osp.join(self.cfg.OUTPUT_DIR, "cmat.pt")
            with replacing(path) as temporary:
                torch.save(torch.from_numpy(confusion_matrix(true, pred, normalize="true")), temporary)
            print(f"Confusion matrix is saved to {path}")
        return results

    def _per_class(self, true: np.ndarray, pred: np.ndarray) -> float:
        print("=> per-class result")
        accuracies = []
        for label in np.unique(true).tolist():
            hits = pred[true == label] == label
            accuracies.append(100.0 * hits.mean())
            print(
                f"* class: {label} ({self._lab2cname[label]})\ttotal: {len(hits):,}\t"
                f"correct: {hits.sum():,}\tacc: {accuracies[-1]:.2f}%"
            )
        mean = float(np.mean(accuracies))
        print(f"* average: {mean:.2f}%")
        return mean
