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
from .bundle import Classifier
from .confidence import Calibration
from .data.image_folder import refuse_twins
from .errors import MissingFile, UserError
from .files import read_json
from .gallery import Gallery, read_safetensors
from .generators import GENERATORS
from .run import FILE, GENERATOR, LEARNER
from .run import read as read_results
from .saving import CLASSES, CONFIG, FORMAT, HEAD, READABLE, TRAINING, VERSION, config_of, digest_of
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
    folder = Path(folder)
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
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
    try:
        return _assemble(folder, config, backbone_path, device)
    except UserError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise UserError(
            f"{folder / CONFIG} is damaged ({type(error).__name__}: {error}): save the model anew"
        ) from error


def _assemble(folder: Path, config: Mapping[str, Any], backbone_path: str, device: torch.device) -> Classifier:
    classes = read_json(folder / CLASSES, "save the model anew")
    if not isinstance(classes, list) or not all(isinstance(row, dict) and row.get("name") for row in classes):
        raise UserError(f"{folder / CLASSES} must be a list of objects with name and images: save the model anew")
    everything = [row["name"] for row in classes]
    if not all(isinstance(name, str) for name in everything):
        raise UserError(f"{folder / CLASSES} has a name that is no text: save the model anew")
    refuse_twins(everything, str(folder / CLASSES))
    names = [row["name"] for row in classes if not row.get("removed")]
    if not names:
        raise UserError(f"{folder / CLASSES} has no class that is not removed: save the model anew")
    settings = Settings.of(config["settings"])
    backbone = _backbone_of(settings, backbone_path, device)
    if backbone.digest != config["backbone"]["digest"]:
        raise UserError(
            f"{folder} was made with other weights of {config['backbone']['name']} than those here: give its own "
            "weight file (backbone_path)"
        )
    texts = Texts.from_data(config["texts"])
    learner = settings.learner(backbone, config["trained_names"], settings.options, config["seed"], texts)
    state = _tensors(folder, config)
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
    learner.to(device).eval()
    gallery = Gallery.load(folder / TRAINING) if (folder / TRAINING).is_file() else None
    if gallery is not None and gallery.features.shape[1] != backbone.dim:
        raise UserError(f"{folder / TRAINING} holds features of another backbone: save the model anew")
    return Classifier(
        backbone,
        learner,
        names,
        {row["name"]: int(row.get("images", 0)) for row in classes},
        config["settings"],
        generator,
        config["figures"],
        calibration=_calibration(config.get("calibration", {}), folder),
        rejection=_rejection(config.get("rejection"), gallery, folder),
        gallery=gallery,
        chosen=config.get("chosen", {}),
        records={
            kind: {row["name"]: _count(row[key]) for row in classes if key in row} for kind, key in RECORDS.items()
        },
        hidden=[name for name in everything if name not in names],
    )


RECORDS = {"held out": "held_out", "test": "test"}


def _count(pair: Any) -> tuple[int, int]:
    right, of = pair
    return int(right), int(of)


def _calibration(data: Mapping[str, Any], folder: Path) -> Calibration:
    way = Calibration(**data)
    if not 0 < float(way.temperature) < float("inf"):
        raise UserError(f"{folder / CONFIG} has the temperature {way.temperature}: save the model anew")
    return way


def _rejection(data: Mapping[str, Any] | None, gallery: Gallery | None, folder: Path) -> Rejection | None:
    if data is None:
        return None
    rule = Rejection(float(data["rate"]), Rule(**data["shown"]), Rule(**data["by_name"]))
    for part in (rule.shown, rule.by_name):
        if part.score not in SCORES or not all(abs(float(v)) < float("inf") for v in (part.threshold, part.spread)):
            raise UserError(f"{folder / CONFIG} has a rule for unknown images that cannot be: save the model anew")
        if part.score == "neighbour" and gallery is None:
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


def _tensors(folder: Path, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """What was learned, if it is what config.json was written with."""
    tensors, _ = read_safetensors(folder / HEAD)
    if config["version"] > 1 and digest_of(folder / HEAD) != config["head_sha256"]:
        raise UserError(
            f"{folder / HEAD} is not the one that {CONFIG} was written with (one of them was edited, or saving was "
            "interrupted): save the model anew"
        )
    return tensors
