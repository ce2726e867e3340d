"""Training steps through the text tower, ViT-B/16's shape, against the 77-token pass: seconds and memory in one run.

    python -m benchmarks.steps [--repeats 2] [--only CoCoOp] [--precision bf16]

Every step is forward and backward, with random weights, both sides in float32 or under the same autocast. The 77-token
pass costs the same for any prompt, so it is measured on PLAIN prompts, as many as fit a small machine, and its seconds
are extrapolated to the row's prompts; so is its memory, but for CoCoOp's row, where eight plain steps of batch 1 need
the memory of one. Memory is the peak of the process above what it held before the step (Linux alone). The share of the
peak is that of a float32 matrix product, measured beforehand.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from tabulate import tabulate

from benchmarks.names import CALTECH101
from benchmarks.text_tower import N_CTX, SHAPE, PlainPass
from shipclip.backbones import Backbone
from shipclip.backbones.openai import random_clip, wrap
from shipclip.generators.vae import VAE, VAEOptions
from shipclip.learners.cocoop import CoCoOp, CoCoOpOptions
from shipclip.learners.coop import CoOp, CoOpOptions
from shipclip.precision import Precision
from shipclip.profiling import counted, matrix_peak, peak_memory, synchronise
from shipclip.texts import Texts

PLAIN = 50  # prompts of the measured 77-token step: CoCoOp's step of batch 1 with 50 classes
Step = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--only", default="", help="rows whose name begins so")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "amp", "bf16"), help="of both sides")
    args = parser.parse_args()
    model = random_clip(*SHAPE).to(args.device)
    precision = Precision.choose(args.precision, args.device)
    clip = wrap(model, precision, "ViT-B/16's text tower")
    best = matrix_peak(args.device)
    plain, plain_memory, _ = measure(plain_step(clip), clip, args.repeats)
    rows = []
    for title, make, prompts, of_one in ROWS:
        if title.startswith(args.only) if args.only else title != LARGE:
            step = make(clip)
            seconds, memory, work = measure(step, clip, args.repeats)
            other, held = plain * prompts / PLAIN, plain_memory * (1 if of_one else prompts / PLAIN)
            best = max(best, matrix_peak(args.device))  # a neighbour may have been busy before
            rows.append(
                [
                    title,
                    prompts,
                    other,
                    seconds,
                    other / seconds,
                    prompts / seconds,
                    held,
                    memory,
                    work / seconds,
                ]
            )
    for row in rows:
        row[-1] /= best
    where = f"{torch.get_num_threads()} threads" if args.device == "cpu" else torch.cuda.get_device_name()
    where = f"{args.device}, {where}, {precision.name}"
    print(f"torch {torch.__version__}, {where}, matrix peak in float32 {best / 1e9:.0f} GFLOP/s")
    head = ["step", "prompts", "77 tokens (s)", "ours (s)", "ratio", "prompts/s", "77 tokens (MiB)", "ours (MiB)"]
    print(tabulate(rows, [*head, "of peak"], floatfmt=("", "", ".2f", ".3f", ".1f", ".0f", ".0f", ".0f", ".2f")))


# -- steps --------------------------------------------------------------------------------------------------


def plain_step(clip: Backbone) -> Step:
    ctx = torch.randn(N_CTX, clip.width, device=clip.device).mul_(0.02).requires_grad_()
    forward = PlainPass(clip, CALTECH101[:PLAIN])
    return descent(clip, lambda: forward(ctx).square().sum())


def descent(clip: Backbone, loss: Callable[[], torch.Tensor]) -> Step:
    """A loss in the backbone's precision, and its backward pass."""

    def step() -> None:
        with clip.precision.training_step():
            value = loss()
        value.backward()

    return step


def names(count: int) -> list[str]:
    """As long as Caltech-101's."""
    return [f"{CALTECH101[i % 100]} {CALTECH101[i // 100].split('_')[0]}" for i in range(count)]


def coop(classes: int, n_ctx: int) -> Callable[[Backbone], Step]:
    def make(clip: Backbone) -> Step:
        learner = CoOp(clip, CALTECH101 if classes == 100 else names(classes), CoOpOptions(n_ctx=n_ctx), 1, Texts())
        x, labels = images(clip, 32), torch.arange(32, device=clip.device) % classes
        return descent(clip, lambda: learner.loss(x, labels)["loss"])

    return make


def cocoop(clip: Backbone) -> Step:
    learner = CoCoOp(clip, CALTECH101[:50], CoCoOpOptions(n_ctx=4, prompts_at_once=100), 1, Texts())
    x, labels = images(clip, 8), torch.arange(8, device=clip.device)
    return descent(clip, lambda: learner.loss(x, labels)["loss"])


def stage1(clip: Backbone) -> Step:
    return stage1_of(VAE(clip, CALTECH101, VAEOptions(), 1), 100)


def stage1_of(vae: VAE, shown: int) -> Step:
    """On images of the first `shown` of the generator's classes."""
    x, labels = images(vae.backbone, 256), torch.arange(256) % shown
    noise = torch.randn_like(x)

    def loss() -> torch.Tensor:
        reconstruction, kl, _ = vae.elbo_terms(x, labels, noise)
        return reconstruction + kl

    return descent(vae.backbone, loss)


def images(clip: Backbone, count: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, clip.dim, device=clip.device), dim=1)


LARGE = "CoOp, 5,000 names, 4 vectors"  # takes minutes: only where it is asked for
ROWS = [  # title, step, prompts, whether the plain way needs the memory of PLAIN prompts alone
    ("CoOp, 100 names, 16 vectors", coop(100, 16), 100, False),
    ("CoOp, 1,000 names, 4 vectors", coop(1000, 4), 1000, False),
    (LARGE, coop(5000, 4), 5000, False),
    ("SHIP stage 1, batch 256", stage1, 256, False),
    ("CoCoOp, 50 classes, batch 8", cocoop, 400, True),
]


# -- measuring ----------------------------------------------------------------------------------------------


def measure(step: Step, clip: Backbone, repeats: int) -> tuple[float, float, int]:
    """Seconds of the fastest repeat, and the peak of memory in MiB above what was held before, and FLOP of a step; the
    first warms up and is counted."""
    seconds, memory, work = [], 0.0, flops(step)
    for _ in range(repeats):
        before = peak_memory(clip.device.type, reset=True)
        synchronise(clip.device)
        start = time.perf_counter()
        step()
        synchronise(clip.device)
        seconds.append(time.perf_counter() - start)
        memory = max(memory, peak_memory(clip.device.type) - before)
    return min(seconds), memory, work


def flops(step: Step) -> int:
    with counted() as found:
        step()
    return found[0]


if __name__ == "__main__":
    main()
