"""What features say of a data set: doubles, doubtful labels, outliers, and names that CLIP cannot tell apart.

Nothing of it is certain. Findings are ranked, the worst first, to be looked at: a CSV file, and a page with the images.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..backbones.base import Backbone
from ..features.bank import load_bank
from ..features.images import read_image
from ..features.source import plain_views
from ..features.transforms import InputOptions
from ..files import write_text
from ..reporting.sheet import Card, contact_sheet
from ..task import Item
from ..texts import Texts

SAME_PIXELS, ALIKE = 0.97, 0.9  # correlation of small grey pictures and similarity of features, of a double
NEIGHBOURS = 5  # images that vote on a label
FAR = 3.5  # robust deviations below the class's median at which an image is an outlier
ENOUGH = 4  # images of a class that outliers and names need
TOLD_APART = 0.75  # zero-shot accuracy between two classes, below which their names are alike
SMALL = 16  # side of the small grey pictures, pixels
AT_ONCE = 1024  # rows of a similarity matrix
SHOWN = 60  # findings of a kind on the page; the CSV file has all

KINDS = {
    "duplicate across parts": "The same picture in two parts: figures on it are no test.",
    "duplicate": "The same picture twice in one part.",
    "label": "Nearer to images of another class than to its own.",
    "outlier": "Far from its class, and near no other.",
    "names": "Classes that zero-shot CLIP takes for one another: name them otherwise, or describe them (prompts.json).",
}


@dataclass(frozen=True)
class Seen:
    """A data set as it is inspected.

    Attributes:
        items: N images, of all parts.
        parts: of each image, train, val or test.
        features: unit length, (N, d).
        pictures: small and grey, of zero mean and unit length, (N, k); and mirrored.
        names: of the classes, by label.
        text: zero-shot CLIP's class features, (C, d).
    """

    items: Sequence[Item]
    parts: Sequence[str]
    features: Tensor
    pictures: Tensor
    mirrored: Tensor
    names: Sequence[str]
    text: Tensor

    @property
    def labels(self) -> Tensor:
        return torch.tensor([item.label for item in self.items])


@dataclass(frozen=True)
class Finding:
    """One thing to look at.

    Attributes:
        kind: one of KINDS.
        score: what it is ranked by, within its kind.
        first, second: places of the images; None where there is none.
        classes: of the first and of the second image, or the two that are meant.
        why: in words.
    """

    kind: str
    score: float
    first: int | None
    second: int | None
    classes: tuple[str, str]
    why: str


def inspect(seen: Seen) -> list[Finding]:
    """All findings, kind by kind, each ranked."""
    labels = doubtful_labels(seen)
    wrong = {finding.first for finding in labels}
    return [*doubles(seen), *labels, *(one for one in outliers(seen) if one.first not in wrong), *names_alike(seen)]


def see(items: Sequence[Item], parts: Sequence[str], names: Sequence[str], backbone: Backbone, texts: Texts,
        upright: bool, cache_dir: str = "", workers: int = 0) -> Seen:  # fmt: skip
    """Encode images that can be read, and make their small pictures."""
    views = plain_views(items, InputOptions(), backbone.preprocessing, upright)
    features = load_bank(backbone, views, cache_dir, workers).features[0].cpu()
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda item: small_picture(item.impath, upright), items)
        bar = tqdm(found, total=len(items), desc="Comparing images", unit="image", delay=2, disable=None)
        pixels = torch.from_numpy(np.stack(list(bar)))
    text = texts.features(backbone, names).cpu()
    return Seen(items, parts, features, centred(pixels), centred(pixels.flip(2)), names, text)


def small_picture(path: str, upright: bool) -> np.ndarray:
    """The image in grey, 16 x 16."""
    image = read_image(path, upright).convert("L").resize((SMALL, SMALL))
    return np.asarray(image, dtype=np.float32)


def centred(pixels: Tensor) -> Tensor:
    """Of zero mean and unit length, so that products are correlations: (N, S, S) -> (N, S * S)."""
    flat = pixels.flatten(1)
    flat = flat - flat.mean(dim=1, keepdim=True)
    return flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-6)


# -- what is looked for ---------------------------------------------------------------------------------------


def doubles(seen: Seen) -> list[Finding]:
    """Pairs of images whose small grey pictures, as they are or mirrored, and features are nearly the same."""
    found = []
    N = len(seen.items)
    for first in range(0, N, AT_ONCE):
        rows = slice(first, first + AT_ONCE)
        same = torch.maximum(seen.pictures[rows] @ seen.pictures.T, seen.pictures[rows] @ seen.mirrored.T)
        alike = seen.features[rows] @ seen.features.T
        later = torch.arange(N) > torch.arange(first, min(first + AT_ONCE, N))[:, None]
        for i, j in ((same >= SAME_PIXELS) & (alike >= ALIKE) & later).nonzero().tolist():
            a, b = seen.items[first + i], seen.items[j]
            across = seen.parts[first + i] != seen.parts[j]
            classes = "" if a.label == b.label else f", as {a.classname!r} and as {b.classname!r}"
            where = f"in {seen.parts[first + i]} and {seen.parts[j]}{classes}"
            why = f"{where}; pixels {same[i, j]:.3f}, features {alike[i, j]:.3f}"
            kind = "duplicate across parts" if across else "duplicate"
            found.append(Finding(kind, float(same[i, j]), first + i, j, (a.classname, b.classname), why))
    order = list(KINDS)
    return sorted(found, key=lambda one: (order.index(one.kind), -one.score))


def doubtful_labels(seen: Seen) -> list[Finding]:
    """Images that are nearer to another class's mean than to their own without them, and most of whose nearest images
    are of that class. Ranked by how much nearer."""
    labels, (own, others) = seen.labels, to_means(seen)
    margin, other = own - others.values, others.indices
    votes = neighbours(seen)
    found = []
    for i in (margin < 0).nonzero()[:, 0].tolist():
        c = int(other[i])
        share = float((labels[votes[i]] == c).double().mean()) if len(votes[i]) else 0.0
        if share <= 0.5:
            continue
        own_and_other = f"similarity {own[i]:.3f} to its class, {others.values[i]:.3f} to {seen.names[c]!r}"
        why = f"{own_and_other}, of which {share:.0%} of its nearest images are"
        classes = (seen.names[int(labels[i])], seen.names[c])
        nearest = next(int(j) for j in votes[i] if labels[j] == c)
        found.append(Finding("label", float(margin[i]), i, nearest, classes, why))
    return sorted(found, key=lambda one: one.score)


def outliers(seen: Seen) -> list[Finding]:
    """Images whose similarity to their class's mean is far below what is usual in it (median and its absolute
    deviation). Ranked by how far."""
    labels, (own, _) = seen.labels, to_means(seen)
    found = []
    for label in labels.unique().tolist():
        rows = (labels == label).nonzero()[:, 0]
        if len(rows) < ENOUGH:
            continue
        values = own[rows]
        middle = values.median()
        spread = 1.4826 * (values - middle).abs().median().clamp(min=1e-3)
        for i in rows[(values - middle) / spread < -FAR].tolist():
            score = float((own[i] - middle) / spread)
            nearest = rows[(seen.features[rows] @ seen.features[i]).topk(2).indices[1]]
            why = f"similarity {own[i]:.3f} to its class, where {middle:.3f} is usual"
            found.append(Finding("outlier", score, i, int(nearest), (seen.names[label], seen.names[label]), why))
    return sorted(found, key=lambda one: one.score)


def names_alike(seen: Seen) -> list[Finding]:
    """Pairs of classes that zero-shot CLIP does not tell apart: by their images, where both have some (the mean over
    the two of how many are nearer to their own name), else by their names' features. Ranked by that accuracy."""
    found, labels, C = [], seen.labels, len(seen.names)
    scores = seen.features @ seen.text.T  # (N, C)
    alike = seen.text @ seen.text.T
    count = labels.bincount(minlength=C)
    usual = alike[~torch.eye(C, dtype=torch.bool)]
    limit = float(usual.mean() + 4 * usual.std()) if len(usual) > 2 else 1.0
    for a in range(C):
        for b in range(a + 1, C):
            where = f"similarity of the names {alike[a, b]:.3f}"
            if min(count[a], count[b]) >= ENOUGH:
                right = [(scores[labels == x, x] > scores[labels == x, y]).double().mean() for x, y in ((a, b), (b, a))]
                share = float(sum(right)) / 2
                if share < TOLD_APART:
                    why = f"{share:.0%} of their images are nearer to the right one of the two names; {where}"
                    found.append(Finding("names", share, None, None, (seen.names[a], seen.names[b]), why))
            elif alike[a, b] > limit:
                why = f"{where}, where {usual.mean():.3f} is usual"
                found.append(Finding("names", 1.0, None, None, (seen.names[a], seen.names[b]), why))
    return sorted(found, key=lambda one: one.score)


def to_means(seen: Seen) -> tuple[Tensor, torch.return_types.max]:
    """Similarity of each image to the mean of its class without it, (N,), and the largest one to another class's mean;
    an image that is its class's only one has 1 to it."""
    labels, C = seen.labels, len(seen.names)
    sums = torch.zeros(C, seen.features.shape[1]).index_add(0, labels, seen.features)
    count = labels.bincount(minlength=C)
    rest = sums[labels] - seen.features
    own = (seen.features * torch.nn.functional.normalize(rest, dim=1)).sum(dim=1)
    own = torch.where(count[labels] > 1, own, torch.ones_like(own))
    to_all = seen.features @ torch.nn.functional.normalize(sums, dim=1).T  # (N, C)
    to_all[:, count == 0] = -1
    to_all[torch.arange(len(labels)), labels] = -1
    return own, to_all.max(dim=1)


def neighbours(seen: Seen) -> Tensor:
    """The nearest other images of each, (N, k), nearest first."""
    N = len(seen.items)
    k = min(NEIGHBOURS, N - 1)
    parts = []
    for first in range(0, N, AT_ONCE):
        alike = seen.features[first : first + AT_ONCE] @ seen.features.T
        rows = torch.arange(len(alike))
        alike[rows, first + rows] = -2
        parts.append(alike.topk(k, dim=1).indices)
    return torch.cat(parts)


# -- what is written ------------------------------------------------------------------------------------------


def write(found: Sequence[Finding], seen: Seen, folder: Path) -> list[Path]:
    """findings.csv, and findings.html with the images."""
    table, page = folder / "findings.csv", folder / "findings.html"
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["kind", "rank", "score", "path", "part", "class", "other_path", "other_part", "other_class", "why"])
    rank = dict.fromkeys(KINDS, 0)
    for one in found:
        rank[one.kind] += 1
        places = [("", "") if i is None else (seen.items[i].impath, seen.parts[i]) for i in (one.first, one.second)]
        first, second = places
        facts = (one.kind, rank[one.kind], f"{one.score:.4f}")
        rows.writerow([*facts, *first, one.classes[0], *second, one.classes[1], one.why])
    write_text(table, text.getvalue())
    sections = {}
    for kind, meaning in KINDS.items():
        of = [one for one in found if one.kind == kind]
        more = f" The first {SHOWN} of {len(of)}; {table.name} has all." if len(of) > SHOWN else ""
        sections[f"{kind[0].upper()}{kind[1:]} ({len(of)})"] = (
            meaning + more,
            [_card(one, seen) for one in of[:SHOWN]],
        )
    write_text(page, contact_sheet("What to look at", sections))
    return [table, page]


def _card(one: Finding, seen: Seen) -> Card:
    files = [seen.items[i].impath for i in (one.first, one.second) if i is not None]
    root = os.path.commonpath([os.path.dirname(item.impath) for item in seen.items])
    images = [(file, os.path.relpath(file, root)) for file in files]
    return Card(images, " / ".join(dict.fromkeys(one.classes)), one.why)
