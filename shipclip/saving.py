"""A model's folder: saved without a pickle, each file whole or not at all.

MODEL/config.json            backbone by name and digest, learner, settings, confidence, figures
MODEL/classes.json           the classes: how many images each was tuned on, and what is known of its accuracy
MODEL/head.safetensors       what was learned
MODEL/training.safetensors   features of the training images, for the nearest ones and for unknown ones
MODEL/README.md              a card
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .errors import UserError
from .files import digest_of, read_json, replacing
from .reporting.card import TITLE, card
from .run import versions

if TYPE_CHECKING:
    from .bundle import Classifier

FORMAT, VERSION, READABLE = "shipclip-model", 2, (1, 2)
CONFIG, CLASSES, HEAD, TRAINING, CARD = (
    "config.json",
    "classes.json",
    "head.safetensors",
    "training.safetensors",
    "README.md",
)


def save(model: Classifier, folder: Path) -> Path:
    """Write a model; what else lies in the folder is left alone.

    Everything is written to temporary names first, and config.json is renamed last: a model that was there before stays
    whole until all of the new one is on the disk.
    """
    from safetensors.torch import save as as_bytes

    refuse_foreign(folder)
    tensors = {f"learner.{k}": v for k, v in model.learner.state_dict().items() if isinstance(v, Tensor)}
    if model.generator is not None:
        tensors |= {f"generator.{k}": v for k, v in model.generator.state_dict().items()}
    with ExitStack() as files:  # the last to be entered is the first to be renamed
        names = (CONFIG, CARD, CLASSES, *((TRAINING,) if model.gallery is not None else ()), HEAD)
        place = {name: files.enter_context(replacing(folder / name)) for name in names}
        place[HEAD].write_bytes(as_bytes({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}))
        if model.gallery is not None:
            place[TRAINING].write_bytes(model.gallery.as_bytes())
        place[CLASSES].write_text(_as_json(_classes(model)), encoding="utf-8")
        place[CARD].write_text(card(model), encoding="utf-8")
        place[CONFIG].write_text(_as_json(_config(model, place[HEAD])), encoding="utf-8")
    if model.gallery is None:
        (folder / TRAINING).unlink(missing_ok=True)
    return folder


def _config(model: Classifier, head: Path) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "backbone": {"name": model.backbone.name, "digest": model.backbone.digest},
        "trained_names": list(model.learner.names),
        "generator_names": list(model.generator.names) if model.generator is not None else [],
        "texts": model.learner.texts.as_data(),
        "seed": model.learner.seed,
        "settings": model.tree,
        "calibration": asdict(model.calibration),
        "rejection": asdict(model.rejection) if model.rejection is not None else None,
        "chosen": model.chosen,
        "figures": model.figures,
        "head_sha256": digest_of(head),
        "versions": versions(),
    }


def _classes(model: Classifier) -> list[dict[str, Any]]:
    rows = []
    for name in (*model.classes, *model.hidden):
        row: dict[str, Any] = {"name": name, "images": model.images.get(name, 0)}
        row |= {kind.replace(" ", "_"): list(of[name]) for kind, of in model.records.items() if name in of}
        rows.append(row | ({"removed": True} if name in model.hidden else {}))
    return rows


def _as_json(content: Any) -> str:
    return json.dumps(content, indent=2) + "\n"


def refuse_foreign(folder: str | Path) -> None:
    """Refuse a folder that holds something other than a model.

    Raises:
        UserError: naming what lies there.
    """
    folder = Path(folder)
    if folder.is_file():
        raise UserError(f"{folder} is a file: give a folder for the model")
    if (folder / CONFIG).is_file():
        if config_of(folder).get("format") != FORMAT:
            raise UserError(f"{folder} holds something else ({CONFIG} is no model's): choose another folder")
        return
    broken_off = (folder / HEAD).is_file()  # a save was, and the head is what it had renamed first
    for name in (CLASSES, TRAINING, CARD):
        own = _own_card(folder / CARD) if name == CARD else broken_off
        if (folder / name).exists() and not own:
            raise UserError(f"{folder} holds a {name} that is no model's, and would be lost: choose another folder")


def _own_card(file: Path) -> bool:
    return file.is_file() and file.read_bytes().startswith(TITLE.encode())


def config_of(folder: Path) -> dict[str, Any]:
    content = read_json(folder / CONFIG, "save the model anew")
    if not isinstance(content, dict):
        raise UserError(f"{folder / CONFIG} holds no object: save the model anew")
    return content
