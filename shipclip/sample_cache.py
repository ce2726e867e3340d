"""Synthetic features that the runs of one process have made, for others that ask the same generator for the very same.

Runs that differ in stage 2 alone (a learner, its loss) draw the same labels and latents in the same epochs, and to make
features of them takes most of an adapter's time.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .generators import FeatureGenerator
from .stage1 import digest, key_of_trained
from .synthesis import Sampler

LIMIT = 2**28  # bytes


class SampleCache:
    """Features by generator, and by what was drawn; both to the bit.

    Args:
        limit: how many bytes it may hold.

    Attributes:
        spared: seconds that it took to make what was found here since somebody last asked.
    """

    def __init__(self, limit: int = LIMIT):
        self.limit, self.size, self.spared = limit, 0, 0.0
        self.kept: OrderedDict[str, dict[str, Made]] = OrderedDict()  # the generator that was used last at the end
        self.last: _Cached | None = None

    def sampler(self, generator: FeatureGenerator) -> Sampler:
        """A generator, trained and left as it is, that makes nothing twice."""
        if not (self.last and self.last.generator is generator):
            self.last, self.spared = _Cached(self, key_of_trained(generator), generator), 0.0
        return self.last

    def of(self, key: str) -> dict[str, Made]:
        """What there is of a generator, which is the one used last now."""
        found = self.kept.setdefault(key, {})
        self.kept.move_to_end(key)
        return found

    def keep(self, key: str, drawn: str, made: Made) -> None:
        """Keep features, if there is room: other generators' make some. Those of the same one stay, for the next run
        asks for them in the same order, and for the first ones first."""
        kept, size = self.of(key), made.features.nbytes
        if sum(other.features.nbytes for other in kept.values()) + size > self.limit:
            return
        while self.size + size > self.limit:
            _, others = self.kept.popitem(last=False)
            self.size -= sum(other.features.nbytes for other in others.values())
        kept[drawn] = made
        self.size += size

    def spared_since(self) -> float:
        """`spared`, which begins anew: time that belongs to a run which would have made all by itself."""
        spared, self.spared = self.spared, 0.0
        return spared


class Made(NamedTuple):
    """Features (B, d), and the seconds that it took to make them."""

    features: Tensor
    seconds: float


@dataclass(frozen=True)
class _Cached:
    cache: SampleCache
    key: str
    generator: FeatureGenerator

    def sample(self, labels: Tensor, rng: torch.Generator) -> Tensor:
        return self.make(labels, *self.draw(len(labels), rng))

    def draw(self, count: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        return self.generator.draw(count, rng)

    def make(self, labels: Tensor, *drawn: Tensor) -> Tensor:
        autocast = torch.is_autocast_enabled(self.generator.backbone.device.type)
        name = digest([autocast, *([*one.shape] for one in drawn)], [labels, *drawn])
        found = self.cache.of(self.key).get(name)
        if found:
            self.cache.spared += found.seconds
            return found.features
        began = time.time()
        features = self.generator.make(labels, *drawn).detach()
        self.cache.keep(self.key, name, Made(features, time.time() - began))
        return features
