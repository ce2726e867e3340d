"""Open a saved model, or the folder of a finished run of train.py, without the training data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import checkpoints, stage1
from .backbones import load_backbone
from .backbones.base import Backbone
from .bundle import Classifier
from .confidence import Calibration
from .errors import MissingFile, UserError
from .files import digest_of, read_json
from .gallery import Gallery, read_safetensors
from .generators import GENERATORS
from .names import refuse_twins
from .precision import device_of
from .run import FILE, GENERATOR, LEARNER
from .run import read as read_results
from .saving import CLASSES, CONFIG, FORMAT, HEAD, READABLE, TRAINING, VERSION, config_of
from .settings import Settings
from .texts import Texts
from .unknown import SCORES, Rejection, Rule


def load(folder: str | Path, backbone_path: str = "", device: str | torch.device | None = None) -> Classifier:
    """Open a saved model, or the folder of a finished run of train.py; no training data is needed.

    Args:
        folder: the model's.
        backbone_path: where the backbone's weight file is, if not where it was.
        device: "cuda" where there is a GPU, unless said otherwise.

    Raises:
        MissingFile, UserError: no model there, or one that is damaged or whose backbone is another now.
    """
    folder, device = Path(folder), device_of(device)
    if (folder / FILE).is_file():
        return _load_run(folder, backbone_path, device)
    if not (folder / CONFIG).is_file():
        raise MissingFile(f"there is no model in {folder}: it has neither {CONFIG} nor {FILE}")
    config = config_of(folder)
    if config.get("format") != FORMAT:
        raise UserError(f"{folder / CONFIG} is not a model's: name a folder that `shipclip fit` or `save` made")
    if config.get("version") not in READABLE:
        raise UserError(
            f"{folder} is a model of version {config.get('version')}, and this is {VERSION}: update shipclip"
        )
    return _assemble(folder, config, backbone_path, device)


def _assemble(folder: Path, config: Mapping[str, Any], backbone_path: str, device: torch.device) -> Classifier:
    rows = _classes(folder / CLASSES)
    _refuse_damaged(config, folder / CONFIG)
    settings = Settings.of(config["settings"])
    backbone = _backbone_of(settings, backbone_path, device)
    if backbone.digest != config["backbone"].get("digest"):
        raise UserError(
            f"{folder} was made with other weights of {config['backbone'].get('name')} than those here: give its own "
            "weight file (backbone_path)"
        )
    texts = Texts.from_data(config["texts"], folder / CONFIG)
    learner = settings.learner(backbone, config["trained_names"], settings.options, config["seed"], texts)
    state = _tensors(folder, config)
    mine = {k.removeprefix("learner."): v for k, v in state.items() if k.startswith("learner.")}
    extra = {k: v for k, v in learner.state_dict().items() if k.endswith("_extra_state")}  # the names it was built with
    checkpoints.load_state(learner, mine | extra, folder / HEAD)
    generator = None
    if config["generator_names"]:
        if not settings.ship:
            raise UserError(f"{folder / CONFIG} is damaged (a generator without SHIP): save the model anew")
        cls = GENERATORS.get(settings.ship.generator.name, f"the generator of {folder}")
        generator = cls(backbone, config["generator_names"], settings.generator, config["seed"], texts)
        theirs = {k.removeprefix("generator."): v for k, v in state.items() if k.startswith("generator.")}
        checkpoints.load_state(generator, theirs, folder / HEAD)
        stage1.finished(generator)
    learner.to(device).eval()
    gallery = Gallery.load(folder / TRAINING) if (folder / TRAINING).is_file() else None
    if gallery is not None and gallery.features.shape[1] != backbone.dim:
        raise UserError(f"{folder / TRAINING} holds features of another backbone: save the model anew")
    return Classifier(
        backbone,
        learner,
        [row["name"] for row in rows if not row["removed"]],
        {row["name"]: row["images"] for row in rows},
        config["settings"],
        generator,
        config["figures"],
        calibration=_calibration(config.get("calibration", {}), folder / CONFIG),
        rejection=_rejection(config.get("rejection"), gallery, folder),
        gallery=gallery,
        chosen=config.get("chosen", {}),
        records={kind: {row["name"]: row[key] for row in rows if key in row} for kind, key in RECORDS.items()},
        hidden=[row["name"] for row in rows if row["removed"]],
    )


RECORDS = {"held out": "held_out", "test": "test"}


def _classes(file: Path) -> list[dict[str, Any]]:
    """The classes of a model: how many images each was tuned on, what is known of it, and whether it is taken out."""
    rows = read_json(file, "save the model anew")
    if not isinstance(rows, list) or not rows or not all(map(_is_class, rows)):
        raise UserError(f"{file} must be a list of objects with name and images: save the model anew")
    refuse_twins([row["name"] for row in rows], file)
    if all(row["removed"] for row in rows):
        raise UserError(f"{file} has no class that is not removed: save the model anew")
    return rows


def _is_class(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and isinstance(row.get("name"), str)
        and type(row.setdefault("images", 0)) is int
        and type(row.setdefault("removed", False)) is bool
        and all(_is_count(row[key]) for key in RECORDS.values() if key in row)
    )


def _is_count(pair: Any) -> bool:
    """How many are right, of how many."""
    return isinstance(pair, list) and len(pair) == 2 and all(type(count) is int for count in pair)


def _refuse_damaged(config: Mapping[str, Any], file: Path) -> None:
    """Refuse a model's config without what every model has; version 1 had neither confidence nor a digest."""
    kinds = {"backbone": dict, "texts": dict, "settings": dict, "figures": dict, "seed": int}
    if config["version"] > 1:
        kinds |= {"calibration": dict, "chosen": dict, "head_sha256": str}
    wrong = [key for key, kind in kinds.items() if type(config.get(key)) is not kind]
    for key in ("trained_names", "generator_names"):
        names = config.get(key)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            wrong.append(key)
    if wrong or not config["trained_names"]:
        raise UserError(f"{file} is damaged (at {(wrong or ['trained_names'])[0]}): save the model anew")


def _calibration(data: Mapping[str, Any], file: Path) -> Calibration:
    try:
        way = Calibration(**data)
        T = float(way.temperature)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{file} is damaged (at calibration): save the model anew") from error
    if not 0 < T < float("inf"):
        raise UserError(f"{file} has the temperature {way.temperature}: save the model anew")
    return way


def _rejection(data: Mapping[str, Any] | None, gallery: Gallery | None, folder: Path) -> Rejection | None:
    if data is None:
        return None
    try:
        rule = Rejection(float(data["rate"]), Rule(**data["shown"]), Rule(**data["by_name"]))
        numbers = [float(v) for part in (rule.shown, rule.by_name) for v in (part.threshold, part.spread)]
        known = {rule.shown.score, rule.by_name.score} <= SCORES.keys()
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{folder / CONFIG} is damaged (at rejection): save the model anew") from error
    if not known or not all(map(math.isfinite, numbers)):
        raise UserError(f"{folder / CONFIG} has a rule for unknown images that cannot be: save the model anew")
    if gallery is None and "neighbour" in (rule.shown.score, rule.by_name.score):
        raise MissingFile(f"there is no {folder / TRAINING}, which unknown images are told by: save the model anew")
    return rule


def _load_run(folder: Path, backbone_path: str, device: torch.device) -> Classifier:
    """The model that a run of train.py left, or one that it evaluated."""
    content = read_results(folder / FILE)
    tree = content["cfg"]
    if not tree or "classnames" not in content:
        raise UserError(
            f"{folder / FILE} does not say which classes there are (a version before 0.2 wrote it): evaluate the run "
            "anew with --eval-only, and open that folder"
        )
    settings = Settings.of(tree)
    backbone = _backbone_of(settings, backbone_path, device)
    names, new = (_names(content.get(key, []), key, folder / FILE) for key in ("classnames", "new_classnames"))
    everything = tuple(dict.fromkeys((*names, *new)))
    weights = str(content.get("weights") or "")
    trained_in = Path(weights).parent.parent if weights else folder
    texts = Texts.from_data(content.get("texts", {}), folder / FILE)
    learner = settings.learner(backbone, everything if settings.ship else names, settings.options, 0, texts)
    place = trained_in / LEARNER
    file = Path(weights) if weights else checkpoints.find(place, best=settings.test.final_model == "best_val")
    if learner.state_dict() or not learner.training_free:
        learner.trained_on(checkpoints.load(file, learner).get("classnames"))
    generator = None
    if settings.ship and checkpoints.last_epoch(trained_in / GENERATOR):
        generator = stage1.load(trained_in, backbone, everything, max(settings.seed, 0), texts)
    images = dict.fromkeys(names, max(settings.dataset.num_shots, 0)) | dict.fromkeys(new, 0)
    learner.to(device).eval()
    shown = everything if settings.ship else names
    return Classifier(backbone, learner, shown, images, tree, generator, content["figures"])


def _backbone_of(settings: Settings, path: str, device: torch.device) -> Backbone:
    own = settings.backbone
    return load_backbone(own.name, path or own.path, settings.precision, device, own.activation)


def _names(value: Any, key: str, file: Path) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise UserError(f"{file} is damaged (at {key}): evaluate the run anew")
    return tuple(value)


def _tensors(folder: Path, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """What was learned, if it is what config.json was written with; version 1 kept no digest of it."""
    tensors, _ = read_safetensors(folder / HEAD)
    if config["version"] > 1 and digest_of(folder / HEAD) != config["head_sha256"]:
        raise UserError(
            f"{folder / HEAD} is not the one that {CONFIG} was written with (one of them was edited, or saving was "
            "interrupted): save the model anew"
        )
    return tensors
