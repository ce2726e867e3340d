"""A method put together: a learner, its task and backbone, and (of SHIP) a generator to come."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from .backbones.base import Backbone
from .features.source import FeatureSource, PixelSource
from .generators import FeatureGenerator
from .learners import Learner
from .learners.base import Classifier
from .names import read_names, refuse_same_tokens
from .sample_cache import SampleCache
from .settings import ENSEMBLE, Settings
from .synthesis import Sampler, ShipOptions
from .task import Task
from .texts import IMAGENET_TEMPLATES, Texts


@dataclass
class Method:
    """A learner and what it is tuned on; with `ship` also a generator, once stage 1 is done, and perhaps a cache for
    what it makes in stage 2."""

    settings: Settings
    task: Task
    backbone: Backbone
    source: FeatureSource | PixelSource
    learner: Learner
    seed: int
    generator: FeatureGenerator | None = None
    samples: SampleCache | None = None

    @property
    def ship(self) -> ShipOptions | None:
        return self.settings.ship

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes of training, those with images first: its labels index them."""
        if not self.ship:
            return self.task.labels.trained or self.task.labels.names
        return self.task.labels.known if self.ship.real else self.task.labels.names

    @property
    def n_base(self) -> int:
        """How many of them have images to train on."""
        return self.task.labels.n_trained if not self.ship or self.ship.real else 0

    @property
    def sampler(self) -> Sampler:
        """The trained generator as stage 2 asks it."""
        return self.samples.sampler(self.generator) if self.samples else self.generator

    def classifier(self) -> Classifier:
        """Features or images to logits over the task's classes."""
        return self.learner.classifier(self.task.labels.names)


def build(settings: Settings, task: Task, backbone: Backbone, seed: int, repeats: bool = True) -> Method:
    """Everything in place for training, nothing trained.

    Args:
        seed: of everything random (SEED, or where that leaves it open, a new one).
        repeats: whether another run may have the same seed, and so share what this one makes.
    """
    ship = settings.ship
    if settings.method == ENSEMBLE:
        own = () if task.dataset == "ImageNet" else task.texts.templates
        task = replace(task, texts=Texts(tuple(dict.fromkeys((*IMAGENET_TEMPLATES, *own))), task.texts.of_class))
    own = set(task.labels.known) if task.distinct else set()
    if ship and ship.new_classnames:
        new = new_names(ship)
        task = replace(task, labels=task.labels.with_names(new))
        own |= set(new)
    refuse_same_tokens(backbone.tokenizer.encode, task.labels.known if own else (), own, backbone.name)
    if ship and not ship.real:
        task = replace(task, labels=replace(task.labels, n_trained=0, n_base=0, further=()))
    source = (FeatureSource if settings.learner.sees == "features" else PixelSource)(
        backbone, task, settings.input, settings.features, seed, settings.workers
    )
    source.repeats = repeats
    method = Method(settings, task, backbone, source, None, seed)  # type: ignore[arg-type]
    method.learner = settings.learner(backbone, method.names, settings.options, seed, task.texts)
    return method


def new_names(ship: ShipOptions) -> dict[str, str]:
    """Names of further classes without images, of TRAINER.SHIP.NEW_CLASSNAMES, and where they stand."""
    return read_names(Path(ship.new_classnames).expanduser(), "check TRAINER.SHIP.NEW_CLASSNAMES")
