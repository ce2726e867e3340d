"""Images of none of the classes: a score for how well an image is known, and the threshold below which it is rejected.

An image whose most probable class has images is held against training images of such classes; one whose most
probable class has a name alone, against such a name. Each kind has a score and a threshold of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .detection import auroc, fpr_at
from .errors import UserError

if TYPE_CHECKING:
    from .bundle import Classifier

UNKNOWN = "unknown"  # what a rejected image is called


@dataclass(frozen=True)
class Evidence:
    """What scores are made of, for B images.

    Attributes:
        logits: calibrated, (B, C).
        cosines: of the images' and the classes' texts features, zero-shot CLIP's, (B, C).
        scale: CLIP's factor of them.
        near: cosine similarity to the nearest training image, (B,); 0 where there is none.
    """

    logits: Tensor
    cosines: Tensor
    scale: float
    near: Tensor


Group = tuple[Evidence, Tensor]  # images: evidence, and which of its rows
Score = Callable[[Evidence], Tensor]  # (B,), higher for images that are better known

SCORES: dict[str, Score] = {
    # Sun et al., ICML 2022, with k = 1: the nearest training image.
    "neighbour": lambda e: e.near,
    # Hendrycks et al., ICML 2022: the largest logit.
    "logit": lambda e: e.logits.amax(dim=1),
    # Liu et al., NeurIPS 2020: log sum exp of the logits.
    "energy": lambda e: e.logits.logsumexp(dim=1),
    # Hendrycks and Gimpel, ICLR 2017: the largest probability.
    "probability": lambda e: e.logits.softmax(dim=1).amax(dim=1),
    # The nearest text.
    "similarity": lambda e: e.cosines.amax(dim=1),
}
BASELINES: dict[str, Score] = {
    # Zero-shot CLIP's largest probability.
    "CLIP's maximum": lambda e: (e.scale * e.cosines).softmax(dim=1).amax(dim=1),
    # Maximum concept matching, Ming et al., NeurIPS 2022: the same with temperature 1.
    "MCM": lambda e: e.cosines.softmax(dim=1).amax(dim=1),
}
OF_NAMES = tuple(name for name in SCORES if name != "neighbour")  # those that need no image of a class


@dataclass(frozen=True)
class Rule:
    """Reject where SCORES[score] is below the threshold. `spread` is its deviation over known held-out images."""

    score: str
    threshold: float
    spread: float = 1.0

    def margin(self, evidence: Evidence) -> Tensor:
        """By how many deviations an image is above the threshold, (B,)."""
        return (SCORES[self.score](evidence) - self.threshold) / self.spread


@dataclass(frozen=True)
class Rejection:
    """When an image is called unknown.

    Attributes:
        rate: of images that are known and rejected all the same.
        shown, by_name: the rule where the most probable class has images, and where it has a name alone.
    """

    rate: float
    shown: Rule
    by_name: Rule

    def margin(self, evidence: Evidence, by_name: Tensor) -> Tensor:
        """How well each image is known, (B,); below 0 it is unknown. `by_name` tells of each class whether it has a
        name alone, (C,) or (B, C)."""
        kind = predicted_by_name(evidence, by_name)
        return torch.where(kind, self.by_name.margin(evidence), self.shown.margin(evidence))


def predicted_by_name(evidence: Evidence, by_name: Tensor) -> Tensor:
    """Whether each image's most probable class has a name alone, (B,)."""
    best = evidence.logits.argmax(dim=1, keepdim=True)
    return by_name.expand(evidence.logits.shape).gather(1, best)[:, 0]


def measured(
    rule: Rejection, known: Mapping[str, tuple[Evidence, Tensor]], unknown: tuple[Evidence, Tensor], by_name: Tensor
) -> dict[str, Any]:
    """What a rule, its scores and CLIP's own do on known and unknown images, each given as evidence and chosen rows.

    Returns:
        scores: for each, AUROC and FPR95 in percent (where there are unknown images).
        rejected: the rate of rejected images in percent, of each group of known images and of unknown ones.
        images: how many there are of each.
    """
    groups = {name: part for name, part in {**known, UNKNOWN: unknown}.items() if part[1].any()}
    out: dict[str, Any] = {
        "rejected": {name: percent(rule.margin(e, by_name)[rows] < 0) for name, (e, rows) in groups.items()},
        "images": {name: int(rows.sum()) for name, (_, rows) in groups.items()},
        "scores": {},
    }
    if UNKNOWN not in groups or len(groups) < 2:
        return out
    ways: dict[str, Score] = {"this model's rule": lambda e: rule.margin(e, by_name), **SCORES, **BASELINES}
    for name, score in ways.items():
        inside = torch.cat([score(e)[rows] for kind, (e, rows) in groups.items() if kind != UNKNOWN])
        outside = score(unknown[0])[unknown[1]]
        out["scores"][name] = {"auroc": auroc(inside, outside), "fpr95": fpr_at(inside, outside)}
    return out


def percent(chosen: Tensor) -> float:
    return 100 * chosen.double().mean().item()


@torch.no_grad()
def told_apart(model: Classifier, known: Any, unknown: Any) -> dict[str, Any]:
    """`measured` of a model on images of its classes (or on groups of them, by name) and on others, each as
    `Classifier.predict` takes them.

    Raises:
        UserError: the model has no rule for unknown images, or an image cannot be read.
    """
    if model.rejection is None:
        raise UserError(
            "this model names a class for every image: fit it with a rate of rejected images (--reject 0.05)"
        )
    judge = model.frozen()
    parts = {}
    for kind, images in {**(known if isinstance(known, Mapping) else {"known": known}), UNKNOWN: unknown}.items():
        found = [judge.seen(batch) for _, batch in model.batches(images)]
        e = Evidence(*(torch.cat([getattr(one, name).cpu() for one in found]) if name != "scale" else found[0].scale
                       for name in Evidence.__dataclass_fields__))  # fmt: skip
        parts[kind] = (e, torch.ones(len(e.near), dtype=torch.bool))
    others = parts.pop(UNKNOWN)
    return measured(model.rejection, parts, others, judge.by_name.cpu())
