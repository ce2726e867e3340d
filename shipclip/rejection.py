"""Below which score an image is called unknown: the rule and its rates, from held-out images.

Wanted is that of the images of classes with images no more than a given rate is rejected, and of those of classes by
name no more either, whichever class is predicted for them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .confidence import Calibration
from .detection import auroc
from .trials import HeldOut
from .unknown import (
    OF_NAMES,
    SCORES,
    UNKNOWN,
    Evidence,
    Group,
    Rejection,
    Rule,
    measured,
    percent,
    predicted_by_name,
)

FEW = 10  # held-out images that a choice needs
FOLDS = 5  # of classes, for the rates to be expected


def fit_rejection(
    held: HeldOut, calibration: Calibration, text: Tensor, scale: float, rate: float
) -> tuple[Rejection, dict[str, Any]]:
    """The rejection rule of a learner, and what held-out images say of it.

    Unknown are images of the classes that were taken away, once their names are as well; with their names, they are
    known by name. Of all these the number of classes is the fit's, but for one: among more, scores are higher.

    Args:
        held: the learner's held-out images.
        calibration: its.
        text: zero-shot CLIP's class features, (C, d).
        scale: CLIP's factor of cosine similarities.
        rate: of wrongly rejected images, 0 < rate < 1.

    Returns:
        The rule, and figures as `measured` gives them; but the rates of rejected images are those to be expected of
        others: each class's images are judged by the rule that the other classes' give.
    """
    own = torch.nn.functional.one_hot(held.labels, held.logits.shape[1]).bool()
    none = held.among(own & held.away if held.named else held.away)  # of an unknown image its own name at least
    without = evidence_of(none, calibration, text, scale)
    known, unknown = {"shown": (without, held.shown)}, (without, ~held.shown)
    if held.named:
        known["by name"] = (evidence_of(held, calibration, text, scale), ~held.shown)
    rule = rejection_of(rate, list(known.values()), unknown, held.by_name)
    figures = measured(rule, known, unknown, held.by_name)
    groups = {name: group for name, group in {**known, UNKNOWN: unknown}.items() if group[1].any()}
    figures["images"] = {name: int(rows.sum()) for name, (_, rows) in groups.items()}
    figures["rejected"] = _expected(rate, known, unknown, held, rule, groups)
    return rule, figures


def _expected(
    rate: float, known: dict[str, Group], unknown: Group, held: HeldOut, rule: Rejection, groups: dict[str, Group]
) -> dict[str, float]:
    """Rejected images of each group in percent, each class's by the rule that the other classes' images give."""
    judged = {name: torch.zeros(len(held), dtype=torch.bool) for name in groups}
    classes = held.labels.unique()
    for fold in classes.tensor_split(min(FOLDS, len(classes))):
        mine = torch.isin(held.labels, fold)
        others = [(e, rows & ~mine) for e, rows in known.values()]
        if any(rows.any() for _, rows in others):
            rule = rejection_of(rate, others, (unknown[0], unknown[1] & ~mine), held.by_name)
        for name, (e, _) in groups.items():
            judged[name] |= mine & (rule.margin(e, held.by_name) < 0)
    return {name: percent(judged[name][rows]) for name, (_, rows) in groups.items()}


def rejection_of(rate: float, known: list[Group], unknown: Group, by_name: Tensor) -> Rejection:
    """The rule that groups of known images, and unknown ones, give.

    Of each kind of prediction the score with the highest AUROC is taken, and thresholds at which of no group more than
    `rate` are rejected.
    """

    def cells(kind: bool | None, score: str) -> tuple[list[Tensor], Tensor]:
        """Scores of images of which this kind of class is predicted, of each known group and of the unknown."""
        parts = []
        for e, rows in (*known, unknown):
            here = rows if kind is None else rows & (predicted_by_name(e, by_name) == kind)
            parts.append(SCORES[score](e)[here].double().sort().values)
        return parts[:-1], parts[-1]

    def best(kind: bool | None, names: tuple[str, ...]) -> str:
        def told(name: str) -> float:
            inside, outside = cells(kind, name)
            inside = torch.cat(inside)
            return auroc(inside, outside) if min(len(inside), len(outside)) >= FEW else 0.0

        return max(names, key=told)

    def rules(kinds: list[tuple[bool | None, tuple[str, ...]]]) -> list[Rule]:
        names = [best(kind, of_kind) for kind, of_kind in kinds]
        found = [cells(kind, name) for (kind, _), name in zip(kinds, names, strict=True)]
        inside = [parts for parts, _ in found]
        spread = [max(float(torch.cat(parts).std(correction=0)), 1e-6) for parts in inside]
        limits = thresholds(rate, inside, [outside for _, outside in found])
        return [Rule(*rule) for rule in zip(names, limits, spread, strict=True)]

    taken = torch.cat([predicted_by_name(e, by_name)[rows] for e, rows in known])
    if taken.any() and not taken.all():
        return Rejection(rate, *rules([(False, tuple(SCORES)), (True, OF_NAMES)]))
    # All predictions are of one kind; the other one's rule is that of all images
    return Rejection(rate, *rules([(None, tuple(SCORES))]), *rules([(None, OF_NAMES)]))


def thresholds(rate: float, known: list[list[Tensor]], unknown: list[Tensor]) -> list[float]:
    """A threshold for each of K kinds of prediction, below which images are rejected.

    Of all combinations at which of no group more than `rate` are rejected, that which rejects most unknown images; of
    no kind is more than half of the known images rejected.

    Args:
        rate: 0 < rate < 1.
        known: sorted scores of K kinds, of G groups each.
        unknown: sorted scores of K kinds.
    """
    sizes = [sum(map(len, group)) for group in zip(*known, strict=True)]
    allowed = [_allowed(rate, n) for n in sizes]
    if not sum(map(len, unknown)):  # nothing to weigh the kinds by: each has the rate for itself
        return [min(float(cell[_allowed(rate, len(cell))]) for cell in kind if len(cell)) for kind in known]
    tried = [torch.cat(kind).sort().values for kind in known]
    tried = [scores[: min(sum(allowed), len(scores) // 2) + 1] for scores in tried]
    ok = torch.tensor(True)
    for g, most in enumerate(allowed):
        ok = ok & (_sums([_below(t, kind[g]) for t, kind in zip(tried, known, strict=True)]) <= most)
    gain = _sums([_below(t, scores) for t, scores in zip(tried, unknown, strict=True)])
    place = torch.unravel_index(torch.where(ok, gain, -1).argmax(), gain.shape)
    return [float(t[i]) for t, i in zip(tried, place, strict=True)]


def _allowed(rate: float, n: int) -> int:
    """How many of n images may be below a threshold, so that another one is with a probability of at most `rate`: with
    k of them it is (k + 1) / (n + 1) (conformal prediction, Vovk et al., 2005)."""
    return max(0, math.floor(rate * (n + 1) + 1e-9) - 1)


def _below(limits: Tensor, scores: Tensor) -> Tensor:
    """How many of the sorted scores are below each limit."""
    return torch.searchsorted(scores, limits)


def _sums(parts: list[Tensor]) -> Tensor:
    """Sums of one element of each, (len of the first, len of the second, ...)."""
    total = parts[0]
    for part in parts[1:]:
        total = total[..., None] + part
    return total


def evidence_of(held: HeldOut, calibration: Calibration, text: Tensor, scale: float) -> Evidence:
    """Evidence on held-out images; a class whose logit is -inf is none."""
    calibrated = calibration(held.logits, calibration.factors(held.scores))
    cosines = (held.features @ text.cpu().T).masked_fill(held.logits.isinf(), float("-inf"))
    return Evidence(calibrated, cosines, scale, held.near)
