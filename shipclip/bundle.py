"""A model that one can open: a classifier with its names and its confidence."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import saving, vocabulary
from .backbones.base import Backbone
from .confidence import PLAIN, Calibration
from .errors import UserError
from .features.images import MEND, BadImage, images_below
from .features.pixels import Views, read_views
from .features.transforms import InputOptions, plain_transform
from .files import write_text
from .frozen import Frozen, Said
from .gallery import Gallery
from .generators import FeatureGenerator
from .learners import Learner
from .learners.base import Classifier as Classify
from .options import read
from .task import Item
from .unknown import UNKNOWN, Rejection


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of an image.

    Attributes:
        name: the most probable class; "unknown" where the model says that it is none of them.
        probability: of the most probable class, 0 ... 1.
        top: the most probable classes with their probabilities, best first.
        path: the image's file, where it is one.
        unknown: whether the model says that it is none of the classes.
    """

    name: str
    probability: float
    top: list[tuple[str, float]]
    path: str = ""
    unknown: bool = False


class Classifier:
    """A tuned learner with the names of its classes.

    Args:
        backbone: the frozen CLIP.
        learner: tuned.
        names: of all classes.
        images: class name to the number of its training images.
        tree: the settings that it was made with, as plain data.
        generator: SHIP's, where there is one.
        figures: of its test, and of held-out images.
        calibration: how logits become probabilities.
        rejection: when an image is called unknown; None: never.
        gallery: the training images by their features.
        chosen: what was chosen on held-out images, and why, as plain data.
        records: "held out" or "test" -> class -> how many images were right, of how many.
        hidden: classes that were taken out, but are still there to be taken in again.
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
        *,
        calibration: Calibration = PLAIN,
        rejection: Rejection | None = None,
        gallery: Gallery | None = None,
        chosen: Mapping[str, Any] | None = None,
        records: Mapping[str, Mapping[str, Sequence[int]]] | None = None,
        hidden: Sequence[str] = (),
    ):
        self.backbone, self.learner, self.generator = backbone, learner, generator
        self.images, self.tree, self.figures = dict(images), dict(tree), dict(figures or {})
        self.calibration, self.rejection, self.gallery = calibration, rejection, gallery
        self.chosen, self.hidden = dict(chosen or {}), tuple(hidden)
        self.records = {kind: {n: tuple(c) for n, c in of.items()} for kind, of in (records or {}).items()}
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
        """Preprocessed images (B, 3, R, R) to logits (B, C), float32, as the learner has them, not calibrated;
        `classify` is from `classifier()`."""
        classify = classify or self.classifier()
        x = images if self.learner.sees == "images" else self.backbone.encode_image(images)
        return classify(x.to(self.backbone.device)).float()

    def frozen(self) -> Frozen:
        """Preprocessed images to probabilities, unknown ones and features, as the classes are now."""
        return Frozen(self)

    def predict(
        self, images: Any, top: int = 5, batch_size: int = 64, workers: int = 0, skip_bad: bool = False
    ) -> list[Prediction]:
        """Classify images.

        Args:
            images: a path or several (folders give all images below them), PIL images, or a tensor (B, 3, R, R) that is
                preprocessed already.
            top: how many classes to name.
            batch_size: images at once.
            workers: processes that read images.
            skip_bad: leave out images that cannot be read, with a note, rather than stop.

        Raises:
            UserError: no image, or one that cannot be read, by name.
        """
        return list(self.stream(images, top, batch_size, workers, skip_bad))

    def stream(
        self, images: Any, top: int = 5, batch_size: int = 64, workers: int = 0, skip_bad: bool = False
    ) -> Iterator[Prediction]:
        """The same, one after the other."""
        for path, said in self.said(images, batch_size, workers, skip_bad):
            yield self.prediction(said, path, top)

    def prediction(self, said: Said, path: str = "", top: int = 5) -> Prediction:
        """What is said of one image, in words."""
        if top < 1:
            raise UserError(f"top is {top}: give at least 1")
        best = said.probabilities.topk(min(top, len(self._names)))
        named = [(self._names[i], p) for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)]
        unknown = bool(said.unknown)
        return Prediction(UNKNOWN if unknown else named[0][0], named[0][1], named, path, unknown)

    @torch.no_grad()
    def said(
        self, images: Any, batch_size: int = 64, workers: int = 0, skip_bad: bool = False
    ) -> Iterator[tuple[str, Said]]:
        """Path (empty where there is none) and what is said of each image, (C,), () and (d,)."""
        judge = self.frozen()
        for paths, batch in self.batches(images, batch_size, workers, skip_bad):
            for path, *of_one in zip(paths, *judge(batch), strict=True):
                yield path, Said(*of_one)

    def batches(
        self, images: Any, batch_size: int = 64, workers: int = 0, skip_bad: bool = False
    ) -> Iterator[tuple[list[str], Tensor]]:
        """Images as the image tower takes them, (B, 3, R, R), with their paths."""
        if isinstance(images, Tensor):
            R = self.backbone.resolution
            if images.dim() != 4 or images.shape[1:] != (3, R, R):
                raise UserError(f"the tensor of images is {tuple(images.shape)}: give (B, 3, {R}, {R})")
            for batch in images.split(batch_size):
                yield [""] * len(batch), batch
            return
        items = [Item(image, 0) for image in images_below(images)]
        views = Views(items, plain_transform(self.input, self.backbone.preprocessing), upright=True)
        bad: set[int] = set()

        def leave_out(place: int, sentence: str) -> None:
            bad.add(place)
            print(f"Left out: {sentence.partition(MEND)[0]}", file=sys.stderr)

        done = 0
        try:
            for batch in read_views(views, batch_size, workers, skip=leave_out if skip_bad else None):
                places = [i for i in range(done, min(done + batch_size, len(items))) if i not in bad]
                done += batch_size
                sources = [items[i].impath for i in places]
                if len(batch):
                    yield [source if isinstance(source, str) else "" for source in sources], batch[:, 0]
        except BadImage as error:
            mend = ": replace it, or leave out what cannot be read (--skip-bad, skip_bad=True)"
            raise BadImage(f"{str(error).partition(MEND)[0]}{mend}") from error

    # -- classes ----------------------------------------------------------------------------------------

    def add_classes(self, names: Sequence[str]) -> None:
        """Classify these as well, from now on, by their names; see `vocabulary.add`."""
        vocabulary.add(self, [names] if isinstance(names, str) else list(names))

    def remove_classes(self, names: Sequence[str]) -> None:
        """Classify these no more; added again, they are what they were."""
        vocabulary.remove(self, [names] if isinstance(names, str) else list(names))

    def rename_class(self, old: str, new: str) -> None:
        """Call a class otherwise; see `vocabulary.rename`."""
        vocabulary.rename(self, old, new)

    def set_texts(self, texts: Mapping[str, Sequence[str]]) -> list[str]:
        """Describe classes by sentences of their own; see `vocabulary.set_texts`."""
        return vocabulary.set_texts(self, texts)

    # -- on disk ----------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Write the model, each file whole or not at all; what else lies in the folder is left alone."""
        return saving.save(self, Path(folder))


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
