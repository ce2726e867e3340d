"""Open a saved model, or the folder of a finished run of train.py, without the training data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import checkpoints, stage1
from .backbones import load_backbone
from .backbones.base import Backbone
from .bundle import CLASSES, CONFIG, FORMAT, HEAD, VERSION, Classifier, config_of
from .errors import MissingFile, UserError, first_line
from .files import digest_of, read_json
from .generators import GENERATORS
from .names import refuse_twins
from .precision import device_of
from .run import FILE, GENERATOR, LEARNER
from .run import read as read_results
from .settings import Settings
from .texts import Texts


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
    if config.get("version") != VERSION:
        raise UserError(
            f"{folder} is a model of version {config.get('version')}, and this is {VERSION}: update shipclip"
        )
    return _assemble(folder, config, backbone_path, device)


def _assemble(folder: Path, config: Mapping[str, Any], backbone_path: str, device: torch.device) -> Classifier:
    rows = _classes(folder / CLASSES)
    names = [row["name"] for row in rows]
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
    state = _tensors(folder / HEAD, config.get("head"))
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
    images = {row["name"]: row["images"] for row in rows}
    return Classifier(backbone, learner, names, images, config["settings"], generator, config["figures"])


def _classes(file: Path) -> list[dict[str, Any]]:
    """The classes of a model, and how many images each was tuned on."""
    rows = read_json(file, "save the model anew")
    sound = isinstance(rows, list) and all(
        isinstance(row, dict) and isinstance(row.get("name"), str) and type(row.setdefault("images", 0)) is int
        for row in rows
    )
    if not sound or not rows:
        raise UserError(f"{file} must be a list of objects with name and images: save the model anew")
    refuse_twins([row["name"] for row in rows], file)
    return rows


def _refuse_damaged(config: Mapping[str, Any], file: Path) -> None:
    """Refuse a model's config without what every model has."""
    kinds = {"backbone": dict, "texts": dict, "settings": dict, "figures": dict, "seed": int}
    wrong = [key for key, kind in kinds.items() if type(config.get(key)) is not kind]
    for key in ("trained_names", "generator_names"):
        names = config.get(key)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            wrong.append(key)
    if wrong or not config["trained_names"]:
        raise UserError(f"{file} is damaged (at {(wrong or ['trained_names'])[0]}): save the model anew")


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


def _tensors(file: Path, digest: Any) -> dict[str, Tensor]:
    """The tensors of a model; older models keep no digest of them."""
    from safetensors.torch import load_file

    if not file.is_file():
        raise MissingFile(f"there is no {file}: save the model anew")
    if digest is not None and digest_of(file) != digest:
        raise UserError(f"{file} cannot be read (it has changed since it was saved): save the model anew")
    try:
        return load_file(file)
    except Exception as error:  # safetensors has an exception of its own for damaged bytes
        raise UserError(f"{file} cannot be read ({first_line(error)}): save the model anew") from error
