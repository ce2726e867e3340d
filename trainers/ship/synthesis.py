"""SHIP's second stage: real base features and synthetic ones of the new classes, and the loss on both."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode as CN

from trainers.prompting.features import FeatureBank


class Sampler(Protocol):
    """What stage 2 asks of a trained generator."""

    def sample(self, labels: Tensor, rng: torch.Generator) -> Tensor:
        """A unit-length synthetic feature for each label, (B,) -> (B, d)."""


def add_synthetic(
    generator: Sampler,
    features: Tensor,
    labels: Tensor,
    n_base: int,
    n_new: int,
    rng: torch.Generator,
    share: float = 1.0,
    classes: str = "new",
) -> tuple[Tensor, Tensor]:
    """A batch of B real features, followed by synthetic ones with labels uniform over the new classes.

    Args:
        generator: the trained first stage.
        features: real, (B, d).
        labels: their classes, all below n_base, (B,).
        n_base: number of base classes; they come first.
        n_new: number of new classes, labels n_base ... n_base + n_new - 1.
        rng: source of labels and latents.
        share: synthetic features for each real one; S = round(share * B).
        classes: "new", or "all" to synthesize base classes as well.

    Returns:
        Features (B + S, d) and labels (B + S,).
    """
    count = round(share * len(labels))
    if not count:
        return features, labels
    first = 0 if classes == "all" else n_base
    made = torch.randint(first, n_base + n_new, (count,), generator=rng)
    synthetic = generator.sample(made, rng)
    return torch.cat([features, synthetic]), torch.cat([labels, made.to(labels.device)])


def synthetic_bank(generator: Sampler, labels: Tensor, views: int, rng: torch.Generator) -> FeatureBank:
    """Synthetic features of these labels, as if each had that many views: (V, N, d)."""
    features = torch.stack([generator.sample(labels, rng) for _ in range(views)])
    return FeatureBank(features, labels.to(features.device))


def agreement(features: Tensor, labels: Tensor, class_features: Tensor, n_real: int) -> Tensor:
    """1 for real features and for synthetic ones that zero-shot CLIP gives their own class, else 0: (B + S,)."""
    agrees = (features @ class_features.T).argmax(dim=1) == labels
    agrees[:n_real] = True
    return agrees.to(features.dtype)


def objective(logits: Tensor, labels: Tensor, weights: Tensor, n_base: int, options: CN) -> dict[str, Tensor]:
    """Stage 2's loss and the accuracy in percent.

    JOINT_WEIGHT * cross entropy among all classes + OWN_WEIGHT * cross entropy among each feature's own half, each the
    weighted mean over features. The reference: 1 and 0, all weights 1.

    Args:
        logits: (B, C).
        labels: (B,).
        weights: of the features, (B,).
        n_base: number of base classes; they come first.
        options: the node TRAINER.SHIP.
    """
    logits, total = logits.float(), weights.sum().clamp(min=1e-8)
    hits = (logits.detach().argmax(dim=1) == labels).float().mean() * 100
    loss = logits.new_zeros(())
    if options.JOINT_WEIGHT:
        joint = F.cross_entropy(logits, labels, reduction="none")
        loss = loss + options.JOINT_WEIGHT * (weights * joint).sum() / total
    if options.OWN_WEIGHT:
        is_base = torch.arange(logits.shape[1], device=labels.device) < n_base
        other = is_base != (labels < n_base)[:, None]  # (B, C)
        own = F.cross_entropy(logits.masked_fill(other, float("-inf")), labels, reduction="none")
        loss = loss + options.OWN_WEIGHT * (weights * own).sum() / total
    return {"loss": loss, "acc": hits}
