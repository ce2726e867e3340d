"""What the acceptance table measures on: images of a world, a CLIP's features of them, and CoOp tuned on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .. import method as methods
from ..api import settings_tree
from ..backbones import normalise
from ..backbones.base import Backbone
from ..backbones.prompts import class_prompts
from ..run import Run
from ..settings import Settings
from ..task import Item, LabelSpace, Task
from .images import rendered
from .scene import Style
from .train import normalise_pixels

WORDS = "a photo of a"
PER_CLASS = {"train": 16, "test": 40}


class Bench:
    """Images of a world and their features.

    Args:
        backbone: the CLIP.
        names: classes; the first half are base classes.
        style: of the images.
        seed: of the world.

    Attributes:
        train, test: features of each class's images, (C, n, d).
        facts: of the test images, (C, n, F).
    """

    def __init__(self, backbone: Backbone, names: Sequence[str], style: Style, seed: int):
        self.backbone, self.names, self.n_base = backbone, list(names), len(names) // 2
        train = rendered([(n, seed, i) for n in names for i in range(PER_CLASS["train"])], style)
        test = rendered([(n, seed + 1, i) for n in names for i in range(PER_CLASS["test"])], style)
        self.pixels = train.pixels
        self.train, self.test = (self.encode(part.pixels) for part in (train, test))
        self.facts = torch.from_numpy(test.facts).long().unflatten(0, (len(names), -1))

    @torch.no_grad()
    def encode(self, pixels: np.ndarray) -> Tensor:
        images = normalise_pixels(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
        features = torch.cat([self.backbone.encode_image(some) for some in images.split(512)])
        return features.unflatten(0, (len(self.names), -1))

    @cached_property
    def halves(self) -> tuple[slice, slice]:
        return slice(0, self.n_base), slice(self.n_base, len(self.names))

    @torch.no_grad()
    def text(self, names: Sequence[str], context: Tensor | str = WORDS) -> Tensor:
        """Class features behind a context, (C, d)."""
        ctx = self.backbone.embed_words(context) if isinstance(context, str) else context
        return normalise(self.backbone.text(class_prompts(ctx, self.backbone.class_tokens(names, len(ctx))))[0])

    def accuracies(self, prototypes: Tensor) -> tuple[float, float]:
        """Accuracy in percent of base and new images, each among their own classes."""
        return tuple(accuracy(self.test[half], prototypes[half]) for half in self.halves)  # type: ignore[return-value]

    def train_learner(self, seed: int, n: int, of: Sequence[str], options: Mapping[str, Any]) -> Tensor:
        """Class features, of any classes, of a CoOp tuned on 16 shots of the first n classes: (len(of), d)."""
        tree = settings_tree("CoOp", False, True, options)
        shots = [Image.fromarray(image) for image in self.pixels[: n * PER_CLASS["train"]]]
        items = [Item(image, i // PER_CLASS["train"], "") for i, image in enumerate(shots)]
        names = tuple(self.names[:n])
        task = Task("bench", LabelSpace(names, n), items, shots=PER_CLASS["train"])
        method = methods.build(Settings.of(tree), task, self.backbone, seed)
        methods.train(method, methods.tuning_stage(method), Run())
        with torch.no_grad():
            return method.learner.eval().classifier(of).class_features


def accuracy(images: Tensor, prototypes: Tensor) -> float:
    """Of images (C, n, d), percent."""
    return 100 * ((images @ prototypes.T).argmax(-1) == torch.arange(len(images))[:, None]).float().mean().item()
