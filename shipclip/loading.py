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
from .errors import MissingFile, UserError
from .files import read_json
from .generators import GENERATORS
from .names import refuse_twins
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
    folder = Path(folder)
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
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
    try:
        return _assemble(folder, config, backbone_path, device)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{folder / CONFIG} is damaged ({type(error).__name__}: {error}): save the model anew"
        ) from error


def _assemble(folder: Path, config: Mapping[str, Any], backbone_path: str, device: torch.device) -> Classifier:
    classes = read_json(folder / CLASSES, "save the model anew")
    if not isinstance(classes, list) or not all(isinstance(row, dict) and row.get("name") for row in classes):
        raise UserError(f"{folder / CLASSES} must be a list of objects with name and images: save the model anew")
    names = [row["name"] for row in classes]
    refuse_twins(names, str(folder / CLASSES))
    settings = Settings.of(config["settings"])
    backbone = _backbone_of(settings, backbone_path, device)
    if backbone.digest != config["backbone"]["digest"]:
        raise UserError(
            f"{folder} was made with other weights of {config['backbone']['name']} than those here: give its own "
            "weight file (backbone_path)"
        )
    texts = Texts.from_data(config["texts"])
    learner = settings.learner(backbone, config["trained_names"], settings.options, config["seed"], texts)
    state = _tensors(folder / HEAD)
    mine = {k.removeprefix("learner."): v for k, v in state.items() if k.startswith("learner.")}
    extra = {k: v for k, v in learner.state_dict().items() if k.endswith("_extra_state")}  # the names it was built with
    checkpoints.load_state(learner, mine | extra, folder / HEAD)
    generator = None
    if config["generator_names"]:
        cls = GENERATORS.get(settings.ship.generator.name, f"the generator of {folder}")
        generator = cls(backbone, config["generator_names"], settings.generator, config["seed"], texts)
        theirs = {k.removeprefix("generator."): v for k, v in state.items() if k.startswith("generator.")}
        checkpoints.load_state(generator, theirs, folder / HEAD)
        stage1.finished(generator)
    images = {row["name"]: int(row.get("images", 0)) for row in classes}
    learner.to(device).eval()
    return Classifier(backbone, learner, names, images, config["settings"], generator, config["figures"])


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
    names, new = tuple(content["classnames"]), tuple(content.get("new_classnames", ()))
    everything = tuple(dict.fromkeys((*names, *new)))
    weights = content.get("weights") or ""
    trained_in = Path(weights).parent.parent if weights else folder
    texts = Texts.from_data(content.get("texts", {}))
    learner = settings.learner(backbone, everything if settings.ship else names, settings.options, 0, texts)
    place = trained_in / LEARNER
    file = Path(weights) if weights else checkpoints.find(place, best=settings.test.final_model == "best_val")
    if learner.state_dict() or not learner.training_free:
        checkpoints.load(file, learner)
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


def _tensors(file: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    if not file.is_file():
        raise MissingFile(f"there is no {file}: save the model anew")
    try:
        return load_file(file)
    except Exception as error:  # safetensors has an exception of its own for damaged bytes
        raise UserError(f"{file} cannot be read ({error}): save the model anew") from error
