"""What a learner says of held-out images: in each round it is tuned as in the fit, on images that are encoded once."""

from __future__ import annotations

from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from io import StringIO
from statistics import median
from typing import Any

import torch
from torch import Tensor

from . import method as methods
from .confidence import distance_scores
from .features.bank import FeatureBank
from .features.source import FeatureOptions, FeatureSource
from .gallery import nearest_similarity
from .generators import FeatureGenerator
from .heldout import Round
from .loop import Epoch, Stage
from .method import Method
from .run import Run
from .settings import Settings
from .tuning import batches_of

LOOKS = 10  # how often a trial with a choice of epochs is looked at


@dataclass(frozen=True)
class HeldOut:
    """What a learner says of M held-out images, pooled over the rounds.

    Attributes:
        logits: among all C classes, (M, C).
        labels: (M,).
        by_name: which classes had a name alone in the image's round, (M, C).
        away: those of them that were taken away, so whose images are here, (M, C).
        scores: `distance_scores` of the classes in the image's round, (M, C).
        features: of the images, by the frozen image tower, (M, d).
        near: cosine similarity of each to the nearest training image of its round, (M,).
    """

    logits: Tensor
    labels: Tensor
    by_name: Tensor
    away: Tensor
    scores: Tensor
    features: Tensor
    near: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def named(self) -> bool:
        """Whether there are classes by name, but for those that play one."""
        return bool((self.by_name & ~self.away).any())

    @property
    def shown(self) -> Tensor:
        """Images of classes that the learner was shown, (M,)."""
        return ~self.away[torch.arange(len(self)), self.labels]

    def among(self, out: Tensor) -> HeldOut:
        """The same without some classes, (M, C): their logits are -inf."""
        return replace(self, logits=self.logits.masked_fill(out, float("-inf")))

    @staticmethod
    def pooled(parts: list[HeldOut]) -> HeldOut:
        return HeldOut(*(torch.cat([getattr(part, name) for part in parts]) for name in HeldOut.__dataclass_fields__))


@dataclass(frozen=True)
class Trial:
    """A learner's rounds.

    Attributes:
        held: after the last epoch.
        epochs: the same after some of the epochs, by number; the last is among them. Empty where there are none.
        options: of the learner's, chosen on validation images, the median over rounds.
    """

    held: HeldOut
    epochs: dict[int, HeldOut] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


class Part(FeatureSource):
    """A round's images, out of those that the whole task's source has encoded."""

    def __init__(self, whole: FeatureSource, part: Round):
        super().__init__(whole.backbone, part.task, whole.input, whole.features, whole.seed, whole.workers)
        self.whole, self.part, self.repeats = whole, part, whole.repeats

    def training_bank(self, epoch: int) -> FeatureBank:
        features = self.whole.training_bank(epoch).features[:, self.part.rows]
        return FeatureBank(features, self._labels("train"))

    def bank(self, split: str) -> FeatureBank:
        rows = {"val": self.part.shown, "test": self.part.held}[split]
        return FeatureBank(plain_features(self.whole)[None, rows], self._labels(split))

    def _labels(self, split: str) -> Tensor:
        return torch.tensor([item.label for item in self.task.part(split)]).to(self.backbone.device)


def encoded(source: FeatureSource) -> FeatureSource:
    """The source that rounds take features from; where each epoch has views of its own (FEATURES.VIEWS 0), one that has
    some for all."""
    if source.features.views:
        return source
    options = replace(source.features, views=FeatureOptions.views)
    return FeatureSource(source.backbone, source.task, source.input, options, source.seed, source.workers)


def plain_features(source: FeatureSource) -> Tensor:
    """A task's training images, then its validation images, under plain preprocessing: (N, d)."""
    splits = ["train", "val"] if source.task.val else ["train"]
    return torch.cat([source.bank(split).of_view(0) for split in splits])


def trial_of(
    settings: Settings,
    source: FeatureSource,
    rounds: list[Round],
    seed: int,
    generators: list[FeatureGenerator | None] | None = None,
    look: bool = False,
) -> Trial:
    """Tune a learner in each of the rounds, and ask it for the held-out images.

    Args:
        settings: of the learner.
        source: the whole task's images (`encoded`).
        rounds: of the task.
        seed: of the fit that this prepares.
        generators: SHIP's, one a round, shared by learners; made where it is None, and left there.
        look: whether to look at the learner on the way as well.
    """
    ends, looks, options = [], {}, []
    for i, part in enumerate(rounds):
        with redirect_stdout(StringIO()):  # the fit itself will tell
            longer = updates_ratio(settings, len(source.task.train), len(part.task.train))
            own = as_long(settings if part.task.val else _by_last_step(settings), longer)
            method = methods.build(own, part.task, source.backbone, seed)
            if settings.learner.sees == "features":
                method.source = Part(source, part)
            method.learner.to(source.backbone.device)
            watch = _Watch(method, part, source, longer) if look else Run()
            _tune(method, watch, generators, i)
        ends.append(said(method, part, source))
        for epoch, held in getattr(watch, "seen", {}).items():
            looks.setdefault(epoch, []).append(held)
        options.append(method.learner.chosen())
    whole = HeldOut.pooled(ends)
    epochs = {epoch: HeldOut.pooled(parts) for epoch, parts in looks.items()}
    return Trial(whole, epochs, {key: median(each[key] for each in options) for key in options[0]})


def updates_ratio(settings: Settings, images: int, fewer: int) -> float:
    """How many times as many epochs give fewer images as many updates."""
    batches = batches_of(settings)
    return max(1.0, batches.count(images) / max(1, batches.count(fewer)))


def as_long(settings: Settings, longer: float) -> Settings:
    """The settings with so many times the epochs: with fewer updates a learner would be less sure than the fit that is
    prepared will be."""
    return replace(settings, optim=replace(settings.optim, max_epoch=round(settings.optim.max_epoch * longer)))


def _by_last_step(settings: Settings) -> Settings:
    """The settings without a choice by validation images, of which a round may have none."""
    return replace(settings, test=replace(settings.test, final_model="last_step", split="test"))


def _tune(method: Method, run: Run, generators: list[FeatureGenerator | None] | None, number: int) -> None:
    if method.ship:
        if generators is None or generators[number] is None:
            methods.fit_generator(method, run)
        else:
            method.generator = generators[number]
        if generators is not None:
            generators[number] = method.generator
    methods.check(method)
    methods.tune(method, methods.tuning_stage(method), run)


class _Watch(Run):
    """Looks at a learner after some of its epochs, which stand for as many updates in the fit that is prepared."""

    def __init__(self, method: Method, part: Round, source: FeatureSource, longer: float):
        super().__init__()
        self.method, self.part, self.source, self.longer = method, part, source, longer
        self.seen: dict[int, HeldOut] = {}

    def tell(self, stage: Stage, epoch: Epoch) -> None:
        epochs = max(1, round(stage.epochs / self.longer))
        looks = min(LOOKS, epochs)
        for look in range(1, looks + 1):
            if epoch.number == round(stage.epochs * look / looks):
                self.seen[round(epochs * look / looks)] = said(self.method, self.part, self.source)


@torch.no_grad()
def said(method: Method, part: Round, source: FeatureSource) -> HeldOut:
    """What a learner says of a round's held-out images, among the classes in the whole task's order."""
    logits, labels = methods.logits(method)
    M, C = logits.shape
    back = torch.empty(C, dtype=torch.long)
    back[part.columns] = torch.arange(C)
    names, n_shown = part.task.labels.names, part.task.labels.n_trained
    by_name = (part.columns >= n_shown).expand(M, C)
    away = torch.zeros(C, dtype=torch.bool)
    away[part.away] = True
    scores = distance_scores(method.learner, names, torch.arange(C) < n_shown)[part.columns]
    features = plain_features(source).cpu()
    near = nearest_similarity(features[part.held], features[part.rows])
    return HeldOut(
        logits=logits[:, part.columns],
        labels=back[labels],
        by_name=by_name,
        away=away.expand(M, C),
        scores=scores.expand(M, C),
        features=features[part.held],
        near=near,
    )
