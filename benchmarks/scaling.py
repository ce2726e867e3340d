"""Cost against classes, shots and stored images: tables, exponents of fitted power laws, and a picture.

    python -m benchmarks.scaling [--only classes shots images] [--out output/scaling]

* classes: forward and backward of a step in ViT-B/16's shape with random weights, and what is made once;
* shots: whole training on MiniWorld with MiniCLIP, images encoded anew, few epochs;
* images: a feature store of one view of 512 numbers in half precision (benchmarks/feature_store.py).

An exponent e says that cost grows like size ** e. The fit is over all sizes; `last` is the slope between the two
largest alone, where no fixed cost hides it.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import embedded  # noqa: F401  an installed Dassl wins over the embedded one

import torch
from matplotlib.figure import Figure
from tabulate import tabulate

import train
from benchmarks import feature_store
from benchmarks.steps import Step, images, measure, names, stage1_of
from benchmarks.text_tower import SHAPE
from shipclip.backbones import Backbone
from shipclip.backbones.openai import random_clip, wrap
from shipclip.features.bank import FeatureBank
from shipclip.files import write_json, write_text
from shipclip.generators.vae import VAE, VAEOptions
from shipclip.learners import LEARNERS, Learner
from shipclip.learners.coop import CoOp, CoOpOptions
from shipclip.precision import Precision
from shipclip.presets import CONFIGS
from shipclip.profiling import threads
from shipclip.reporting.pictures import COLOURS, MARKERS, save
from shipclip.synthesis import ShipOptions, add_synthetic, objective
from shipclip.texts import Texts

SHOTS = 16
Costs = dict[str, dict[int, float]]  # what -> size -> seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES))
    parser.add_argument("--classes", type=int, nargs="+", default=[50, 200, 1000, 5000])
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--root", default="data")
    parser.add_argument("--out", type=Path, default=Path("output/scaling"))
    args = parser.parse_args()
    found: dict[str, Costs] = {}
    text = [f"torch {torch.__version__}, {threads()}"]
    for what in args.only:
        costs, memory = MEASURES[what](args)
        found[what] = costs
        text.append(table(what, costs, memory))
        print(f"{text[-1]}\n", flush=True)
    write_text(args.out / "scaling.md", "\n\n".join(text) + "\n")
    write_json(args.out / "scaling.json", found)
    print("The picture is", save(draw(found), args.out / "scaling")[0])


# -- what is measured ---------------------------------------------------------------------------------------


def of_classes(args: Namespace) -> tuple[Costs, Costs]:
    """Seconds, and MiB above what was held before."""
    clip = wrap(random_clip(*SHAPE), Precision("fp32"), "ViT-B/16's text tower")
    costs: Costs = {}
    memory: Costs = {}
    for count in args.classes:
        for what, step in steps(clip, names(count)):
            seconds, held, _ = measure(step, clip, args.repeats)
            costs.setdefault(what, {})[count] = seconds
            memory.setdefault(what, {})[count] = held
    return costs, memory


def steps(clip: Backbone, called: list[str]) -> Iterator[tuple[str, Step]]:
    """What is done with so many classes, half of them base, with SHOTS images of each where a learner keeps them."""
    count = len(called)
    base = max(1, count // 2)
    x, few = images(clip, 256), images(clip, 32)
    labels, of_few = torch.arange(256) % base, torch.arange(32) % count
    coop = CoOp(clip, called, CoOpOptions(n_ctx=4), 1, Texts())
    yield "CoOp, a step", lambda: coop.loss(few, of_few)["loss"].backward()

    vae = VAE(clip, called, VAEOptions(), 1)

    def stage2() -> None:  # with a pass of its own for its synthetic features, where training makes several batches'
        rng = torch.Generator().manual_seed(0)
        ((x_real, y_real, x_made, y_made),) = add_synthetic(vae, [(x, labels)], base, count - base, rng)
        logits, of = coop.classifier(called)(torch.cat([x_real, x_made])), torch.cat([y_real, y_made])
        objective(logits, of, torch.ones(len(of)), base, ShipOptions())["loss"].backward()

    yield "SHIP, a step of stage 1", stage1_of(vae, base)
    yield "SHIP, a step of stage 2", stage2
    yield "zero-shot class features", lambda: Texts().features(clip, tuple(called))
    bank = FeatureBank(images(clip, SHOTS * count)[None], torch.arange(count).repeat_interleave(SHOTS))
    for name in ("CLIPAdapter", "TipAdapterF", "LinearProbe"):
        yield f"{name}, a step", prepared(clip, name, called, bank, few, of_few)
    gda = learner_of(clip, "GDA", called)
    yield "GDA, the fit", lambda: gda.prepare(bank, None)


def learner_of(clip: Backbone, name: str, called: list[str]) -> Learner:
    kind = LEARNERS.get(name)
    return kind(clip, called, kind.Options(), 1, Texts())


def prepared(
    clip: Backbone, name: str, called: list[str], bank: FeatureBank, x: torch.Tensor, labels: torch.Tensor
) -> Step:
    learner = learner_of(clip, name, called)
    learner._text_features[tuple(called)] = bank.features[0, ::SHOTS]  # have a row of their own
    learner.prepare(bank, None)
    return lambda: learner.loss(x, labels)["loss"].backward()


def of_shots(args: Namespace) -> tuple[Costs, Costs]:
    """Seconds of a whole training of few epochs."""
    costs: Costs = {"CoOp, training": {}, "SHIP, training": {}}
    for shots in args.shots:
        for trainer in ("CoOp", "SHIP"):
            with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
                words = ["--root", args.root, "--output-dir", folder, "--trainer", trainer, "--seed", "1"]
                words += ["--dataset-config-file", str(CONFIGS / "datasets" / "miniworld.yaml"), "TEST.NO_TEST", "True"]
                words += ["DATASET.NUM_SHOTS", str(shots), "DATASET.SUBSAMPLE_CLASSES", "base"]
                words += ["OPTIM.MAX_EPOCH", "10", "TRAINER.SHIP.GENERATOR.EPOCHS", "10"]
                began = time.perf_counter()
                if train.main(words):
                    raise SystemExit(f"{trainer} with {shots} shots failed")
                costs[f"{trainer}, training"][shots] = time.perf_counter() - began
    return costs, {}


def of_images(args: Namespace) -> tuple[Costs, Costs]:
    """Seconds of each act on a store, and its process's largest resident memory in MiB."""
    costs: Costs = {what: {} for what in ("write", "join and open", "open", "draw an epoch")}
    memory: Costs = {"join and open": {}, "open": {}}
    given = Namespace(root=args.root, views=1, dtype="float16")
    for count in args.images:
        with tempfile.TemporaryDirectory() as folder:
            made = feature_store.apart(given, "write", folder, count)
            first, second = (feature_store.apart(given, "open", folder, count) for _ in range(2))
        of = {"write": made["seconds"], "join and open": first["ready"], "open": second["ready"]}
        for what, seconds in {**of, "draw an epoch": second["draw"]}.items():
            costs[what][count] = seconds
        memory["join and open"][count], memory["open"][count] = 1e9 / 2**20 * first["rss"], 1e9 / 2**20 * second["rss"]
    return costs, memory


MEASURES: dict[str, Callable[[Namespace], tuple[Costs, Costs]]] = {
    "classes": of_classes,
    "shots": of_shots,
    "images": of_images,
}


# -- what is told -------------------------------------------------------------------------------------------


def exponents(cost: dict[int, float]) -> tuple[float, float]:
    """Of the power law through all sizes, and between the two largest."""
    sizes, seconds = list(cost), list(cost.values())
    return feature_store.fitted(sizes, seconds), feature_store.fitted(sizes[-2:], seconds[-2:])


def table(what: str, costs: Costs, memory: Costs) -> str:
    sizes = list(next(iter(costs.values())))
    rows = []
    for name, cost in costs.items():
        fit, last = exponents(cost) if len(sizes) > 1 else (math.nan, math.nan)
        held = f"{memory[name][sizes[-1]]:,.0f}" if name in memory else ""
        rows.append([name, *(f"{seconds:.3g}" for seconds in cost.values()), f"{fit:.2f}", f"{last:.2f}", held])
    head = ["seconds", *(f"{size:,} {what}" for size in sizes), "exponent", "last", f"MiB, {sizes[-1]:,}"]
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)


def draw(found: dict[str, Costs]) -> Figure:
    figure = Figure(figsize=(6.2 * len(found), 5.6))
    for i, (what, costs) in enumerate(found.items()):
        axes = figure.add_subplot(1, len(found), i + 1)
        for k, (name, cost) in enumerate(costs.items()):
            style: dict[str, str] = {"color": COLOURS[k], "marker": MARKERS[k]}
            axes.loglog(list(cost), list(cost.values()), label=f"{name}: {exponents(cost)[0]:.2f}", **style)
        axes.set_xlabel(what if what != "images" else "images in the store")
        axes.set_ylabel("seconds")
        axes.legend(title="what: exponent", loc="upper center", bbox_to_anchor=(0.5, -0.16))
    return figure


if __name__ == "__main__":
    main()
