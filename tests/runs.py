"""Whole runs of train.py on a small MiniWorld, for the tests that need one."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import train
from shipclip.backbones import load_backbone
from shipclip.backbones.base import Backbone
from shipclip.features import bank, store
from shipclip.features.encode import encode
from shipclip.features.pixels import Views
from shipclip.precision import Precision
from shipclip.presets import CONFIGS, FOLDERS
from trainers.ship import base

MINIWORLD = CONFIGS / "datasets" / "miniworld.yaml"
SMALL = {"train": 4, "val": 2, "test": 3}  # images a class


def small_elsewhere(folder: Path) -> str:
    """PYTHONPATH of processes to whom the small world is the world, through a file in `folder` that each of them reads
    when it starts."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(f"from shipclip.miniclip import world\nworld.SPLITS = {SMALL!r}\n")
    return os.pathsep.join([str(folder), str(Path(__file__).parents[1])])


def arguments(
    root: Path, output: Path, trainer: str, *options: Any, flags: tuple[str, ...] = (), config: str = ""
) -> list[str]:
    """Command line of a short run: 2 shots, seed 1, three epochs, base classes unless said otherwise."""
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
        *("--dataset-config-file", str(MINIWORLD)),
        *("--config-file", config or str(CONFIGS / "trainers" / FOLDERS.get(trainer, trainer) / "miniclip.yaml")),
        *flags,
        *given,
    ]


def status(
    root: Path,
    output: Path,
    trainer: str,
    *options: Any,
    flags: tuple[str, ...] = (),
    config: str = "",
    anew: bool = False,
) -> int:
    """Run in this process; returns the exit status. The model and the features that such a run had before are taken
    again, unless all is to be made `anew`."""
    with pytest.MonkeyPatch.context() as patch:
        if not anew:
            patch.setattr(bank, "encode", encoded_before)
            patch.setattr(base, "load_backbone", loaded_before)
        return train.main(arguments(root, output, trainer, *options, flags=flags, config=config))


def run(root: Path, output: Path, trainer: str, *options: Any, **given: Any) -> dict[str, Any]:
    """Run so to the end; returns results.json."""
    assert status(root, output, trainer, *options, **given) == 0
    return json.loads((output / "results.json").read_text())


ENCODED: dict[Any, Tensor] = {}


def encoded_before(backbone: Backbone, views: Views, workers: int = 0) -> Tensor:
    """`encode`, whose work is most of a small run's and the same in hundreds of them."""
    names = store.digests(views)
    if names is None:
        return encode(backbone, views, workers)
    asked = views.recipe, views.upright, views.random, views.seed, views.first, views.count
    key = backbone.fingerprint, json.dumps(asked), names.tobytes()
    if key not in ENCODED:
        ENCODED[key] = encode(backbone, views, workers)
    return ENCODED[key].clone()


def loaded_before(
    name: str, path: str = "", precision: str = "fp32", device: Any = "cpu", activation: str = ""
) -> Backbone:
    """`load_backbone`, which takes half a second; no run changes a frozen model."""
    if path or activation or (name, precision) != ("MiniCLIP", "fp32"):
        return load_backbone(name, path, precision, device, activation)
    return miniclip(Precision.choose(precision, device), str(device))


@cache
def miniclip(precision: Precision, device: str) -> Backbone:
    return load_backbone("MiniCLIP", "", precision.name, device)


class Killed(BaseException):
    """Stands for the end of the process."""


def kill_at_call(patch: pytest.MonkeyPatch, owner: Any, name: str, call: int) -> None:
    """Let the given call of owner.name end the process."""
    original, calls = getattr(owner, name), []

    def wrapped(*args, **kwargs):
        calls.append(None)
        if len(calls) == call:
            raise Killed
        return original(*args, **kwargs)

    patch.setattr(owner, name, wrapped)


def same_weights(first: Path, second: Path, *files: str) -> bool:
    """Whether checkpoints of two runs have the same tensors, to the bit."""
    return all(
        torch.equal(value, torch.load(second / file, weights_only=True)["state_dict"][name])
        for file in files
        for name, value in torch.load(first / file, weights_only=True)["state_dict"].items()
    )
