"""SHIP from base to new in the published shape, ViT-B/16, at the published epochs, against a plain reference loop.

    python -m benchmarks.ship_vit_b16 [--epochs 1] [--shots 16] [--root data] [--bf16]

Weights are random, images MiniWorld's at 224 pixels (36 base classes, 36 new ones); everything else is
configs/trainers/SHIP/vit_b16.yaml. Both sides train few epochs of each stage, and are extrapolated alike to the
config's; so are the images that are encoded, by the seconds of some: ours once for each view, the plain loop's in every
epoch, and on both sides each test image once. What is short is timed before, between and after the plain loop's stages
and averaged, for a machine's speed is not the same from minute to minute. Loading CLIP and writing results is on
neither side. The last row is SHIP with TRAINER.SHIP.PREC bf16, which changes results in the third digit of a feature;
the plain loop is float32, as the reference is. A CPU without instructions for bfloat16 takes an hour for that row, and
has it only with --bf16.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import embedded  # noqa: F401  an installed Dassl wins over the embedded one

import torch
from tabulate import tabulate

from benchmarks.ship_end_to_end import PlainLoop, config_of
from benchmarks.steps import images
from shipclip import method as methods
from shipclip import profiling
from shipclip.backbones.openai import random_clip
from shipclip.features.bank import FeatureBank
from shipclip.features.encode import encode
from shipclip.machine import multiplies_bfloat16
from shipclip.run import Run
from trainers.ship import SHIP

VIT_B16 = (512, 224, 12, 768, 16, 77, 49408, 512, 8, 12)  # CLIP's arguments
SOME = 64  # images whose encoding is timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=1, help="of each stage, on both sides")
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--root", default="data")
    parser.add_argument("--bf16", action="store_true", default=multiplies_bfloat16(), help="SHIP in bfloat16 as well")
    args = parser.parse_args()
    os.chdir(Path(__file__).resolve().parents[1])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ViT-B-16.pt"
        torch.save(random_clip(*VIT_B16).state_dict(), file)
        told = measure(args, file)
    print(told)


def measure(args: argparse.Namespace, weights: Path) -> str:
    whole = config(args, weights)
    stages, views = (whole.TRAINER.SHIP.GENERATOR.EPOCHS, whole.OPTIM.MAX_EPOCH), whole.FEATURES.VIEWS
    few = ("OPTIM.MAX_EPOCH", str(args.epochs), "TRAINER.SHIP.GENERATOR.EPOCHS", str(args.epochs))
    few = (*few, "FEATURES.VIEWS", "1", "TRAINER.SHIP.PREC")
    precisions = ("fp32", "bf16") if args.bf16 else ("fp32",)
    ships = {precision: SHIP(config(args, weights, *few, precision)) for precision in precisions}
    method, plain = ships["fp32"].method, PlainLoop(ships["fp32"])
    N, tests = len(method.task.train), len(method.task.test)

    some = method.source.views(method.task.train[:SOME], training=True)
    labels = torch.tensor([item.label for item in method.task.train])
    bank = FeatureBank(images(method.backbone, N)[None], labels)  # what is learned from hangs not on what it is
    found: dict[tuple[str, str], list[float]] = {}  # seconds of each side's parts

    def timed(side: str, part: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        made = work()
        found.setdefault((side, part), []).append(time.perf_counter() - start)
        return made

    def encoded_plainly() -> None:
        plain.encode(torch.arange(SOME), torch.zeros(SOME, dtype=torch.long))

    def ours() -> None:
        timed("plain loop", "encoding", encoded_plainly)
        for precision, trainer in ships.items():
            method, stage, side = trainer.method, trainer.session.stage, f"SHIP, {precision}"
            timed(side, "encoding", lambda method=method: encode(method.backbone, some))
            method.source._banks["augmented"] = bank
            timed(side, "stage 1", lambda method=method: methods.fit_generator(method, Run()))
            timed(side, "stage 2", lambda method=method, stage=stage: methods.tune(method, stage, Run()))

    ours()  # what is tuned four times goes on from the last schedule, which takes as long
    found.clear()  # that was to warm up
    ours()
    vae, _ = timed("plain loop", "stage 1", lambda: plain.stage1(args.epochs))
    ours()
    timed("plain loop", "stage 2", lambda: plain.stage2(vae, args.epochs))
    ours()
    mean = {key: sum(times) / len(times) for key, times in found.items()}
    counts = {"plain loop": tests, **{f"SHIP, {precision}": views * N + tests for precision in ships}}
    rows = []
    for side, count in counts.items():
        trained = (mean[side, f"stage {i + 1}"] / args.epochs * epochs for i, epochs in enumerate(stages))
        parts = [mean[side, "encoding"] / SOME * count, *trained]
        rows.append([side, f"{count:,}", *parts, sum(parts)])
    theirs = rows[0][-1]
    for row in rows:
        row.append(theirs / row[-1])
    head = ["", "images encoded beside", "encoding (s)", f"stage 1, {stages[0]} epochs (s)"]
    head += [f"stage 2, {stages[1]} epochs (s)", "all (s)", "times faster"]
    facts = f"torch {torch.__version__}, {profiling.threads()}, {N} images of {method.n_base} base classes"
    rates = ", ".join(f"{side} {SOME / mean[side, 'encoding']:.1f}" for side in counts)
    spread = max(max(times) / min(times) for times in found.values())
    facts += f"; images/s encoded: {rates}; the times that are means are up to {spread:.2f} times apart"
    return f"{facts}\n{tabulate(rows, head, floatfmt='.1f')}"


def config(args: argparse.Namespace, weights: Path, *options: str) -> Any:
    own = ("DATALOADER.NUM_WORKERS", "0", "MODEL.BACKBONE.PATH", str(weights), "MODEL.BACKBONE.ACTIVATION", "quickgelu")
    return config_of(args.root, "", "vit_b16", "DATASET.NUM_SHOTS", str(args.shots), *own, *options)


if __name__ == "__main__":
    main()
