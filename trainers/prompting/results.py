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
    "DATALOADER.NUM_WORKERS",
    "FEATURES.CACHE_DIR",
    "TRAIN.PRINT_FREQ",
    "TRAIN.CHECKPOINT_FREQ",
    "TRAINER.SHIP.GENERATOR.CHECKPOINT_FREQ",
}


def figures(predictions: Tensor, labels: Tensor, n_classes: int = 0) -> dict[str, Any]:
    """Accuracy in percent; with the number of classes of a joint label space also that of its two halves.

    Args:
        predictions, labels: class indices, (N,).
        n_classes: all classes, base and new; the first ceil(n / 2) labels are base (CoCoOp's protocol).
            0: no halves.
    """
    hit = predictions == labels
    out = _accuracy("", hit)
    if n_classes >= 2:
        base = labels < base_count(n_classes)
        out |= _accuracy("base_", hit[base]) | _accuracy("new_", hit[~base])
        out["h"] = harmonic_mean(out["base_accuracy"], out["new_accuracy"])
    return out


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
            "train_s": round(getattr(trainer, "train_seconds", 0.0), 3),
            "total_s": round(now - trainer.time_built, 3),
        },
        "versions": versions(),
        "device": device_name(trainer.device),
        "cfg": as_dict(cfg),
    }
    file = Path(cfg.OUTPUT_DIR) / FILE
    write_json(file, content)
    return file


def differences(cfg: CN, other: dict[str, Any]) -> list[str]:
    """What tells two configurations apart, as "KEY here / there"; keys that can't change figures don't count."""
    mine, theirs = flatten(as_dict(cfg)), flatten(other)
    keys = sorted((mine.keys() | theirs.keys()) - INDIFFERENT)
    return [
        f"{key} {mine.get(key)!r} here, {theirs.get(key)!r} there" for key in keys if mine.get(key) != theirs.get(key)
    ]


def as_dict(cfg: CN) -> dict[str, Any]:
    """A config as plain data, tuples as lists."""
    return json.loads(json.dumps(cfg))


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        out |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return out


def _accuracy(prefix: str, hit: Tensor) -> dict[str, Any]:
    correct, total = int(hit.sum()), len(hit)
    return {
        f"{prefix}accuracy": 100 * correct / total if total else 0.0,
        f"{prefix}correct": correct,
        f"{prefix}total": total,
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
