"""SHIP's second stage: batches of real base features and synthetic features of the new classes."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class FeatureGenerator(Protocol):
    """What stage 2 asks of a trained generator (the VAE is the first)."""

    def sample(self, labels: Tensor, rng: torch.Generator) -> Tensor:
        """A unit-length synthetic feature for each label, (B,) -> (B, d)."""


def add_synthetic(
    generator: FeatureGenerator,
    features: Tensor,
    labels: Tensor,
    n_base: int,
    n_new: int,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """A batch of B real features, followed by B synthetic ones with labels uniform over the new classes.

    Args:
        generator: the trained first stage.
        features: real, (B, d).
        labels: their classes, all below n_base, (B,).
        n_base: number of base classes; they come first.
        n_new: number of new classes, labels n_base ... n_base + n_new - 1.
        rng: source of labels and latents.

    Returns:
        Features (2B, d) and labels (2B,).
    """
    new = torch.randint(n_base, n_base + n_new, (len(labels),), generator=rng)
    synthetic = generator.sample(new, rng)
    return torch.cat([features, synthetic]), torch.cat([labels, new.to(labels.device)])
