"""The seam between features and learner: what is tuned sees features, labels and class names only.

A learner is tuned on real features by a trainer of its own (`python train.py --trainer CLIPAdapter`) and on real and
synthetic ones as SHIP's second stage (`TRAINER.SHIP.LEARNER CLIPAdapter`). Each is a file in trainers/learners.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from dassl.utils import Registry
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from .clip import FrozenCLIP, normalise
from .features import FeatureBank
from .prompts import ClassTokens

LEARNERS = Registry("LEARNER")  # TRAINER.SHIP.LEARNER; each also names a trainer

Classifier = Callable[[Tensor], Tensor]  # features (B, d) -> logits (B, C)


@dataclass(frozen=True)
class CosineClassifier:
    """Logits as scaled cosine similarities with class features.

    Attributes:
        class_features: L2-normalised, (C, d).
        scale: of the similarities.
    """

    class_features: Tensor
    scale: float

    def __call__(self, features: Tensor) -> Tensor:
        return self.scale * features.to(self.class_features.dtype) @ self.class_features.T  # (B, C)


class Learner(nn.Module):
    """Base class; a subclass names its config keys and overrides `classifier`, perhaps also `prepare` and `loss`.

    Args:
        clip: the frozen CLIP.
        names: class names by label, as training shows them.
        options: the learner's config node.
        seed: of its random choices.
        template: the data set's hand-written prompt, "a photo of a {}.".

    Attributes:
        node: name of its config node under TRAINER.
        defaults: the node's keys. Everyone has PREC, the precision, and who is trained LOGIT_SCALE, of cosine
            similarities in its own training (0: CLIP's; a lower one asks for less and keeps nearer to zero-shot CLIP).
        training_free: whether `prepare` is all the training there is.
    """

    node = ""
    defaults: dict[str, Any] = {}
    training_free = False

    def __init__(self, clip: FrozenCLIP, names: Sequence[str], options: CN, seed: int, template: str):
        nn.Module.__init__(self)  # a subclass may be a PromptLearner too, which starts its context by itself
        self.clip, self.options, self.seed, self.template = clip, options, seed, template
        self.names = tuple(names)
        self._text_features: dict[tuple[str, ...], Tensor] = {}
        self._tokens: dict[tuple[str, ...], ClassTokens] = {}

    @classmethod
    def extend_cfg(cls, cfg: CN) -> None:
        """Add the learner's node to a Dassl default tree, in place."""
        shared = {"PREC": "fp16"} if cls.training_free else {"PREC": "fp16", "LOGIT_SCALE": 0.0}
        cfg.TRAINER[cls.node] = CN({**shared, **cls.defaults})

    def prepare(self, bank: FeatureBank) -> None:
        """Take what is needed from all training features, once, before the first epoch."""

    def classifier(self, names: Sequence[str], scale: float | None = None) -> Classifier:
        """A function from features to logits over classes, trained ones or not.

        Args:
            names: the classes.
            scale: of cosine similarities; CLIP's own if not given.
        """
        raise NotImplementedError

    def loss(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """One step's scalars for the log; "loss" is the one that is minimised."""
        classify = self.classifier(self.names, self.options.get("LOGIT_SCALE", 0.0) or None)
        return cross_entropy_and_accuracy(classify(features), labels)

    def check_classes(self, names: Sequence[str]) -> None:
        """Refuse, with a ValueError, classes that this learner will not be able to classify."""

    def make_room(self, state: dict[str, Any]) -> None:
        """Get ready for a checkpoint's tensors, whose shapes may follow from the classes of its training."""

    # -- what classifiers are made of -------------------------------------------------------------------

    def scale(self, scale: float | None) -> float:
        return self.clip.logit_scale if scale is None else scale

    def text_features(self, names: Sequence[str]) -> Tensor:
        """Zero-shot CLIP's class features, of the data set's hand-written prompt: (C, d), made once."""
        key = tuple(names)
        if key not in self._text_features:
            self._text_features[key] = hand_written(self.clip, key, self.template)
        return self._text_features[key]

    def tokens(self, names: Sequence[str], n_ctx: int) -> ClassTokens:
        """Class names as token embeddings, made once."""
        key = tuple(names)
        if key not in self._tokens:
            self._tokens[key] = ClassTokens.of(self.clip, list(key), n_ctx)
        return self._tokens[key]


class ClassLearner(Learner):
    """A learner that keeps something for each trained class, and so the classes' names in its checkpoints."""

    def get_extra_state(self) -> dict[str, list[str]]:
        return {"names": list(self.names)}

    def set_extra_state(self, state: dict[str, list[str]]) -> None:
        self.names = tuple(state["names"])

    def make_room(self, state: dict[str, Any]) -> None:
        for name, tensor in [*self.named_parameters(recurse=False), *self.named_buffers(recurse=False)]:
            if name in state and state[name].shape != tensor.shape:
                tensor.data = torch.empty(state[name].shape, dtype=tensor.dtype, device=tensor.device)

    def places(self, names: Sequence[str]) -> Tensor:
        """Each class's label in training, -1 for a class that it did not show: (C,).

        Of several classes of one name (ImageNet has two missiles) the first is the first there, and so on.
        """
        label = {key: i for i, key in enumerate(numbered(self.names))}
        return torch.tensor([label.get(key, -1) for key in numbered(names)], device=self.clip.device)


def numbered(names: Sequence[str]) -> list[tuple[str, int]]:
    """Each name with how often it came before."""
    count: Counter[str] = Counter()
    out = []
    for name in names:
        out.append((name, count[name]))
        count[name] += 1
    return out


def hand_written(clip: FrozenCLIP, names: Sequence[str], template: str) -> Tensor:
    """L2-normalised features of a template filled with class names, float32, also within autocast: (C, d)."""
    with torch.autocast(clip.device.type, enabled=False):
        return normalise(clip.encode_texts([template.format(name.replace("_", " ")) for name in names]))


def cross_entropy_and_accuracy(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Scalars of a classification step: loss, and accuracy in percent."""
    hits = (logits.detach().argmax(dim=1) == labels).float().mean() * 100
    return {"loss": F.cross_entropy(logits.float(), labels), "acc": hits}
