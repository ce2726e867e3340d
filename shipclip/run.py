"""A run's folder: its checkpoints, its log lines and its results (whose it is: claim.py)."""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from . import checkpoints
from .errors import UserError, sentence
from .files import write_json
from .loop import Epoch, Stage
from .optimizer_state import restore

VERSION = 1
FILE = "results.json"
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
    "TRAINER.COCOOP.PROMPTS_AT_ONCE",
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
        identity: a digest of what the run is made from, for its results.
        weights: the checkpoint that was loaded for a test.
    """

    folder: str = ""
    resume_from: str = ""
    scalar: Callable[[str, float, int], None] = lambda name, value, step: None
    started: float = field(default_factory=time.time)
    identity: str = ""
    weights: str = ""
    # Training time that earlier starts have spent on what this one goes on with, or takes over; since when it counts.
    seconds_before: float = 0.0
    training_since: float | None = None

    def place(self, part: str) -> Path:
        return Path(self.folder) / part

    # -- checkpoints ------------------------------------------------------------------------------------

    def save(self, part: str, stage: Stage, epoch: int, name: str = "", **further: Any) -> Path | None:
        """Keep a stage's state after `epoch` epochs."""
        if not self.folder:
            return None
        state = {**stage.state(), "val_result": None, "seconds": self.train_seconds(), **further}
        return checkpoints.save(self.place(part), state, epoch, name)

    def resume(self, part: str, stage: Stage) -> int:
        """Restore a stage from the last checkpoint of the folder, else of `resume_from`; returns the epochs done."""
        for folder in filter(None, (self.folder, self.resume_from)):
            place = Path(folder) / part
            if not checkpoints.last_epoch(place):
                continue
            file = checkpoints.find(place)
            checkpoint = checkpoints.load(file, stage.module)
            if checkpoint["epoch"] > max(stage.epochs, 1):  # what is not trained is kept as of epoch 1
                raise UserError(
                    f"{file} is of epoch {checkpoint['epoch']}, and this run ends after {stage.epochs}: choose another "
                    "folder"
                )
            for name in ("optimizer", "scheduler", "scaler"):
                piece = getattr(stage, name)
                if piece is not None and checkpoint.get(name):
                    restore(piece, checkpoint[name], name, file)
            if self.folder and folder != self.folder:
                checkpoints.adopt(file, self.place(part))  # else what the other run ended with would be nowhere here
            self.begin_training(checkpoints.seconds_of(checkpoint))
            print(f"Resumed from {file} (epoch {checkpoint['epoch']})")
            return checkpoint["epoch"]
        return 0

    # -- time -------------------------------------------------------------------------------------------

    def begin_training(self, before: float = 0.0) -> None:
        """From now on time counts as training, after what earlier starts spent on what is there."""
        self.seconds_before, self.training_since = before, time.time()

    def end_training(self) -> None:
        self.seconds_before, self.training_since = self.train_seconds(), None

    def train_seconds(self) -> float:
        """Training time so far, over all starts of the run."""
        return self.seconds_before + (time.time() - self.training_since if self.training_since else 0.0)

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
        clock = {
            "train_s": round(self.train_seconds(), 3),
            "total_s": round(time.time() - self.started, 3),
        }
        content = {"version": VERSION, **facts, "identity": self.identity, "weights": self.weights}
        content |= {"figures": dict(figures), "time": clock}
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
        raise UserError(f"{file} cannot be read ({sentence(error)}): remove it and run again") from error
    kinds = {"figures": dict, "cfg": dict, "time": dict, "seed": int, "shots": int}
    if not isinstance(content, dict) or not all(isinstance(content.get(k, t()), t) for k, t in kinds.items()):
        raise UserError(f"{file} is no results.json of a run: remove it and run again")
    return {"figures": {}, "cfg": {}, **content}


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
