"""The seam between what is seen and the learner: what is tuned sees features (or images), labels and class names only.

A learner is tuned on real features as a method of its own (`--trainer CLIPAdapter`) and, if it sees features, on real
and synthetic ones as SHIP's second stage (`TRAINER.SHIP.LEARNER CLIPAdapter`). Each is a file in this folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backbones.base import Backbone
from ..backbones.prompts import ClassTokens
from ..checkpoints import is_longer
from ..errors import UserError
from ..features.bank import FeatureBank
from ..names import numbered
from ..options import checked, option
from ..precision import NAMES, product
from ..registry import Registry
from ..texts import Texts

Classifier = Callable[[Tensor], Tensor]  # features (B, d), or images (B, 3, R, R) -> logits (B, C)


@dataclass(frozen=True)
class TrainingFreeOptions:
    """What every learner has."""

    prec: str = option("fp16", choices=NAMES)  # fp16, fp32, amp, bf16


@dataclass(frozen=True)
class LearnerOptions(TrainingFreeOptions):
    """What every learner has that is trained."""

    # Factor of cosine similarities in its own training (0: CLIP's); a lower one asks for less and keeps nearer to
    # zero-shot CLIP.
    logit_scale: float = option(0.0, least=0)


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
        return product(self.scale * features.to(self.class_features.dtype), self.class_features.T)  # (B, C)


class Learner(nn.Module):
    """Base class; a subclass names its options and overrides `classifier`, perhaps also `prepare` and `loss`.

    Args:
        backbone: the frozen CLIP.
        names: class names by label, as training shows them.
        options: an instance of `Options`.
        seed: of its random choices.
        texts: the hand-written texts of each class.

    Attributes:
        Options: dataclass of its options; their keys stand under TRAINER.<NAME>, the class's name in capitals.
        sees: "features", or "images" for a learner that tunes the image tower as well.
        wants_validation: whether `prepare` is to be given the validation images' features.
        unfrozen: why its classifier cannot do without the text tower, if that is so; such a one is not exported.
        has_class_features: whether its classifiers have `class_features` (C, d) that are learned.
        each_class_alone: whether a class's logit does not hang on which other classes there are, so that logits over
            base and new classes hold those over the base classes.
    """

    Options: ClassVar[type] = LearnerOptions
    sees: ClassVar[str] = "features"
    wants_validation: ClassVar[bool] = False
    unfrozen: ClassVar[str] = ""
    has_class_features: ClassVar[bool] = False
    each_class_alone: ClassVar[bool] = False

    def __init__(self, backbone: Backbone, names: Sequence[str], options: Any, seed: int, texts: Texts):
        super().__init__()
        self.options = checked(options, f"TRAINER.{self.node()}.")
        self.backbone, self.seed, self.texts = backbone, seed, texts
        self.names = tuple(names)
        self._text_features: dict[tuple[str, ...], Tensor] = {}
        self._tokens: dict[tuple[str, ...], ClassTokens] = {}

    @classmethod
    def node(cls) -> str:
        """Name of its options' node under TRAINER."""
        return cls.__name__.upper()

    @classmethod
    def ignored(cls, options: Any) -> set[str]:
        """Keys that these options leave without a say: of its own node, or in full ("OPTIM.MAX_EPOCH")."""
        return set()

    @property
    def training_free(self) -> bool:
        """Whether `prepare` is all the training there is."""
        return not any(p.requires_grad for p in self.parameters())

    def prepare(self, bank: FeatureBank, validation: FeatureBank | None) -> None:
        """Take what is needed from all training features, once, before the first epoch."""

    def classifier(self, names: Sequence[str], scale: float | None = None) -> Classifier:
        """A function from features (or images) to logits over classes, trained ones or not.

        Args:
            names: the classes.
            scale: of cosine similarities; CLIP's own if not given.
        """
        raise NotImplementedError

    def loss(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """One step's scalars for the log; "loss" is the one that is minimised."""
        classify = self.classifier(self.names, getattr(self.options, "logit_scale", 0.0) or None)
        return cross_entropy_and_accuracy(classify(x), labels)

    def schedule(self, optimizer: torch.optim.Optimizer, shots: int) -> tuple[Any, int] | None:
        """Of a learner whose length is counted in updates: its schedule, and how many updates; else OPTIM says."""
        return None

    def begin_epoch(self, epoch: int) -> None:
        """Called before each epoch of training."""

    def chosen(self) -> dict[str, Any]:
        """Options that validation images have chosen, by field, for a fit that has no such images."""
        return {}

    def check_classes(self, names: Sequence[str]) -> None:
        """Refuse, with a UserError, classes that this learner will not be able to classify."""

    def trained_on(self, names: Sequence[str] | None) -> None:
        """Take the classes of a checkpoint's training; None: it does not tell them."""

    def make_room(self, state: dict[str, Any]) -> None:
        """Get ready for a checkpoint's tensors, whose shapes may follow from the classes of its training."""

    def add_classes(self, names: Sequence[str], features: Tensor) -> None:
        """Take in classes after training: S synthesized features of each, (C, S, d). A learner that keeps nothing of
        each class makes its class features from names, and has nothing to do."""

    def describe(self, texts: Texts) -> None:
        """Take other texts of the classes; what was learned stays."""
        self.texts = texts
        self._text_features.clear()

    # -- what classifiers are made of -------------------------------------------------------------------

    def scale(self, scale: float | None) -> float:
        return self.backbone.logit_scale if scale is None else scale

    def text_features(self, names: Sequence[str]) -> Tensor:
        """Zero-shot CLIP's class features, of the hand-written texts: (C, d), made once."""
        key = tuple(names)
        if key not in self._text_features:
            self._text_features[key] = self.texts.features(self.backbone, key)
        return self._text_features[key]

    def tokens(self, names: Sequence[str], n_ctx: int) -> ClassTokens:
        """Class names as token embeddings, made once."""
        key = tuple(names)
        if key not in self._tokens:
            self._tokens[key] = self.backbone.class_tokens(key, n_ctx)
        return self._tokens[key]


LEARNERS: Registry[type[Learner]] = Registry("learner")


class ClassLearner(Learner):
    """A learner that keeps something for each trained class, and so the classes' names in its checkpoints.

    Attributes:
        of_each_class: names of tensors with a row for each of them.
    """

    of_each_class: ClassVar[tuple[str, ...]] = ()

    def get_extra_state(self) -> dict[str, list[str]]:
        return {"names": list(self.names)}

    def set_extra_state(self, state: dict[str, list[str]]) -> None:
        self.names = tuple(state["names"])

    def make_room(self, state: dict[str, Any]) -> None:
        for name, tensor in [*self.named_parameters(recurse=False), *self.named_buffers(recurse=False)]:
            if name in state and is_longer(state[name], tensor):
                tensor.data = torch.empty(state[name].shape, dtype=tensor.dtype, device=tensor.device)

    def check_state(self, state: dict[str, Any], file: Any) -> None:
        """Refuse a checkpoint whose tensors are not of as many classes as it names.

        Raises:
            UserError: naming the file and the tensor.
        """
        names = state.get("_extra_state", {"names": self.names})["names"]
        for name in self.of_each_class:
            if len(state[name]) != len(names):
                raise UserError(
                    f"{file} is damaged: {name} is of {len(state[name])} classes, and it names {len(names)}"
                )

    def places(self, names: Sequence[str]) -> Tensor:
        """Each class's label in training, -1 for a class that it did not show: (C,).

        Of several classes of one name (ImageNet has two missiles) the first is the first there, and so on.
        """
        label = {key: i for i, key in enumerate(numbered(self.names))}
        return torch.tensor([label.get(key, -1) for key in numbered(names)], device=self.backbone.device)


def cross_entropy_and_accuracy(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Scalars of a classification step: loss, and accuracy in percent."""
    hits = (logits.detach().argmax(dim=1) == labels).float().mean() * 100
    return {"loss": F.cross_entropy(logits.float(), labels), "acc": hits}
