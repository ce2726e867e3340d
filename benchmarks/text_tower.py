"""Text tower: forward and backward against OpenAI's 77-token pass, side by side in one run.

    python benchmarks/text_tower.py [--device cuda] [--repeats 5]

The tower has ViT-B/16's shape (12 layers, width 512, 8 heads) with random weights; prompts are 4 context
vectors and the class names of EuroSAT and Caltech-101. Printed: seconds, their ratio, and the largest
difference of features and gradient relative to the largest reference value. The two passes alternate, and
the fastest of the repeats counts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch
from tabulate import tabulate
from torch import Tensor

from benchmarks.names import CALTECH101, EUROSAT
from shipclip.backbones import Backbone
from shipclip.backbones.openai import package, random_clip, wrap
from shipclip.backbones.prompts import PromptLearner
from shipclip.precision import Precision
from shipclip.profiling import synchronise

N_CTX = 4
SHAPE = (512, 32, 1, 64, 32, 77, 49408, 512, 8, 12)  # CLIP's arguments: the text tower's of ViT-B/16, little else


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    model = random_clip(*SHAPE).to(args.device)
    clip = wrap(model, Precision("fp32", device_type=args.device), "ViT-B/16's text tower")
    rows = [
        compare(clip, title, names, args.repeats)
        for title, names in (("EuroSAT", EUROSAT), ("Caltech-101", CALTECH101))
    ]
    threads = f"{torch.get_num_threads()} threads" if args.device == "cpu" else torch.cuda.get_device_name()
    print(f"torch {torch.__version__}, {args.device}, {threads}, fp32, forward and backward, {N_CTX} context vectors")
    headers = [
        "class names",
        "classes",
        "77 tokens (s)",
        "TextTower (s)",
        "ratio",
        "feature diff.",
        "gradient diff.",
    ]
    print(tabulate(rows, headers, floatfmt=("", "", ".4f", ".4f", ".1f", ".1e", ".1e")))


def compare(clip: Backbone, title: str, names: list[str], repeats: int) -> list:
    learner = PromptLearner(clip, N_CTX, rng=torch.Generator().manual_seed(0))
    classes = clip.class_tokens(names, N_CTX)
    plain = PlainPass(clip, names)
    weight = torch.randn(len(names), clip.dim, device=clip.device)  # stands in for the loss
    passes: list[Callable[[], Tensor]] = [lambda: plain(learner.ctx), lambda: clip.text(learner(classes))[0]]
    seconds, features, gradients = [[], []], [None, None], [None, None]
    for _ in range(repeats + 1):  # the first round warms up
        for which, forward in enumerate(passes):
            learner.ctx.grad = None
            synchronise(clip.device)
            start = time.perf_counter()
            features[which] = forward()
            (features[which] * weight).sum().backward()
            synchronise(clip.device)
            seconds[which].append(time.perf_counter() - start)
            gradients[which] = learner.ctx.grad.clone()
    best = [min(times[1:]) for times in seconds]
    return [title, len(names), *best, best[0] / best[1], difference(*features), difference(*gradients)]


class PlainPass:
    """CoOp's way: every prompt padded to 77 tokens, OpenAI's transformer over all of them, the EOT's row."""

    def __init__(self, clip: Backbone, names: list[str]):
        self.model = clip.model
        tokens = package().tokenize([" ".join(["X"] * N_CTX) + f" {name.replace('_', ' ')}." for name in names])
        self.eot = tokens.argmax(dim=1).to(clip.device)
        self.embedded = clip.embed(tokens)  # (C, 77, w)

    def __call__(self, ctx: Tensor) -> Tensor:
        model, C = self.model, len(self.embedded)
        x = torch.cat([self.embedded[:, :1], ctx.expand(C, -1, -1), self.embedded[:, 1 + N_CTX :]], dim=1)
        x = model.transformer((x + model.positional_embedding).transpose(0, 1)).transpose(0, 1)
        x = model.ln_final(x)
        return x[torch.arange(C), self.eot] @ model.text_projection


def difference(reference: Tensor, other: Tensor) -> float:
    return ((reference - other).abs().max() / reference.abs().max()).item()


if __name__ == "__main__":
    main()
