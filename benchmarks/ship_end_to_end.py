"""SHIP on the embedded default against a plain reference loop, side by side in one run.

    python benchmarks/ship_end_to_end.py [--epochs 50] [--root data]

The plain loop does what the reference code does in each step: read and augment the images of the batch, run
them through the image tower, tokenise all class names, run the text tower over all 77 positions. It makes the
same updates on the same views with the same random numbers. SHIP's time includes encoding its views.

Both are timed in float32. There the loss curves drift apart in the end, because the embedded learning rate
amplifies rounding; so both are run again in float64, where the curves must agree to the last epoch.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import embedded  # noqa: F401  an installed Dassl wins over the embedded one

import torch
import torch.nn.functional as F
from tabulate import tabulate
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter  # noqa: F401  imported before the clock starts: it takes seconds

import train
from shipclip.backbones import Backbone, normalise
from shipclip.backbones.openai import package
from shipclip.backbones.prompts import PromptLearner
from shipclip.features.images import read_image
from shipclip.features.transforms import training_transform
from shipclip.generators.vae import VAE
from shipclip.optim import build_optimizer, build_schedule
from shipclip.rng import seeded, stream
from trainers.ship import SHIP

Curves = dict[str, list[float]]  # tag -> one mean loss an epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=50, help="of each stage")
    parser.add_argument("--root", default="data")
    args = parser.parse_args()
    os.chdir(Path(__file__).resolve().parents[1])
    print("Timing both in float32 ...", flush=True)
    (fast, curves), (slow, plain) = both(args)
    print("Comparing the curves in float64 ...", flush=True)
    with float64():
        (_, exact), (_, exact_plain) = both(args)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {args.epochs} epochs a stage, seed 1")
    rows = [["plain loop", slow, 1.0], ["SHIP", fast, slow / fast]]
    print(tabulate(rows, ["", "training (s)", "times faster"], floatfmt=("", ".1f", ".1f")))
    rows = [
        [tag, kind, ours[tag][-1], theirs[tag][-1], largest_difference(ours[tag], theirs[tag])]
        for tag in plain
        for kind, ours, theirs in (("float32", curves, plain), ("float64", exact, exact_plain))
    ]
    headers = ["loss curve", "", "SHIP, last epoch", "plain, last epoch", "largest relative difference"]
    print(tabulate(rows, headers, floatfmt=("", "", ".6f", ".6f", ".1e")))


def both(args: argparse.Namespace) -> tuple[tuple[float, Curves], tuple[float, Curves]]:
    """(seconds, loss curves) of SHIP and of the plain loop."""
    with tempfile.TemporaryDirectory() as output, redirect_stdout(None):
        trainer, curves = SHIP(config(args, output)), {}
        trainer.session.run.scalar = lambda tag, value, step: curves.setdefault(tag, []).append(value)
        start = time.perf_counter()
        trainer.train()
        fast = time.perf_counter() - start
        start = time.perf_counter()
        plain = PlainLoop(trainer).train(args.epochs)
        return (fast, curves), (time.perf_counter() - start, plain)


@contextmanager
def float64() -> Iterator[None]:
    """Everything in double precision, also where the code and CLIP's layer norm ask for float."""
    LayerNorm = package().model.LayerNorm
    was = torch.Tensor.float, nn.Module.float, LayerNorm.forward
    torch.Tensor.float, nn.Module.float, LayerNorm.forward = torch.Tensor.double, nn.Module.double, nn.LayerNorm.forward
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.Tensor.float, nn.Module.float, LayerNorm.forward = was
        torch.set_default_dtype(torch.float32)


def config(args: argparse.Namespace, output: str) -> Any:
    epochs = ("OPTIM.MAX_EPOCH", str(args.epochs), "TRAINER.SHIP.GENERATOR.EPOCHS", str(args.epochs))
    return config_of(args.root, output, "miniclip", "DATASET.NUM_SHOTS", "16", "TEST.NO_TEST", "True", *epochs)


def config_of(root: str, output: str, file: str, *options: str) -> Any:
    """SHIP on the base classes of MiniWorld, seed 1, with one of its config files."""
    flags = ["--root", root, "--output-dir", output, "--trainer", "SHIP", "--seed", "1"]
    flags += ["--dataset-config-file", "configs/datasets/miniworld.yaml"]
    flags += ["--config-file", f"configs/trainers/SHIP/{file}.yaml"]
    own = ["DATASET.SUBSAMPLE_CLASSES", "base", "VERBOSE", "False"]
    return train.setup_cfg(train.parse_args([*flags, *own, *options]))


class PlainLoop:
    """The reference code's way of doing the same updates."""

    def __init__(self, trainer: SHIP):
        method = trainer.method
        self.settings, self.clip, self.seed = method.settings, method.backbone, method.seed
        self.items = method.task.train
        self.labels = torch.tensor([item.label for item in self.items])
        self.names, self.n_base = list(method.names), method.n_base
        self.transform = training_transform(self.settings.input, self.clip.preprocessing)
        self.text = PlainText(self.clip)

    def train(self, epochs: int) -> Curves:
        vae, first = self.stage1(epochs)
        return {**first, **self.stage2(vae, epochs)}

    def stage1(self, epochs: int) -> tuple[VAE, Curves]:
        options = self.settings.generator
        vae = VAE(self.clip, self.names, options, self.seed)
        optimizer = torch.optim.AdamW(vae.parameters(), lr=options.lr)
        curves: Curves = {"generator/reconstruction": [], "generator/kl": []}
        for epoch in range(epochs):
            rng = stream(self.seed, "stage1", epoch)
            total, count = torch.zeros(2), 0
            for rows, view in self.batches(rng, options.batch_size, drop_last=False):
                x = self.encode(rows, view)
                mean, log_var = vae.encoder(x)
                z = mean + (log_var / 2).exp() * torch.randn(x.shape, generator=rng)
                x_hat = self.decode(vae, z, self.labels[rows])
                reconstruction = (x_hat - x).square().sum(dim=1).mean()
                kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(dim=1).mean()
                optimizer.zero_grad()
                (reconstruction + options.kl_weight * kl).backward()
                optimizer.step()
                total += torch.stack([reconstruction.detach(), kl.detach()]) * len(x)
                count += len(x)
            for tag, value in zip(curves, (total / count).tolist(), strict=True):
                curves[tag].append(value)
        return vae, curves

    def stage2(self, vae: VAE, epochs: int) -> Curves:
        options, optim, size = self.settings.ship, self.settings.optim, self.settings.batch_size
        learner = PromptLearner(self.clip, options.n_ctx, options.ctx_init, rng=stream(self.seed, "context"))
        optimizer = build_optimizer(learner.parameters(), optim)
        count = len(self.items) // size if options.drop_last else -(-len(self.items) // size)
        schedule = build_schedule(optimizer, optim, count if options.step_schedule else 1)
        losses = []
        for epoch in range(epochs):
            rng, total = stream(self.seed, "train", epoch), []
            for rows, view in self.batches(rng, size, options.drop_last):
                x = self.encode(rows, view)
                new = torch.randint(self.n_base, len(self.names), (len(rows),), generator=rng)
                with torch.no_grad():
                    synthetic = self.decode(vae, torch.randn(len(new), self.clip.dim, generator=rng), new)
                class_features = normalise(self.text(learner.ctx.expand(len(self.names), -1, -1), self.names))
                logits = options.logit_scale * torch.cat([x, synthetic]) @ class_features.T
                loss = F.cross_entropy(logits, torch.cat([self.labels[rows], new]))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if options.step_schedule:
                    schedule.step()
                total.append(loss.item())
            if not options.step_schedule:
                schedule.step()
            losses.append(sum(total) / len(total))
        return {"train/loss": losses}

    def batches(self, rng: torch.Generator, size: int, drop_last: bool):
        """(images, view of each) in the order that the feature loader draws them."""
        n = len(self.items)
        view = torch.randint(self.settings.features.views, (n,), generator=rng)
        batches = torch.randperm(n, generator=rng).split(size)
        for rows in batches[: n // size] if drop_last and n >= size else batches:
            yield rows, view[rows]

    @torch.no_grad()
    def encode(self, rows: Tensor, views: Tensor) -> Tensor:
        images = []
        for row, view in zip(rows.tolist(), views.tolist(), strict=True):
            with seeded(self.seed, "view", view, row):
                images.append(self.transform(read_image(self.items[row].impath)))
        return normalise(self.clip.model.encode_image(torch.stack(images)))

    def decode(self, vae: VAE, z: Tensor, labels: Tensor) -> Tensor:
        ctx = vae.prompt.ctx + vae.generator(z)[:, None]  # (B, n, w)
        return normalise(self.text(ctx, [self.names[label] for label in labels.tolist()]))


class PlainText(nn.Module):
    """Tokenise, embed, put the context in, run all 77 positions, take the EOT's row."""

    def __init__(self, clip: Backbone):
        super().__init__()
        self.model = clip.model

    def forward(self, ctx: Tensor, names: list[str]) -> Tensor:
        model, n = self.model, ctx.shape[1]
        tokens = package().tokenize([" ".join(["X"] * n) + f" {name.replace('_', ' ')}." for name in names])
        with torch.no_grad():
            embedded = model.token_embedding(tokens)
        x = torch.cat([embedded[:, :1], ctx, embedded[:, 1 + n :]], dim=1) + model.positional_embedding
        x = model.ln_final(model.transformer(x.transpose(0, 1)).transpose(0, 1))
        return x[torch.arange(len(x)), tokens.argmax(dim=1)] @ model.text_projection


def largest_difference(curve: list[float], other: list[float]) -> float:
    a, b = torch.tensor([curve, other], dtype=torch.float64)
    return ((a - b).abs() / b.abs()).max().item()


if __name__ == "__main__":
    main()
