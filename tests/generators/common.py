"""What the tests of generators share: class names, features around two of them, and a small generator."""

from __future__ import annotations

from typing import Any

import torch

from shipclip import loop, stage1
from shipclip.backbones.base import Backbone, normalise
from shipclip.features.bank import FeatureBank
from shipclip.generators import GENERATORS, FeatureGenerator

NAMES = ["cat", "dog", "sea or lake", "very long-tailed tit"]
SMALL = {"encoder_hidden": 32, "hidden": 32, "critic_hidden": 16, "epochs": 5, "batch_size": 8}


def made(clip: Backbone, name: str, seed: int = 0, **changed: Any) -> Any:
    """A small generator with these options."""
    cls = GENERATORS.get(name)
    own = {key: value for key, value in SMALL.items() if key in cls.Options.__dataclass_fields__}
    return cls(clip, NAMES, cls.Options(**{**own, **changed}), seed)


def bank(clip: Backbone) -> FeatureBank:
    rng = torch.Generator().manual_seed(0)
    centres = torch.randn(2, clip.dim, generator=rng)
    labels = torch.arange(2).repeat_interleave(10)
    return FeatureBank(normalise(centres[labels] + 0.1 * torch.randn(20, clip.dim, generator=rng))[None], labels)


class Fixed:
    """A source that has one bank for all epochs."""

    def __init__(self, data: FeatureBank):
        self.data = data

    def training_bank(self, epoch: int) -> FeatureBank:
        return self.data


def fit(generator: FeatureGenerator, data: FeatureBank) -> list[dict[str, float]]:
    """Train as stage 1 does; returns each epoch's losses."""
    curve: list[dict[str, float]] = []
    stage = stage1.stage_of(generator, Fixed(data))  # type: ignore[arg-type]
    loop.run(stage, generator.seed, 0, lambda epoch: curve.append(generator.summarise(epoch.mean)))
    return curve
