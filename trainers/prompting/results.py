"""What a run measured: figures from predictions, and the results.json that reports are made of."""

from __future__ import annotations

import json
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode as CN

from .files import write_json

VERSION = 1
FILE = "results.json"

# Config keys that say where and how a run works, not what it computes.
INDIFFERENT = {
    "OUTPUT_DIR",
    "RESUME",
    "VERBOSE",
    "DATASET.ROOT",
    "DATASET.ON_BAD_IMAGE",  # a run that was stopped by an image goes on without it
    "DATALOADER.NUM_WORKERS",
    "FEATURES.CACHE_DIR",
    "TRAIN.PRINT_FREQ",
    "TRAIN.CHECKPOINT_FREQ",
    "TRAINER.SHIP.GENERATOR.CHECKPOINT_FREQ",
}


def figures(logits: Tensor, labels: Tensor, n_base: int = 0) -> dict[str, Any]:
    """Accuracy in percent, over images and as the mean over classes.

    In a joint label space also that of base and new images, and their harmonic mean: among all classes (base_, new_,
    h), and each among its own classes (own_base_, own_new_, own_h), as CoCoOp's protocol has it. The mean over classes
    gives S, U and H of generalized zero-shot learning (base_, new_ and h of mean_class_accuracy).

    Args:
        logits: (N, C).
        labels: class indices, (N,).
        n_base: how many classes, the first ones, are base classes; 0: the label space is not a joint one.
    """
    out = _accuracy("", logits.argmax(dim=1), labels)
    if n_base:
        out |= _halves("", logits.argmax(dim=1), labels, n_base)
        out |= _halves("own_", predict_among_own(logits, labels, n_base), labels, n_base)
    return out


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


def base_count(n_classes: int) -> int:
    """How many of n sorted classes are base classes."""
    return -(-n_classes // 2)


def harmonic_mean(base: float, new: float) -> float:
    """H of base and new accuracy; 0 where both are 0."""
    return 2 * base * new / (base + new) if base + new else 0.0


def write(trainer: Any, measured: dict[str, Any]) -> Path:
    """Write OUTPUT_DIR/results.json for a Dassl trainer, whole or not at all, as the last act of a run."""
    cfg = trainer.cfg
    now = time.time()
    content = {
        "version": VERSION,
        "trainer": cfg.TRAINER.NAME,
        "dataset": cfg.DATASET.NAME,
        "subset": cfg.DATASET.SUBSAMPLE_CLASSES,
        "seed": cfg.SEED,
        "shots": cfg.DATASET.NUM_SHOTS,
        "weights": getattr(trainer, "weights_file", ""),
        "figures": measured,
        "time": {
            # With the time that a part of it took in an earlier run, if that was taken over.
            "train_s": round(getattr(trainer, "train_seconds", 0.0) + getattr(trainer, "reused_seconds", 0.0), 3),
            "total_s": round(now - trainer.time_built, 3),
        },
        "versions": versions(),
        "device": device_name(trainer.device),
        "cfg": as_dict(cfg, trainer.nodes(cfg)),
    }
    file = Path(cfg.OUTPUT_DIR) / FILE
    write_json(file, content)
    return file


def read(file: Path) -> dict[str, Any]:
    """A results.json, with `figures` and `cfg` (perhaps empty).

    Raises:
        ValueError: damaged, naming the file.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read ({' '.join(str(error).split())}): remove it and run again") from error
    kinds = {"figures": dict, "cfg": dict, "time": dict, "seed": int, "shots": int}
    if not isinstance(content, dict) or not all(isinstance(content.get(k, t()), t) for k, t in kinds.items()):
        raise ValueError(f"{file} is no results.json of a run: remove it and run again")
    return {"figures": {}, "cfg": {}, **content}


def differences(cfg: CN, nodes: set[str], other: dict[str, Any]) -> list[str]:
    """What tells a config apart from a saved one, as "KEY here / there"; keys that can't change figures don't count.

    Args:
        cfg: the run's config.
        nodes: the nodes under TRAINER that its trainer reads; others come and go with the learners installed.
        other: a config as `as_dict` gave it, of this run or another.
    """
    mine, theirs = flatten(as_dict(cfg, nodes)), flatten(of_trainer(other, nodes))
    keys = sorted((mine.keys() | theirs.keys()) - INDIFFERENT)
    return [
        f"{key} {mine.get(key)!r} here, {theirs.get(key)!r} there" for key in keys if mine.get(key) != theirs.get(key)
    ]


def as_dict(cfg: CN, nodes: set[str]) -> dict[str, Any]:
    """A config as plain data, tuples as lists, without the nodes of trainers that the run does not use."""
    return of_trainer(json.loads(json.dumps(cfg)), nodes)


def of_trainer(tree: dict[str, Any], nodes: set[str]) -> dict[str, Any]:
    """The tree with no node under TRAINER but these."""
    kept = {k: v for k, v in tree.get("TRAINER", {}).items() if k in nodes or not isinstance(v, dict)}
    return {**tree, "TRAINER": kept}


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        out |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return out


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
    classes, place, counts = labels.unique(return_inverse=True, return_counts=True)
    per_class = torch.zeros(len(classes), dtype=torch.float64).index_add(0, place, hit.double()) / counts
    return {
        f"{prefix}accuracy": 100 * int(hit.sum()) / len(hit),
        f"{prefix}mean_class_accuracy": 100 * per_class.mean().item(),
        f"{prefix}correct": int(hit.sum()),
        f"{prefix}total": len(hit),
    }


def device_name(device: torch.device) -> str:
    """The GPU's name, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def versions() -> dict[str, str]:
    """Versions of what a result may depend on; Dassl's says whether it is upstream or the embedded one."""
    import dassl

    found = {"torch": torch.__version__, "dassl": getattr(dassl, "__version__", "unknown")}
    for package in ("torchvision", "clip-anytorch", "clip"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
