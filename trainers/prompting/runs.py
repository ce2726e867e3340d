"""Finished runs, opened again: the trainer as it was, with its learner and (of SHIP) its generator."""

from __future__ import annotations

import importlib
import pkgutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from dassl.config import get_cfg_default
from dassl.engine import build_trainer
from yacs.config import CfgNode as CN

from . import results
from .trainer import PromptTrainer


def open_run(folder: str | Path, *options: Any) -> PromptTrainer:
    """The trainer of a run's folder, weights loaded.

    Args:
        folder: where train.py left results.json.
        options: KEY, VALUE pairs that replace the run's, DATASET.ROOT say.

    Raises:
        FileNotFoundError, ValueError: no finished run there.
    """
    file = Path(folder) / results.FILE
    if not file.is_file():
        raise FileNotFoundError(f"there is no {file}: name the folder of a finished run")
    cfg = get_cfg_default()
    saved = results.read(file)["cfg"]
    if not saved:
        raise ValueError(f"{file} tells of no config, so the run cannot be opened: run it again")
    restore(cfg, saved)
    cfg.OUTPUT_DIR, cfg.RESUME = "", ""
    cfg.merge_from_list([str(option) for option in options])
    register_datasets()
    with redirect_stdout(StringIO()):  # the run has told all this before
        trainer = build_trainer(cfg)
        if any(Path(folder, "prompt_learner").glob("model.pth.tar-*")):
            trainer.load_model(str(folder))
        if hasattr(trainer, "load_generator") and not hasattr(trainer, "generator"):
            trainer.load_generator(str(folder))
    return trainer


def restore(cfg: CN, saved: dict[str, Any]) -> None:
    """Put a results.json's config back into a Dassl default tree, in place; JSON's lists become tuples again."""
    for key, value in saved.items():
        if isinstance(value, dict):
            if key not in cfg:
                cfg[key] = CN()
            restore(cfg[key], value)
        else:
            cfg[key] = tuple(value) if isinstance(cfg.get(key), tuple) else value


def register_datasets() -> None:
    """Import the modules of the checkout's own package of data sets, which registers them."""
    package = importlib.import_module("datasets")
    for module in pkgutil.iter_modules(package.__path__):
        if module.name not in ("prepare", "check"):
            importlib.import_module(f"datasets.{module.name}")
