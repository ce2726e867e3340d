"""A run's folder: its claim, its checkpoints, its log lines and its results."""

from __future__ import annotations

import datetime
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from . import checkpoints
from .errors import MissingFile, UserError
from .files import write_json
from .loop import Epoch, Stage
from .options import flatten

VERSION = 1
FILE, CLAIM = "results.json", "config.json"
LEARNER, GENERATOR = "prompt_learner", "generator"  # folders of the stages' checkpoints

# Config keys that say where and how a run works, not what it computes.
INDIFFERENT = {
    "OUTPUT_DIR",
    "RESUME",
    "VERBOSE",
    "DATASET.ROOT",
    "DATASET.ON_BAD_IMAGE",  # a run that was stopped by an image goes on without it
    "DATALOADER.NUM_WORKERS",
    "FEATURES.CACHE_DIR",
    "TEST.PREDICTIONS",
    "TRAIN.PRINT_FREQ",
    "TRAIN.CHECKPOINT_FREQ",
    "TRAINER.SHIP.GENERATOR.CHECKPOINT_FREQ",
}
# What old runs say of images is the backbone's own now.
OF_THE_BACKBONE = {"INPUT.SIZE", "INPUT.INTERPOLATION", "INPUT.PIXEL_MEAN", "INPUT.PIXEL_STD"}


@dataclass
class Run:
    """A run's folder and what is told on the way.

    Attributes:
        folder: where everything lies; empty: nothing is kept.
        resume_from: another run's folder, to go on with where the folder itself has no checkpoint.
        scalar: (name, value, step) -> None, TensorBoard's say.
        seconds: training time of this start, and what was taken over from an earlier run.
        weights: the checkpoint that was loaded for a test.
    """

    folder: str = ""
    resume_from: str = ""
    scalar: Callable[[str, float, int], None] = lambda name, value, step: None
    started: float = field(default_factory=time.time)
    train_seconds: float = 0.0
    reused_seconds: float = 0.0
    weights: str = ""

    def place(self, part: str) -> Path:
        return Path(self.folder) / part

    # -- checkpoints ------------------------------------------------------------------------------------

    def save(self, part: str, stage: Stage, epoch: int, name: str = "", **further: Any) -> Path | None:
        """Keep a stage's state after `epoch` epochs."""
        if not self.folder:
            return None
        return checkpoints.save(self.place(part), {**stage.state(), "val_result": None, **further}, epoch, name)

    def resume(self, part: str, stage: Stage) -> int:
        """Restore a stage from the last checkpoint of the folder, else of `resume_from`; returns the epochs done."""
        for folder in filter(None, (self.folder, self.resume_from)):
            place = Path(folder) / part
            if not checkpoints.last_epoch(place):
                continue
            file = checkpoints.find(place)
            checkpoint = checkpoints.load(file, stage.module)
            for name in ("optimizer", "scheduler", "scaler"):
                piece = getattr(stage, name)
                if piece is not None and checkpoint.get(name):
                    piece.load_state_dict(checkpoint[name])
            print(f"Resumed from {file} (epoch {checkpoint['epoch']})")
            return checkpoint["epoch"]
        return 0

    def check_resume(self) -> None:
        """Refuse to go on from a folder that has no checkpoint."""
        if self.resume_from and not any(
            checkpoints.last_epoch(Path(self.resume_from) / part) for part in (LEARNER, GENERATOR)
        ):
            raise MissingFile(f"there is no checkpoint of a run in {self.resume_from}: check --resume")

    # -- log --------------------------------------------------------------------------------------------

    def tell(self, stage: Stage, epoch: Epoch) -> None:
        """An epoch's line in CoOp's format, and its scalars."""
        n = epoch.batches
        left = datetime.timedelta(seconds=int(epoch.time[1] * n * (stage.epochs - epoch.number)))
        clocks = f"time {epoch.time[0]:.3f} ({epoch.time[1]:.3f}) data {epoch.data[0]:.3f} ({epoch.data[1]:.3f})"
        losses = " ".join(f"{name} {epoch.last[name]:.4f} ({mean:.4f})" for name, mean in epoch.mean.items())
        print(f"epoch [{epoch.number}/{stage.epochs}] batch [{n}/{n}] {clocks} {losses} lr {epoch.lr:.4e} eta {left}")
        step = epoch.number * n - 1
        for name, mean in epoch.mean.items():
            self.scalar(f"train/{name}", mean, step)
        self.scalar("train/lr", epoch.lr, step)

    # -- results ----------------------------------------------------------------------------------------

    def write(self, facts: Mapping[str, Any], figures: Mapping[str, Any], device: torch.device) -> Path | None:
        """results.json, whole or not at all, as the last act of a run.

        Args:
            facts: what was run: trainer, method, config, experiment, dataset, classnames ... and "cfg".
            figures: what was measured.
            device: where.
        """
        if not self.folder:
            return None
        clock = {  # with the time that a part of it took in an earlier run, if that was taken over
            "train_s": round(self.train_seconds + self.reused_seconds, 3),
            "total_s": round(time.time() - self.started, 3),
        }
        content = {"version": VERSION, **facts, "weights": self.weights, "figures": dict(figures), "time": clock}
        content |= {"versions": versions(), "device": device_name(device), "cfg": content.pop("cfg", {})}
        file = self.place(FILE)
        write_json(file, content)
        return file


def read(file: Path) -> dict[str, Any]:
    """A results.json, with `figures` and `cfg` (perhaps empty).

    Raises:
        UserError: damaged, naming the file.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read ({' '.join(str(error).split())}): remove it and run again") from error
    kinds = {"figures": dict, "cfg": dict, "time": dict, "seed": int, "shots": int}
    if not isinstance(content, dict) or not all(isinstance(content.get(k, t()), t) for k, t in kinds.items()):
        raise UserError(f"{file} is no results.json of a run: remove it and run again")
    return {"figures": {}, "cfg": {}, **content}


def claim(folder: Path, tree: Mapping[str, Any]) -> None:
    """Say whose folder this is: config.json."""
    write_json(folder / CLAIM, tree)


def check_claim(folder: Path, tree: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse a folder of a run with another config, which must be neither resumed nor written over. A key that the
    folder's run had not heard of had its default there."""
    file = folder / CLAIM
    if not file.is_file():
        return
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged ({error}): remove it, and the run goes on") from error
    if not isinstance(saved, dict):
        raise UserError(f"{file} is no config of a run: remove it, and the run goes on")
    different = differences(tree, saved, defaults)
    if different:
        raise UserError(
            f"{folder} belongs to a run with another config ({different[0]}): choose another --output-dir, "
            "or remove the folder"
        )


def is_finished(folder: Path, model_dir: str, epoch: int | None) -> bool:
    """Whether a folder holds results, and (of an evaluation) still those of the model at hand."""
    file = folder / FILE
    if not file.is_file():
        return False
    if not model_dir:
        return True
    weights = Path(read(file).get("weights", ""))
    # Retrained since, or other weights: evaluate again.
    return (
        Path(os.path.abspath(model_dir)) in Path(os.path.abspath(weights)).parents
        and weights.is_file()
        and weights.stat().st_mtime < file.stat().st_mtime
        and epoch in (None, _epoch_of(weights))
    )


def _epoch_of(weights: Path) -> int | None:
    """The epoch in a checkpoint's name; None of the best one."""
    number = weights.name.rpartition("-")[2]
    return int(number) if number.isdigit() else None


def differences(tree: Mapping[str, Any], saved: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """What tells a run's settings apart from saved ones, as "KEY here / there"; keys that can't change figures don't
    count, nor do those that are no more."""
    mine, theirs = flatten(plain(tree)), flatten(of_nodes(saved, set(tree.get("TRAINER", {}))))
    theirs = flatten(plain(defaults)) | theirs
    keys = sorted((mine.keys() & theirs.keys()) - INDIFFERENT - OF_THE_BACKBONE)
    return [f"{key} {mine[key]!r} here, {theirs[key]!r} there" for key in keys if mine[key] != theirs[key]]


def plain(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as plain data, tuples as lists."""
    return json.loads(json.dumps(tree))


def of_nodes(tree: Mapping[str, Any], nodes: set[str]) -> dict[str, Any]:
    """The tree with no node under TRAINER but these: others come and go with the learners installed."""
    kept = {k: v for k, v in tree.get("TRAINER", {}).items() if k in nodes or not isinstance(v, dict)}
    return {**tree, "TRAINER": kept}


def device_name(device: torch.device) -> str:
    """The GPU's name, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def versions() -> dict[str, str]:
    """Versions of what a result may depend on; Dassl's, where it is in use, says whether it is upstream or the embedded
    one."""
    found = {"torch": torch.__version__}
    if "dassl" in sys.modules:
        found["dassl"] = getattr(sys.modules["dassl"], "__version__", "unknown")
    for package in ("torchvision", "clip-anytorch", "clip", "open_clip_torch"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
