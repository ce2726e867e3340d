"""From logits to figures: base, new and H, each half by itself and jointly, and per-image predictions."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from .detection import openworld_auc
from .features.source import Batch
from .files import write_text
from .reliability import reliability
from .task import Item, Task


@torch.no_grad()
def predict(classify: Callable[[Tensor], Tensor], batches: Iterable[Batch]) -> tuple[Tensor, Tensor]:
    """Logits (N, C), float32, and labels (N,) of all batches, on the CPU."""
    rows, labels = [], []
    for x, y in tqdm(batches, desc="Testing", unit="batch", leave=False, delay=2, disable=None):
        rows.append(classify(x).float().cpu())
        labels.append(y.cpu())
    return torch.cat(rows), torch.cat(labels)


def tell(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """As `tell_predictions`, of logits (N, C)."""
    return tell_predictions(logits.argmax(dim=1), labels)


def tell_predictions(predictions: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy, error rate and macro F1 in percent, printed in the five lines that CoOp's log parsers read."""
    total, correct = len(labels), int((predictions == labels).sum())
    accuracy, f1 = 100.0 * correct / total, macro_f1(predictions, labels)
    print(
        f"=> result\n* total: {total:,}\n* correct: {correct:,}\n* accuracy: {accuracy:.2f}%\n"
        f"* error: {100.0 - accuracy:.2f}%\n* macro_f1: {f1:.2f}%"
    )
    return {"accuracy": accuracy, "error_rate": 100.0 - accuracy, "macro_f1": f1}


def all_figures(logits: Tensor, labels: Tensor, task: Task, base_penalty: float = 0.0) -> dict[str, Any]:
    """What a test of a task measures: `figures`, calibrated ones where a penalty is given, and on "dev" the best
    penalty."""
    n_base = task.labels.n_base
    out = figures(logits, labels, n_base)
    if n_base and base_penalty:
        out |= calibrated(logits, labels, n_base, base_penalty)
    if n_base and task.subset == "dev":
        out["best_penalty"] = best_penalty(logits, labels, n_base)
    out["macro_f1"] = macro_f1(logits.argmax(dim=1), labels)
    return out | confidence(logits, labels, n_base)


def confidence(logits: Tensor, labels: Tensor, n_base: int = 0) -> dict[str, Any]:
    """How far the probabilities can be trusted: `reliability` of all images; in a joint label space also of base and
    of new ones, among all classes and each among its own, and OpenworldAUC. Arguments as of `figures`."""
    out = reliability(logits, labels)
    base = labels < n_base
    if not n_base or not len(labels) or base.all() or not base.any():
        return {"confidence": out} if out else {}
    for half, rows, own in (("base", base, slice(None, n_base)), ("new", ~base, slice(n_base, None))):
        out[half] = reliability(logits[rows], labels[rows])
        out[f"own_{half}"] = reliability(logits[rows, own], labels[rows] - (own.start or 0), drawn=False)
    out["openworld_auc"] = openworld_auc(logits, labels, n_base)
    return {"confidence": out}


def figures(logits: Tensor, labels: Tensor, n_base: int = 0) -> dict[str, Any]:
    """Accuracy in percent, over images and as the mean over classes.

    In a joint label space also that of base and new images, and their harmonic mean: among all classes (base_, new_,
    h), and each among its own classes (own_base_, own_new_, own_h), as CoCoOp's protocol has it. The mean over
    classes gives S, U and H of generalized zero-shot learning (base_, new_ and h of mean_class_accuracy); `per_class`
    has counts.

    Args:
        logits: (N, C).
        labels: class indices, (N,).
        n_base: how many classes, the first ones, are base classes; 0: the label space is not a joint one.
    """
    joint = logits.argmax(dim=1)
    out = _accuracy("", joint, labels)
    if n_base:
        own = predict_among_own(logits, labels, n_base)
        out |= _halves("", joint, labels, n_base) | _halves("own_", own, labels, n_base)
        out["per_class"] = per_class(joint, own, labels, n_base, logits.shape[1])
    return out


def per_class(joint: Tensor, own: Tensor, labels: Tensor, n_base: int, n_classes: int) -> dict[str, Any]:
    """How many images of each class there are, and were right among all classes and among their own half's: what a
    paired comparison of two methods resamples."""
    right = {kind: right_of(found, labels, n_classes) for kind, found in (("joint", joint), ("own", own))}
    return {"n_base": n_base, "total": right_of(labels, labels, n_classes), **right}


def right_of(predictions: Tensor, labels: Tensor, n_classes: int) -> list[int]:
    """How many images of each class are predicted right."""
    return torch.bincount(labels[predictions == labels], minlength=n_classes).tolist()


def calibrated(logits: Tensor, labels: Tensor, n_base: int, penalty: float) -> dict[str, Any]:
    """Base, new and H among all classes (calibrated_) with `penalty` taken off the base classes' logits.

    Calibrated stacking, Chao et al., ECCV 2016, eq. 3. Arguments as of `figures`.
    """
    return _halves("calibrated_", penalised(logits, n_base, penalty).argmax(dim=1), labels, n_base)


def penalised(logits: Tensor, n_base: int, penalty: float) -> Tensor:
    """Logits with `penalty` taken off the base classes', (N, C)."""
    return logits - penalty * (torch.arange(logits.shape[1]) < n_base)


def best_penalty(logits: Tensor, labels: Tensor, n_base: int) -> float:
    """The base classes' penalty with the highest H of mean class accuracies, on validation images.

    Predictions change only where the penalty passes an image's gap between its best base and its best new class, so
    the middles between neighbouring gaps are all there is to try. Of equal ones the smallest in size is taken.
    """
    if not 0 < n_base < logits.shape[1] or not len(labels):
        return 0.0
    is_base = labels < n_base
    base_best, base_class = logits[:, :n_base].max(dim=1)
    new_best, new_class = logits[:, n_base:].max(dim=1)
    gap = (base_best - new_best).double()
    hit = torch.where(is_base, base_class == labels, new_class + n_base == labels)  # if the right half is chosen
    _, place, counts = labels.unique(return_inverse=True, return_counts=True)
    weight = hit / counts[place].double()  # of an image in its half's accuracy, up to the number of classes
    gaps, order = gap.unique(return_inverse=True)  # sorted
    middles = (gaps[1:] + gaps[:-1]) / 2
    candidates = torch.cat([gaps.new_zeros(1), middles, gaps[:1] - 1, gaps[-1:] + 1])

    def chosen_right(rows: Tensor) -> Tensor:
        """Sum of the rows' weights below each gap: (len(gaps) + 1,)."""
        sums = torch.zeros_like(gaps).index_add(0, order[rows], weight[rows])
        return torch.cat([gaps.new_zeros(1), sums.cumsum(0)])

    below = torch.searchsorted(gaps, candidates)  # gaps smaller than the penalty: those images go to new classes
    seen = chosen_right(is_base)
    seen = (seen[-1] - seen[below]) / max(1, len(labels[is_base].unique()))
    unseen = chosen_right(~is_base)[below] / max(1, len(labels[~is_base].unique()))
    h = 2 * seen * unseen / (seen + unseen).clamp(min=1e-12)
    best = candidates[h >= h.max() - 1e-12]
    return min(best.tolist(), key=lambda penalty: (abs(penalty), -penalty))


def predict_among_own(logits: Tensor, labels: Tensor, n_base: int) -> Tensor:
    """Predictions of base images among base classes, of new images among new ones: (N, C), (N,) -> (N,)."""
    if not 0 < n_base < logits.shape[1]:
        return logits.argmax(dim=1)
    base = logits[:, :n_base].argmax(dim=1)
    new = logits[:, n_base:].argmax(dim=1) + n_base
    return torch.where(labels < n_base, base, new)


def summary(measured: dict[str, Any], mean_over_classes: bool = False) -> str:
    """Base, new and H of a joint label space, in two lines; nothing where there is none.

    With `mean_over_classes` also the figures of generalized zero-shot learning, S, U and H.
    """
    plain = {"base": "base_accuracy", "new": "new_accuracy", "H": "h"}
    per_class = {"S": "base_mean_class_accuracy", "U": "new_mean_class_accuracy", "H": "mean_class_h"}
    rows = [("own_", plain, "each among its own classes"), ("", plain, "among all classes")]
    if mean_over_classes:
        rows.append(("", per_class, "among all classes, mean over classes"))
        rows.append(("calibrated_", per_class, "the same, base classes' logits reduced by TEST.BASE_PENALTY"))
    else:
        rows.append(("calibrated_", plain, "among all classes, base classes' logits reduced by TEST.BASE_PENALTY"))
    lines = []
    for prefix, columns, meaning in rows:
        cells = [f"{name} {measured[prefix + key]:.1f}%" for name, key in columns.items() if prefix + key in measured]
        if cells:
            lines.append(f"{', '.join(cells)} ({meaning})\n")
    return "".join(lines)


def harmonic_mean(base: float, new: float) -> float:
    """H of base and new accuracy; 0 where both are 0."""
    return 2 * base * new / (base + new) if base + new else 0.0


def _halves(prefix: str, predictions: Tensor, labels: Tensor, n_base: int) -> dict[str, Any]:
    """Accuracy of base and of new images, and their harmonic means."""
    base = labels < n_base
    out = {
        **_accuracy(f"{prefix}base_", predictions[base], labels[base]),
        **_accuracy(f"{prefix}new_", predictions[~base], labels[~base]),
    }
    if base.any() and not base.all():
        for kind, h in (("accuracy", "h"), ("mean_class_accuracy", "mean_class_h")):
            out[prefix + h] = harmonic_mean(out[f"{prefix}base_{kind}"], out[f"{prefix}new_{kind}"])
    return out


def _accuracy(prefix: str, predictions: Tensor, labels: Tensor) -> dict[str, Any]:
    if not len(labels):
        return {f"{prefix}correct": 0, f"{prefix}total": 0}
    hit = predictions == labels
    return {
        f"{prefix}accuracy": 100 * int(hit.sum()) / len(hit),
        f"{prefix}mean_class_accuracy": mean_class_accuracy(predictions, labels),
        f"{prefix}correct": int(hit.sum()),
        f"{prefix}total": len(hit),
    }


def mean_class_accuracy(predictions: Tensor, labels: Tensor) -> float:
    """In percent, the mean over the classes that the labels show; 0 where there are no images."""
    return class_accuracies(predictions, labels)[1].mean().item() if len(labels) else 0.0


def class_accuracies(predictions: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The K classes that the labels show, (K,), and the accuracy of each in percent, float64, (K,)."""
    classes, place, counts = labels.unique(return_inverse=True, return_counts=True)
    hit = (predictions == labels).double()
    return classes, 100 * torch.zeros(len(classes), dtype=torch.float64).index_add(0, place, hit) / counts


def macro_f1(predictions: Tensor, labels: Tensor) -> float:
    """F1 in percent, the mean over the classes that the labels show (Dassl's evaluator)."""
    classes = labels.unique()
    hit = predictions == labels
    scores = []
    for c in classes.tolist():
        both = int((hit & (labels == c)).sum())
        scores.append(2 * both / max(int((predictions == c).sum()) + int((labels == c).sum()), 1))
    return 100 * float(np.mean(scores)) if scores else 0.0  # NumPy's sum, as scikit-learn's


def write_predictions(file: Path, logits: Tensor, items: Sequence[Item], names: Sequence[str]) -> None:
    """predictions.csv: path, label, prediction, its probability, and the five best classes, an image a row."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "label", "prediction", "probability", "top5"])
    best = logits.softmax(dim=1).topk(min(5, logits.shape[1]), dim=1)
    for item, chances, places in zip(items, best.values.tolist(), best.indices.tolist(), strict=True):
        top = "; ".join(f"{names[i]} {p:.4f}" for i, p in zip(places, chances, strict=True))
        rows.writerow([item.impath, names[item.label], names[places[0]], f"{chances[0]:.6f}", top])
    write_text(file, text.getvalue())
