"""Finished runs, opened again with their data: the method as it was, with its learner and (of SHIP) its generator."""

from __future__ import annotations

from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

from . import checkpoints, method
from .backbones import load_backbone
from .data import DATASETS, task_of
from .errors import MissingFile, UserError
from .method import Method
from .run import FILE, GENERATOR, LEARNER, read
from .settings import Settings


def open_run(folder: str | Path, root: str = "", joint: bool = False) -> Method:
    """The method of a run's folder, weights loaded.

    Args:
        folder: where train.py left results.json.
        root: of the data sets, if not where it was.
        joint: of a run on base classes open base and new ones together.

    Raises:
        MissingFile, UserError: no finished run there, or its data is not at hand.
    """
    file = Path(folder) / FILE
    if not file.is_file():
        raise MissingFile(f"there is no {file}: name the folder of a finished run")
    tree = read(file)["cfg"]
    if not tree:
        raise UserError(f"{file} tells of no config, so the run cannot be opened: run it again")
    settings = Settings.of(tree)
    options = replace(settings.dataset, root=root or settings.dataset.root)
    if joint and options.subsample_classes == "base":
        options = replace(options, subsample_classes="gzsl")
    source = DATASETS.get(options.name, f"the data set of {folder}")(options.root)
    with redirect_stdout(StringIO()):  # the run has told all this before
        own = settings.backbone
        backbone = load_backbone(own.name, own.path, settings.precision, "cpu", own.activation)
        opened = method.build(settings, task_of(source, options, settings.seed), backbone, max(settings.seed, 0))
        if checkpoints.last_epoch(Path(folder) / LEARNER) and opened.learner.state_dict():
            best = settings.test.final_model == "best_val" and not opened.learner.training_free
            checkpoints.load(checkpoints.find(Path(folder) / LEARNER, best=best), opened.learner)
        places = [Path(folder), *([Path(settings.ship.generator.from_)] if settings.ship else [])]
        if settings.ship and any(checkpoints.last_epoch(place / GENERATOR) for place in places):
            method.load_generator(opened, str(folder))
    return opened
