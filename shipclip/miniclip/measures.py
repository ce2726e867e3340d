"""The figures of the acceptance table, each with the range that is wanted of it; none involves SHIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..backbones import normalise
from ..backbones.prompts import class_prompts
from . import world
from .bench import WORDS, Bench, accuracy
from .facts import FACTS


@dataclass
class Row:
    """A line of the table."""

    figure: str
    value: str
    wanted: str


def zero_shot(bench: Bench) -> list[Row]:
    base, new = bench.accuracies(bench.text(bench.names))
    rows = [Row("zero-shot base / new", f"{base:.1f} / {new:.1f}", "65 to 75, within 5 points")]
    everything = world.classnames()
    place = torch.tensor([world.attributes(name) for name in everything])
    own = torch.tensor([world.attributes(name) for name in bench.names])
    guess = place[(bench.test @ bench.text(everything).T).argmax(-1)]  # (C, n, 3)
    wrong = (guess != own[:, None]).float()
    halves = [100 * wrong[half].mean(dim=(0, 1)) for half in bench.halves]
    rows.append(
        Row(
            "wrong colour, texture, shape: new minus base", signed((halves[1] - halves[0]).tolist()), "within 10 points"
        )
    )
    worst = max(
        abs(
            wrong[half][own[half][:, a] == v, :, a].mean().item() * 100
            - wrong[own[:, a] == v, :, a].mean().item() * 100
        )
        for half in bench.halves
        for a in range(3)
        for v in own[:, a].unique().tolist()
    )
    rows.append(
        Row(
            "largest difference of a half's error in one value (red, striped ...) from both halves'",
            f"{worst:.1f}",
            "10",
        )
    )
    share = (100 * wrong.mean(dim=(0, 1))).tolist()
    rows.append(
        Row("wrong among all 432: colour, texture, shape (%)", " / ".join(f"{v:.0f}" for v in share),
            "shape at most 35, within 15 points of each other")
    )  # fmt: skip
    return rows


def coop(bench: Bench, seeds: Sequence[int], options: Mapping[str, Any]) -> list[Row]:
    """What CoOp wins on base classes and loses on new ones."""

    def gains(n: int) -> Tensor:
        return torch.tensor([bench.accuracies(bench.train_learner(s, n, bench.names, options)) for s in seeds]) - zero

    zero = torch.tensor(bench.accuracies(bench.text(bench.names)))
    own, every = gains(bench.n_base), gains(len(bench.names))
    gap = (every - own).mean(dim=0)
    mean, spread = own.mean(dim=0), own.std(dim=0, correction=0)
    return [
        Row("CoOp minus zero-shot, base / new (deviation)",
            f"{signed(mean.tolist())} ({spread[0]:.1f} / {spread[1]:.1f})",
            "+8 to +15 / -5 to -12, deviation of new at most 3"),
        Row("CoOp on real shots of all minus CoOp, base / new", signed(gap.tolist()), "at least -3 / at least +8"),
    ]  # fmt: skip


def carries_over(bench: Bench) -> list[Row]:
    """Two maps fitted on base classes' training images: a linear one of text features, and a context."""
    base = slice(0, bench.n_base)
    text, zero = bench.text(bench.names), bench.accuracies(bench.text(bench.names))[1]
    means = bench.train.mean(dim=1)  # (C, d)
    strength = min((10.0**k for k in range(-3, 3)), key=lambda s: _left_out_error(text[base], means[base], s))
    mapped = bench.accuracies(normalise(_ridge(text[base], means[base], text, strength)))[1]
    shifted = bench.accuracies(normalise(text + (means[base] - text[base]).mean(dim=0)))[1]
    context = _regressed_context(bench)
    regressed = bench.accuracies(bench.text(bench.names, context))[1]
    real = bench.accuracies(normalise(bench.train.mean(dim=1)))
    return [
        Row("ridge map text -> image of base, gain on new", f"{mapped - zero:+.1f}", "at least +6"),
        Row("mean shift of base, gain on new", f"{shifted - zero:+.1f}", ""),
        Row("context by regression on base, gain on new", f"{regressed - zero:+.1f}", "at least 0"),
        Row("means of 16 real images as prototypes, base / new", f"{real[0]:.1f} / {real[1]:.1f}", ""),
    ]


def _ridge(x: Tensor, y: Tensor, of: Tensor, strength: float) -> Tensor:
    """of + of W + b, where W of least squared norm (weighted by `strength`) and b map x to y - x."""
    mean_x, mean_y = x.mean(dim=0), (y - x).mean(dim=0)
    centred = x - mean_x
    W = torch.linalg.solve(centred.T @ centred + strength * torch.eye(x.shape[1]), centred.T @ (y - x - mean_y))
    return of + (of - mean_x) @ W + mean_y


def _left_out_error(x: Tensor, y: Tensor, strength: float) -> float:
    total = 0.0
    for i in range(len(x)):
        rest = torch.arange(len(x)) != i
        total += (_ridge(x[rest], y[rest], x[i : i + 1], strength) - y[i]).square().sum().item()
    return total


def _regressed_context(bench: Bench, steps: int = 200) -> Tensor:
    """Four vectors that bring base classes' text features to their images', (4, w)."""
    ctx = bench.backbone.embed_words(WORDS).clone().requires_grad_()
    tokens = bench.backbone.class_tokens(bench.names[: bench.n_base], len(ctx))
    optimizer = torch.optim.Adam([ctx], lr=0.01)
    for _ in range(steps):
        text = normalise(bench.backbone.text(class_prompts(ctx, tokens))[0])
        loss = (bench.train[: bench.n_base] - text[:, None]).square().sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return ctx.detach()


def contexts(bench: Bench, draws: int = 8) -> list[Row]:
    """What stands in front of a class name: how much it says, and what it costs where it means nothing."""
    phrases = [f"a {word} photo of a" for fact in FACTS for synonyms in fact.words for word in synonyms]
    shares = _variance([bench.text(bench.names, phrase) for phrase in phrases])
    zero = bench.accuracies(bench.text(bench.names))[1]
    rng = torch.Generator().manual_seed(0)
    known = sorted(bench.backbone.known_ids or ())
    losses = {}
    for norm in (0.5, 1.0, 2.0):
        drawn = [normalise(torch.randn(4, bench.backbone.width, generator=rng)) * norm for _ in range(draws)]
        losses[f"{norm:g}"] = [zero - bench.accuracies(bench.text(bench.names, ctx))[1] for ctx in drawn]
    ids = [torch.tensor(known)[torch.randint(len(known), (4,), generator=rng)] for _ in range(draws)]
    losses["words"] = [zero - bench.accuracies(bench.text(bench.names, bench.backbone.embed(i)))[1] for i in ids]
    return [
        Row("share of the variance of T(context, class) over scene phrases: context (interaction), %",
            f"{100 * shares[1]:.1f} ({100 * shares[2]:.1f})", "at least 15, interaction at most a third of it"),
        Row("4 random vectors of norm 0.5 / 1 / 2, 4 random words: loss of new",
            " / ".join(f"{np.mean(v):.1f}" for v in losses.values()), "at most 3"),
    ]  # fmt: skip


def _variance(features: Sequence[Tensor]) -> tuple[float, float, float]:
    """Shares of class, context and interaction in the variance of text features: two-way analysis of variance."""
    x = torch.stack(list(features))  # (contexts, C, d)
    mean = x.mean(dim=(0, 1))
    by_class, by_context = x.mean(dim=0) - mean, x.mean(dim=1) - mean
    rest = x - mean - by_class[None] - by_context[:, None]
    parts = [v.square().sum(-1).mean().item() for v in (by_class, by_context, rest)]
    return tuple(p / sum(parts) for p in parts)  # type: ignore[return-value]


def of_another_world(bench: Bench, other: Bench, seeds: Sequence[int], options: Mapping[str, Any]) -> Row:
    """Contexts learned on other classes in the same style."""
    zero = accuracy(bench.test, bench.text(bench.names))
    learned = [other.train_learner(seed, len(other.names), bench.names, options) for seed in seeds]
    loss = np.mean([zero - accuracy(bench.test, features) for features in learned])
    return Row("contexts that CoOp learned on another world's classes in the same style: loss among all 72",
               f"{loss:.1f}", "at most 3")  # fmt: skip


def within_class(bench: Bench) -> list[Row]:
    """What varies within a class: nuisance, or what tells classes apart?"""
    rest = bench.test - bench.test.mean(dim=1, keepdim=True)  # (C, n, d)
    flat, total = rest.flatten(0, 1), rest.square().sum().item()
    everything = bench.text(world.classnames())
    span = _span(everything - everything.mean(dim=0), 0.99)  # (k, d)
    in_span = (flat @ span.T).square().sum().item() / total
    facts = bench.facts.flatten(0, 1)
    known = torch.cat([F.one_hot(facts[:, i] + 1, len(f.words) + 1).float() for i, f in enumerate(FACTS)], dim=1)
    explained = _cross_validated(known, flat)
    said = torch.stack(
        [
            bench.text(bench.names, f"a {word} photo of a").mean(dim=0) - bench.text(bench.names).mean(dim=0)
            for fact in FACTS
            for synonyms in fact.words
            for word in synonyms
        ]
    )
    apart = said - said @ span.T @ span
    nuisance = _span(apart, 0.99)
    in_nuisance = (flat @ nuisance.T).square().sum().item() / total
    d = bench.backbone.dim
    return [
        Row("within-class variance in the span of class texts (chance)",
            f"{in_span:.2f} ({len(span) / d:.2f})", "at most 0.5"),
        Row("within-class variance explained by facts, cross-validated", f"{explained:.2f}", "at least 0.3"),
        Row("within-class variance in the span of scene texts minus class texts (chance)",
            f"{in_nuisance:.2f} ({len(nuisance) / d:.2f})", "at least 0.2"),
    ]  # fmt: skip


def _span(rows: Tensor, share: float) -> Tensor:
    """Orthonormal directions that hold this share of the rows' squares, (k, d)."""
    _, s, v = torch.linalg.svd(rows, full_matrices=False)
    held = s.square().cumsum(0) / s.square().sum()
    return v[: int((held < share).sum()) + 1]


def _cross_validated(x: Tensor, y: Tensor, folds: int = 5, strength: float = 1.0) -> float:
    """Share of y's variance that a linear map of x explains on rows that it has not seen."""
    fold = torch.arange(len(x)) % folds
    error = 0.0
    for k in range(folds):
        a, b = x[fold != k], y[fold != k]
        centred = a - a.mean(dim=0)
        W = torch.linalg.solve(centred.T @ centred + strength * torch.eye(x.shape[1]), centred.T @ (b - b.mean(dim=0)))
        error += (y[fold == k] - b.mean(dim=0) - (x[fold == k] - a.mean(dim=0)) @ W).square().sum().item()
    return 1 - error / (y - y.mean(dim=0)).square().sum().item()


def two_way(bench: Bench) -> Row:
    """Zero-shot accuracy between the two words of each fact, on images of which one holds; mean over both."""
    found = {}
    for i, fact in enumerate(FACTS):
        if len(fact.words) != 2:
            continue
        texts = [
            torch.stack([bench.text(bench.names, f"a {word} photo of a") for word in synonyms]).mean(dim=0)
            for synonyms in fact.words
        ]
        scores = torch.stack([(bench.test * t[:, None]).sum(-1) for t in texts])  # (2, C, n)
        hits = [(scores.argmax(dim=0) == v)[bench.facts[..., i] == v].float() for v in (0, 1)]
        if all(len(h) for h in hits):
            found[fact.name] = 50 * sum(h.mean().item() for h in hits)
    above = sum(v >= 80 for v in found.values())
    return Row("two-way words told apart zero-shot on these images (%)",
               ", ".join(f"{k} {v:.0f}" for k, v in found.items()) + f": {above} of {len(found)}",
               "five at 80 or more")  # fmt: skip


def signed(values: Sequence[float]) -> str:
    return " / ".join(f"{v:+.1f}" for v in values)
