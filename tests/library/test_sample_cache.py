"""Synthetic features that runs of one process share."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from shipclip.backbones.base import Backbone
from shipclip.generators import FeatureGenerator
from shipclip.generators.gaussian import Gaussian
from shipclip.rng import stream
from shipclip.sample_cache import SampleCache

LABELS = torch.tensor([0, 1, 2, 1])
NAMES = ["red circle", "blue square", "green star"]


class Counted(Gaussian):
    """Tells how many features it has made."""

    made = 0

    def make(self, labels: Tensor, *drawn: Tensor) -> Tensor:
        type(self).made += len(labels)
        return super().make(labels, *drawn)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> type[Counted]:
    monkeypatch.setattr(Counted, "made", 0)
    return Counted


def generator(of: type[Counted], clip: Backbone, seed: int = 1, **options: Any) -> FeatureGenerator:
    found = of(clip, NAMES, of.Options(**options), seed)
    for buffer in found.buffers():
        buffer.data = torch.rand(buffer.shape, generator=stream(seed, "fitted")).to(buffer.dtype)
    return found.eval().requires_grad_(False)


def test_the_same_samples_are_made_once(clip: Backbone, counted: type[Counted]):
    cache, plain = SampleCache(), generator(counted, clip)
    expected = [plain.sample(LABELS, stream(1, "a")), plain.make(LABELS, *plain.draw(4, stream(1, "b")))]
    assert counted.made == 8
    for made in (16, 16):  # of another run, whose generator has the same weights
        sampler = cache.sampler(generator(counted, clip))
        found = [sampler.sample(LABELS, stream(1, "a")), sampler.make(LABELS, *sampler.draw(4, stream(1, "b")))]
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
        assert counted.made == made
    assert not torch.equal(sampler.sample(LABELS, stream(1, "c")), expected[0])
    assert not torch.equal(sampler.sample(LABELS.flip(0), stream(1, "a")), expected[0])
    assert counted.made == 24
    assert cache.spared_since() > 0 == cache.spared_since()  # what the second one's would have taken


def test_other_weights_seeds_options_and_autocasts_have_samples_of_their_own(clip: Backbone, counted: type[Counted]):
    cache, draws = SampleCache(), stream(1, "a")
    first = cache.sampler(generator(counted, clip)).sample(LABELS, draws)
    others = [generator(counted, clip, seed=2), generator(counted, clip, epochs=3)]
    changed = generator(counted, clip)
    next(changed.buffers()).add_(1.0)
    for number, other in enumerate([*others, changed], start=2):
        found = cache.sampler(other).sample(LABELS, stream(1, "a"))
        assert counted.made == 4 * number
        assert torch.equal(found, other.sample(LABELS, stream(1, "a")))
        counted.made -= 4
    assert not torch.equal(first, found)
    sampler = cache.sampler(generator(counted, clip))
    with torch.autocast("cpu", torch.bfloat16):
        sampler.sample(LABELS, stream(1, "a"))
    assert counted.made == 4 * 5


def test_the_cache_holds_no_more_than_its_limit(clip: Backbone, counted: type[Counted]):
    size = 4 * clip.dim * 4  # bytes of a draw
    cache = SampleCache(limit=2 * size)
    first, second = generator(counted, clip), generator(counted, clip, seed=2)

    def made(of: FeatureGenerator, name: str) -> bool:
        before = counted.made
        cache.sampler(of).sample(LABELS, stream(1, name))
        assert (
            cache.size == sum(one.features.nbytes for kept in cache.kept.values() for one in kept.values()) <= 2 * size
        )
        return counted.made > before

    assert [made(first, name) for name in "abcabc"] == [True, True, True, False, False, True]  # c finds no room
    assert [made(second, name) for name in "aab"] == [True, False, True]  # the first one's make it
    assert [made(second, name) for name in "ab"] == [False, False]
    assert made(first, "a")
    assert SampleCache(limit=size - 1).sampler(first).sample(LABELS, stream(1, "a")).shape == (4, clip.dim)
