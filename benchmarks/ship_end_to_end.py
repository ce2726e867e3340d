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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import embedded  # noqa: F401  an installed Dassl wins over the embedded one

import torch
import torch.nn.functional as F
from dassl.data.transforms import build_transform
from dassl.optim import build_optimizer
from dassl.utils import read_image
from tabulate import tabulate
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter  # noqa: F401  imported before the clock starts: it takes seconds

import train
from trainers.prompting.clip import FrozenCLIP, normalise, tokenize
from trainers.prompting.prompts import PromptLearner
from trainers.prompting.rng import seeded, stream
from trainers.ship import SHIP
from trainers.ship.generators.vae import VAE

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
        trainer = Recorded(config(args, output))
        start = time.perf_counter()
        trainer.train()
        fast = time.perf_counter() - start
        start = time.perf_counter()
        plain = PlainLoop(trainer).train(args.epochs)
        return (fast, trainer.curves), (time.perf_counter() - start, plain)


@contextmanager
def float64() -> Iterator[None]:
    """Everything in double precision, also where the code and CLIP's layer norm ask for float."""
    from clip.model import LayerNorm

    was = torch.Tensor.float, nn.Module.float, LayerNorm.forward
    torch.Tensor.float, nn.Module.float, LayerNorm.forward = torch.Tensor.double, nn.Module.double, nn.LayerNorm.forward
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.Tensor.float, nn.Module.float, LayerNorm.forward = was
        torch.set_default_dtype(torch.float32)


def config(args: argparse.Namespace, output: str):
    flags = ["--root", args.root, "--output-dir", output, "--trainer", "SHIP", "--seed", "1"]
    files = ["--dataset-config-file", "configs/datasets/miniworld.yaml"]
    files += ["--config-file", "configs/trainers/SHIP/miniclip.yaml"]
    options = [
        "DATASET.NUM_SHOTS",
        "16",
        "DATASET.SUBSAMPLE_CLASSES",
        "base",
        "TEST.NO_TEST",
        "True",
        "VERBOSE",
        "False",
    ]
    options += ["OPTIM.MAX_EPOCH", str(args.epochs), "TRAINER.SHIP.GENERATOR.EPOCHS", str(args.epochs)]
    return train.setup_cfg(train.parse_args([*flags, *files, *options]))


class Recorded(SHIP):
    """SHIP that keeps its curves."""

    def write_scalar(self, tag: str, value: float, step: int | None = None) -> None:
        self.__dict__.setdefault("curves", {}).setdefault(tag, []).append(value)
        super().write_scalar(tag, value, step)


class PlainLoop:
    """The reference code's way of doing the same updates."""

    def __init__(self, trainer: SHIP):
        self.trainer, self.clip, self.seed = trainer, trainer.clip, trainer.seed
        self.items = trainer.dm.dataset.train_x
        self.labels = torch.tensor([item.label for item in self.items])
        self.names = list(trainer.names)
        self.transform = build_transform(trainer.cfg, is_train=True)
        self.options = trainer.options
        self.text = PlainText(self.clip)

    def train(self, epochs: int) -> Curves:
        vae, first = self.stage1(epochs)
        return {**first, **self.stage2(vae, epochs)}

    def stage1(self, epochs: int) -> tuple[VAE, Curves]:
        options = self.options.GENERATOR
        vae = VAE(self.clip, self.names, options, self.seed)
        optimizer = torch.optim.AdamW(vae.parameters(), lr=options.LR)
        curves: Curves = {"generator/reconstruction": [], "generator/kl": []}
        for epoch in range(epochs):
            rng = stream(self.seed, "stage1", epoch)
            total, count = torch.zeros(2), 0
            for rows, view in self.batches(rng, options.BATCH_SIZE, drop_last=False):
                x = self.encode(rows, view)
                mean, log_var = vae.encoder(x)
                z = mean + (log_var / 2).exp() * torch.randn(x.shape, generator=rng)
                x_hat = self.decode(vae, z, self.labels[rows])
                reconstruction = (x_hat - x).square().sum(dim=1).mean()
                kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(dim=1).mean()
                optimizer.zero_grad()
                (reconstruction + options.KL_WEIGHT * kl).backward()
                optimizer.step()
                total += torch.stack([reconstruction.detach(), kl.detach()]) * len(x)
                count += len(x)
            for tag, value in zip(curves, (total / count).tolist(), strict=True):
                curves[tag].append(value)
        return vae, curves

    def stage2(self, vae: VAE, epochs: int) -> Curves:
        trainer, options = self.trainer, self.options
        learner = PromptLearner(self.clip, options.N_CTX, options.CTX_INIT, rng=stream(self.seed, "context"))
        optimizer = build_optimizer(learner, trainer.cfg.OPTIM)
        trainer.optim = optimizer
        schedule = trainer.build_scheduler()
        losses = []
        for epoch in range(epochs):
            rng, total = stream(self.seed, "train", epoch), []
            for rows, view in self.batches(rng, trainer.cfg.DATALOADER.TRAIN_X.BATCH_SIZE, options.DROP_LAST):
                x = self.encode(rows, view)
                new = torch.randint(trainer.n_base, trainer.n_base + trainer.n_new, (len(rows),), generator=rng)
                with torch.no_grad():
                    synthetic = self.decode(vae, torch.randn(len(new), self.clip.dim, generator=rng), new)
                class_features = normalise(self.text(learner.ctx.expand(len(self.names), -1, -1), self.names))
                logits = options.LOGIT_SCALE * torch.cat([x, synthetic]) @ class_features.T
                loss = F.cross_entropy(logits, torch.cat([self.labels[rows], new]))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if options.STEP_SCHEDULE:
                    schedule.step()
                total.append(loss.item())
            if not options.STEP_SCHEDULE:
                schedule.step()
            losses.append(sum(total) / len(total))
        return {"train/loss": losses}

    def batches(self, rng: torch.Generator, size: int, drop_last: bool):
        """(images, view of each) in the order that the feature loader draws them."""
        n = len(self.items)
        view = torch.randint(self.trainer.cfg.FEATURES.VIEWS, (n,), generator=rng)
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

    def __init__(self, clip: FrozenCLIP):
        super().__init__()
        self.model = clip.model

    def forward(self, ctx: Tensor, names: list[str]) -> Tensor:
        model, n = self.model, ctx.shape[1]
        tokens = tokenize([" ".join(["X"] * n) + f" {name.replace('_', ' ')}." for name in names])
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
