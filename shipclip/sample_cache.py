"""Synthetic features that the runs of one process have made, for others that ask the same generator for the very same.

Runs that differ in stage 2 alone (a learner, its loss) draw the same labels and latents in the same epochs, and to make
features of them takes most of an adapter's time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor

from .generators import FeatureGenerator
from .stage1 import digest, facts
from .synthesis import Sampler

LIMIT = 2**28  # bytes


class SampleCache:
    """Features by generator, and by what was drawn; both to the bit.

    Args:
        limit: how many bytes it may hold.
    """

    def __init__(self, limit: int = LIMIT):
        self.limit, self.size = limit, 0
        self.kept: OrderedDict[str, dict[str, Tensor]] = OrderedDict()  # the generator that was used last at the end
        self.last: _Cached | None = None

    def sampler(self, generator: FeatureGenerator) -> Sampler:
        """A generator, trained and left as it is, that makes nothing twice."""
        if self.last and self.last.generator is generator:
            return self.last
        made_of = [type(generator).__name__, generator.backbone.precision.name, *facts(generator)]
        key = digest(made_of, generator.state_dict().values())
        self.kept.setdefault(key, {})
        self.kept.move_to_end(key)
        self.last = _Cached(self, key, generator)
        return self.last

    def keep(self, key: str, drawn: str, features: Tensor) -> None:
        """Keep features, if there is room: other generators' make some. Those of the same one stay, for the next run
        asks for them in the same order, and for the first ones first."""
        size = features.nbytes
        while self.size + size > self.limit and next(iter(self.kept)) != key:
            _, others = self.kept.popitem(last=False)
            self.size -= sum(other.nbytes for other in others.values())
        if self.size + size <= self.limit:
            self.kept[key][drawn] = features
            self.size += size


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
        found = self.cache.kept[self.key].get(name)
        if found is None:
            found = self.generator.make(labels, *drawn).detach()
            self.cache.keep(self.key, name, found)
        return found
