"""Whole runs of train.py on a small MiniWorld, for the tests that need one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import train

SMALL = {"train": 4, "val": 2, "test": 3}  # images a class


def arguments(root: Path, output: Path, trainer: str, *options: Any, flags: tuple[str, ...] = ()) -> list[str]:
    """Command line of a short run: 2 shots, seed 1, three epochs, base classes unless said otherwise."""
    config = "ZeroshotCLIP" if trainer == "ZeroshotCLIP2" else trainer
    given = [str(option) for option in options]
    defaults = {
        "DATASET.NUM_SHOTS": "2",
        "DATASET.SUBSAMPLE_CLASSES": "base",
        "OPTIM.MAX_EPOCH": "3",
        "FEATURES.VIEWS": "2",
        "TRAINER.SHIP.GENERATOR.EPOCHS": "4",
        "TRAINER.SHIP.GENERATOR.CHECKPOINT_FREQ": "2",
        "TRAIN.CHECKPOINT_FREQ": "1",
    }
    for key, value in defaults.items():
        if key not in given:
            given += [key, value]
    return [
        *("--root", str(root), "--output-dir", str(output), "--trainer", trainer, "--seed", "1"),
        *("--dataset-config-file", "configs/datasets/miniworld.yaml"),
        *("--config-file", f"configs/trainers/{config}/miniclip.yaml"),
        *flags,
        *given,
    ]


def run(root: Path, output: Path, trainer: str, *options: Any, flags: tuple[str, ...] = ()) -> dict[str, Any]:
    """Run in this process; returns results.json."""
    assert train.main(arguments(root, output, trainer, *options, flags=flags)) == 0
    return json.loads((output / "results.json").read_text())
