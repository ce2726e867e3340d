"""A model that one can open: a classifier with its names, saved without a pickle and loaded without the training data.

MODEL/config.json        backbone by name and digest, learner, settings, figures
MODEL/classes.json       the classes, and how many images each was tuned on
MODEL/head.safetensors   what was learned
MODEL/README.md          a card
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .backbones.base import Backbone
from .errors import UserError
from .features.images import images_below
from .features.pixels import Views, read_views
from .features.transforms import InputOptions, plain_transform
from .files import digest_of, read_json, replacing, write_json, write_text
from .generators import FeatureGenerator
from .learners import Learner
from .learners.base import Classifier as Classify
from .names import plain, refuse_same_tokens, refuse_twins
from .options import read
from .reporting.card import card
from .rng import stream
from .run import versions
from .task import Item

FORMAT, VERSION = "shipclip-model", 1
CONFIG, CLASSES, HEAD, CARD = "config.json", "classes.json", "head.safetensors", "README.md"
ADDED_FEATURES = 16  # synthesized features of an added class, for learners that keep features of each


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of an image.

    Attributes:
        name: the most probable class.
        probability: of it, 0 ... 1.
        top: the most probable classes with their probabilities, best first.
        path: the image's file, where it is one.
    """

    name: str
    probability: float
    top: list[tuple[str, float]]
    path: str = ""


class Classifier:
    """A tuned learner with the names of its classes.

    Args:
        backbone: the frozen CLIP.
        learner: tuned.
        names: of all classes.
        images: class name to the number of its training images.
        tree: the settings that it was made with, as plain data.
        generator: SHIP's, where there is one.
        figures: of its test.
    """

    def __init__(
        self,
        backbone: Backbone,
        learner: Learner,
        names: Sequence[str],
        images: Mapping[str, int],
        tree: Mapping[str, Any],
        generator: FeatureGenerator | None = None,
        figures: Mapping[str, Any] | None = None,
    ):
        self.backbone, self.learner, self.generator = backbone, learner, generator
        self.images, self.tree, self.figures = dict(images), dict(tree), dict(figures or {})
        self._names = tuple(names)

    @property
    def input(self) -> InputOptions:
        return read(InputOptions, self.tree.get("INPUT", {}), "INPUT.")

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return list(self._names)

    # -- prediction -------------------------------------------------------------------------------------

    @torch.no_grad()
    def classifier(self) -> Classify:
        """Features or images to logits over the classes, as they are now; class features are made once."""
        return self.learner.eval().classifier(self._names)

    @torch.no_grad()
    def logits(self, images: Tensor, classify: Classify | None = None) -> Tensor:
        """Preprocessed images (B, 3, R, R) to logits (B, C), float32; `classify` is from `classifier()`."""
        classify = classify or self.classifier()
        x = images if self.learner.sees == "images" else self.backbone.encode_image(images)
        return classify(x.to(self.backbone.device)).float()

    def predict(self, images: Any, top: int = 5, batch_size: int = 64, workers: int = 0) -> list[Prediction]:
        """Classify images.

        Args:
            images: a path or several (folders give all images below them), PIL images, or a tensor (B, 3, R, R) that is
                preprocessed already.
            top: how many classes to name.
            batch_size: images at once.
            workers: processes that read images.

        Raises:
            UserError: no image, or one that cannot be read, by name.
        """
        return list(self.stream(images, top, batch_size, workers))

    def stream(self, images: Any, top: int = 5, batch_size: int = 64, workers: int = 0) -> Iterator[Prediction]:
        """The same, one after the other."""
        if top < 1:
            raise UserError(f"top is {top}: give at least 1")
        if isinstance(images, Tensor):
            R = self.backbone.resolution
            if images.dim() != 4 or images.shape[1:] != (3, R, R):
                raise UserError(f"the tensor of images is {tuple(images.shape)}: give (B, 3, {R}, {R})")
            items, batches = [Item("", 0) for _ in images], iter(images.split(batch_size))
        else:
            items = [Item(image, 0) for image in images_below(images)]
            views = Views(items, plain_transform(self.input, self.backbone.preprocessing), upright=True)
            batches = (batch[:, 0] for batch in read_views(views, batch_size, workers))
        done, classify = 0, self.classifier()
        for batch in batches:
            best = self.logits(batch, classify).softmax(dim=1).topk(min(top, len(self._names)), dim=1)
            for chances, places in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                named = [(self._names[i], p) for i, p in zip(places, chances, strict=True)]
                source = items[done].impath
                done += 1
                yield Prediction(*named[0], named, source if isinstance(source, str) else "")

    # -- classes ----------------------------------------------------------------------------------------

    def add_classes(self, names: Sequence[str]) -> None:
        """Classify these as well, from now on, by their names.

        A prompt learner reads the names behind its learned context, which SHIP has tuned on synthesized features. A
        learner that keeps image features (Tip-Adapter, GDA) is given synthesized ones where SHIP made it; else it goes
        by their texts, as the linear probe does.

        Raises:
            UserError: a name that cannot be told from one that is there, or that is too long.
        """
        names = [plain(name) for name in ([names] if isinstance(names, str) else names)]
        refuse_twins([*self._names, *names], "add_classes")
        refuse_same_tokens(self.backbone.tokenizer.encode, [*self._names, *names], names, self.backbone.name)
        self.learner.classifier(names)  # too long a name is told before anything is changed
        if self.generator is not None:
            known = self.generator.names
            self.generator.rename([*known, *names])
            labels = torch.arange(len(known), len(known) + len(names)).repeat_interleave(ADDED_FEATURES)
            features = self.generator.sample(labels, stream(self.learner.seed, "added", *names))
            self.learner.add_classes(names, features.unflatten(0, (len(names), ADDED_FEATURES)))
        self._names = (*self._names, *names)
        self.images |= dict.fromkeys(names, 0)

    # -- on disk ----------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Write the model, each file whole or not at all; what else lies in the folder is left alone."""
        from safetensors.torch import save_file

        folder = Path(folder)
        refuse_foreign(folder)
        tensors = {f"learner.{k}": v for k, v in self.learner.state_dict().items() if isinstance(v, Tensor)}
        if self.generator is not None:
            tensors |= {f"generator.{k}": v for k, v in self.generator.state_dict().items()}
        with replacing(folder / HEAD) as temporary:
            save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, temporary)
        content = {
            "format": FORMAT,
            "version": VERSION,
            "backbone": {"name": self.backbone.name, "digest": self.backbone.digest},
            "trained_names": list(self.learner.names),
            "generator_names": list(self.generator.names) if self.generator is not None else [],
            "head": digest_of(folder / HEAD),
            "texts": self.learner.texts.as_data(),
            "seed": self.learner.seed,
            "settings": self.tree,
            "figures": self.figures,
            "versions": versions(),
        }
        write_json(folder / CLASSES, [{"name": name, "images": self.images.get(name, 0)} for name in self._names])
        write_text(folder / CARD, card(self))
        write_json(folder / CONFIG, content)  # last: with it the folder is a model
        return folder


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
    elif not (folder / HEAD).is_file():  # else a save was broken off
        for name in (CLASSES, CARD):
            if (folder / name).exists():
                raise UserError(f"{folder} holds a {name} that is no model's: choose another folder")


def write_csv(file: str | Path, predictions: Sequence[Prediction]) -> None:
    """A CSV file with path, prediction, probability and the best classes, an image a row, whole or not at all."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "prediction", "probability", "top"])
    for p in predictions:
        rows.writerow(
            [p.path, p.name, f"{p.probability:.6f}", "; ".join(f"{name} {chance:.4f}" for name, chance in p.top)]
        )
    write_text(Path(file), text.getvalue())


def config_of(folder: Path) -> dict[str, Any]:
    content = read_json(folder / CONFIG, "save the model anew")
    if not isinstance(content, dict):
        raise UserError(f"{folder / CONFIG} holds no object: save the model anew")
    return content
