"""Pictures of results, as PNG and SVG.

    shipclip figures features RUN      real and synthetic features in two dimensions, PCA and t-SNE
    shipclip figures confusion RUN     which class's real mean a synthetic feature is nearest to
    shipclip figures curves RUN ...    losses of each epoch, of both stages
    shipclip figures shots OUTPUT      few-shot curves with error bars
    shipclip figures scatter OUTPUT    base against new accuracy of all methods
    shipclip figures reliability RUN   confidence against accuracy; of a model before and after calibration
    shipclip figures coverage RUN ...  the error that is left where the least sure answers are held back

RUN is the folder of a finished run (of SHIP, for the first two; of a model, for the last two), OUTPUT a tree of
results. A picture of a run lies in the run's folder, one of a tree in its figures/, unless --out says otherwise.
Nothing is trained.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from ..errors import UserError, told
from ..method import Method
from ..opening import open_run
from ..rng import stream
from . import pictures
from .confidence_pictures import coverage, reliability
from .tables import Row, tables_of
from .tree import read_log, runs_below

CLASSES = 6  # of base and of new ones, in the picture of features
SAMPLES = 30  # synthetic features of each


@told
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "shipclip figures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("picture", choices=DRAWN)
    parser.add_argument("folders", nargs="+", help="RUN or OUTPUT")
    parser.add_argument("--root", default="", help="folder of the data sets, if not where it was")
    parser.add_argument("--out", type=Path, default=None, help="folder of the picture")
    args = parser.parse_args(argv)
    folder = Path(args.folders[0])
    of_a_tree = args.picture in ("shots", "scatter")
    figure = DRAWN[args.picture](args)
    out = args.out or (folder / "figures" if of_a_tree else folder)
    print(f"Written to {' and '.join(map(str, pictures.save(figure, out / args.picture)))}")
    return 0


def features(args: argparse.Namespace) -> Figure:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    method, halves = open_ship(args)
    bank, panels = method.source.bank("test"), {}
    for half, labels in halves.items():
        chosen = [labels[round(i * (len(labels) - 1) / max(CLASSES - 1, 1))] for i in range(min(CLASSES, len(labels)))]
        place = {label: i for i, label in enumerate(dict.fromkeys(chosen))}
        rows = torch.tensor([label in place for label in bank.labels.tolist()])
        wanted = torch.tensor(list(place)).repeat_interleave(SAMPLES)
        made = method.generator.sample(wanted, stream(method.seed, "figure")).cpu().numpy()
        real = bank.features[0].cpu()[rows].numpy()
        both = np.concatenate([real, made])
        points = {
            "PCA": PCA(2, random_state=0).fit(real).transform(both),
            "t-SNE": TSNE(2, random_state=0, init="pca", perplexity=min(30, (len(both) - 1) / 3)).fit_transform(both),
        }
        real_labels = np.array([place[label] for label in bank.labels[rows.to(bank.labels.device)].tolist()])
        made_labels = np.array([place[label] for label in wanted.tolist()])
        panels[half] = {"names": [method.task.labels.names[label] for label in place]} | {
            method: (xy[: len(real)], real_labels, xy[len(real) :], made_labels) for method, xy in points.items()
        }
    return pictures.features_in_two_dimensions(panels)


def confusion(args: argparse.Namespace) -> Figure:
    method, halves = open_ship(args)
    bank = method.source.bank("test")
    labels, real = bank.labels.cpu(), bank.features[0].cpu()
    there = sorted(set(labels.tolist()))
    means = torch.stack([real[labels == label].mean(dim=0) for label in there])
    wanted = torch.tensor(there).repeat_interleave(SAMPLES)
    made = method.generator.sample(wanted, stream(method.seed, "figure")).cpu()
    nearest = torch.cdist(made, means).argmin(dim=1)  # (len(there) * SAMPLES,)
    hits = torch.nn.functional.one_hot(nearest, len(there)).view(len(there), SAMPLES, -1).double().mean(dim=1)
    names = [method.task.labels.names[label] for label in there]
    return pictures.confusion(hits.numpy(), names, len(halves.get("base", [])))


def open_ship(args: argparse.Namespace) -> tuple[Method, dict[str, list[int]]]:
    """A SHIP run over the joint label space, and the labels of its base and new classes."""
    if len(args.folders) != 1:
        raise UserError(f"{args.picture} shows one run, and {len(args.folders)} are named")
    method = open_run(args.folders[0], args.root, joint=True)
    if method.generator is None:
        raise UserError(f"{args.folders[0]} is no run of SHIP: it has no generator")
    n_base = method.task.labels.n_base
    labels = sorted({item.label for item in method.task.test})
    halves = {"base": [i for i in labels if i < n_base], "new": [i for i in labels if i >= n_base]}
    return method, {half: found for half, found in halves.items() if found}


def curves(args: argparse.Namespace) -> Figure:
    panels: dict[str, dict[str, dict[str, list[float]]]] = {}
    for folder in map(Path, args.folders):
        log = read_log(folder)
        if not log:
            raise UserError(f"there is no log.txt in {folder}: name the folder of a trained run")
        name = folder.name if len({Path(f).name for f in args.folders}) > 1 else folder.parent.parent.name
        for title, epoch, value in losses_in(log):
            curve = panels.setdefault(title, {}).setdefault(name, {"x": [], "y": []})
            curve["x"].append(epoch)
            curve["y"].append(value)
    if not panels:
        raise UserError(f"the logs of {', '.join(args.folders)} tell of no epoch: name folders of trained runs")
    return pictures.training_curves(panels)


def losses_in(log: str) -> list[tuple[str, int, float]]:
    """(quantity, epoch, mean over the epoch) of a run's log, stage 1 first; an epoch that was run again counts once."""
    found: dict[tuple[str, int], float] = {}
    for epoch, rest in re.findall(r"^generator epoch \[(\d+)/\d+\] time [\d.]+ (.*)$", log, re.MULTILINE):
        for name, value in re.findall(r"([a-z]+) (-?[\d.]+)", rest):
            if name != "loss":
                title = {"kl": "KL (nats)", "reconstruction": "squared error of x"}.get(name, name)
                found[f"stage 1: {title}", int(epoch)] = float(value)
    for epoch, value in re.findall(r"^epoch \[(\d+)/\d+\].*? loss [\d.]+ \(([\d.]+)\)", log, re.MULTILINE):
        found["stage 2: cross entropy", int(epoch)] = float(value)
    return [(title, epoch, value) for (title, epoch), value in found.items()]


def shots(args: argparse.Namespace) -> Figure:
    return pictures.few_shot_curves(rows_of(args, "few_shot", lambda row: bool(row.values.get("h")) and row.shots > 0))


def scatter(args: argparse.Namespace) -> Figure:
    rows = rows_of(args, "learners", lambda row: bool(row.values.get("base")))
    most = max(row.shots for row in rows)
    return pictures.base_against_new([row for row in rows if row.shots == most])


def rows_of(args: argparse.Namespace, preferred: str, usable: Callable[[Row], bool]) -> list[Row]:
    """Rows of the preferred experiment's table, or else of the first that has some; averages where there are any."""
    tables = tables_of(runs_below(Path(args.folders[0])))
    tables.sort(key=lambda table: table.name.split("/")[0] != preferred)
    for table in tables:
        rows = [row for row in table.rows if usable(row)]
        if rows:
            return [row for row in rows if row.average] or rows
    raise UserError(f"there are no results of base and new classes below {args.folders[0]}")


DRAWN: dict[str, Callable[[argparse.Namespace], Figure]] = {
    "features": features,
    "confusion": confusion,
    "curves": curves,
    "shots": shots,
    "scatter": scatter,
    "reliability": lambda args: reliability(args.folders),
    "coverage": lambda args: coverage(args.folders),
}


if __name__ == "__main__":
    sys.exit(main())
