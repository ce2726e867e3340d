"""Train MiniCLIP on the rendered world, from nothing.

    python -m shipclip.miniclip.train [--naming 4500] [--pairs 2500] [--work DIR]

Renders a pool of images of all 432 classes in all the variety of `WEB`, and does two things with it:

1. *Naming.* The image tower learns to name what it sees, colour, texture, shape and every fact of the scene, through
   linear heads that are thrown away. It begins with `EASY` images, because shape is learned last.
2. *Pairs.* Image and text tower are fitted to each other with CLIP's contrastive loss. Naming saves most of this stage:
   from nothing the towers learn the scene first and shape never, in the time that two cores have.

What differs from CLIP's loss:

* A caption may fit several images of a batch, and all pairs that fit count as positives (UniCL, Yang
  et al., CVPR 2022).
* Three kinds of batches: any images; look-alikes, with few colours and textures; and images of a few classes, which
  nothing but the scene tells apart, because else no tower has a reason to keep it.
* At times a caption starts with random vectors, so that the text tower tolerates learned context.

A killed run goes on from its last checkpoint in the work folder; the finished weights and the log are put beside this
file.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor, nn

from ..backbones.openai import package
from ..files import write_tensors, write_text
from ..machine import keep_memory, leave_quickly
from . import world
from .captions import caption, encode, fits, vocabulary
from .facts import FACTS
from .images import Images, image_pool, validation_images
from .scene import WEB
from .towers import image_features, text_features
from .weights import FILE, INIT_SEED, MEAN, STD, initial_rows, save_compact

POSITIONS = 48  # text positions that training reaches: 16 vectors of context and a long caption
VISION = {
    "embed_dim": 128,
    "image_resolution": 64,
    "vision_layers": 4,
    "vision_width": 128,
    "vision_patch_size": 8,
}
TEXT = {"transformer_width": 128, "transformer_heads": 2, "transformer_layers": 3}
PEAK_LR, VISION_LR, DECAY, WARMUP, CLIP_NORM = 1.2e-3, 4e-4, 0.05, 100, 1.0
NAMING_BATCH, PAIRS_BATCH = 128, 256
EASY_UNTIL = 0.45  # share of the naming stage in which easy images grow fewer and fewer, from all to none
FACT_WEIGHT = 0.2  # of a fact's loss when naming; an attribute's has 1
KINDS = ("any", "alike", "few")  # of batches of pairs
SHARES = (0.35, 0.35, 0.30)
MENTIONED = (0.35, 0.15, 0.60)  # how often a fact is mentioned in the captions of each kind
CONTEXT_RATE = 0.05  # batches whose captions start with random vectors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--naming", type=int, default=4500, help="steps of the first stage")
    parser.add_argument("--pairs", type=int, default=2500, help="steps of the second stage")
    parser.add_argument("--images", type=int, default=180_000, help="size of the rendered pool, a fifth of it easy")
    parser.add_argument("--work", type=Path, default=Path("output/miniclip"), help="pool and checkpoints")
    parser.add_argument("--out", type=Path, default=FILE, help="where the finished weights go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stop", type=int, default=None, help="stop after this many steps, to go on later")
    parser.add_argument("--every", type=int, default=500, help="steps between checkpoints and log lines")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    leave_quickly()
    keep_memory(2**30)
    Training(args).run()


class Training:
    """Both stages; a step is a function of the seed and its number alone."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.steps = args, args.naming + args.pairs
        self.pool = image_pool(args.work / f"pool{args.images}.npz", args.images, args.seed)
        attributes, place = np.unique(self.pool.attributes[self.pool.easy :], axis=0, return_inverse=True)
        self.classes = attributes  # of the pairs, (C, 3)
        self.of_class = [np.flatnonzero(place.ravel() == c) + self.pool.easy for c in range(len(attributes))]
        self.vocabulary = vocabulary()
        self.compact = {token: i for i, token in enumerate(self.vocabulary)}
        self.model = build(self.vocabulary)
        self.heads = nn.Linear(VISION["embed_dim"], sum(SIZES))
        self.held_out = validation_images(WEB)

    # -- the loop -----------------------------------------------------------------------------------------

    def run(self) -> None:
        args, model = self.args, self.model
        optimizer, log, start, seconds = None, [], 0, 0.0
        checkpoint = args.work / "checkpoint.pt"
        state = torch.load(checkpoint, weights_only=True) if checkpoint.is_file() else None
        if state:
            model.load_state_dict(state["model"])
            self.heads.load_state_dict(state["heads"])
            start, log, seconds = state["step"], state["log"], state["seconds"]
            print(f"going on from step {start}", flush=True)
        began, losses = time.time(), {}
        for step in range(start, min(self.steps, args.stop or self.steps)):
            if optimizer is None or step == args.naming:
                optimizer = self.optimizer(step)
                if state and (start <= args.naming) == (step < args.naming):  # the stage of the last step done
                    optimizer.load_state_dict(state["optimizer"])
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * self.schedule(step)
            kind, loss = self.naming_loss(step) if step < args.naming else self.pairs_loss(step - args.naming)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], CLIP_NORM)
            optimizer.step()
            model.logit_scale.data.clamp_(0, math.log(100))
            losses.setdefault(kind, []).append(loss.item())
            done = step + 1
            if done % args.every == 0 or done in (args.naming, self.steps):
                spent = seconds + time.time() - began
                log.append(self.log_line(done, losses, spent))
                print({k: v for k, v in zip(LOG_COLUMNS, log[-1], strict=True) if v != ""}, flush=True)
                losses = {}
                parts = {"model": model, "heads": self.heads, "optimizer": optimizer}
                saved = {name: part.state_dict() for name, part in parts.items()}
                write_tensors(checkpoint, {**saved, "step": done, "log": log, "seconds": spent})
                save_compact(args.out, model.state_dict(), self.vocabulary)
                rows = io.StringIO()
                csv.writer(rows, lineterminator="\n").writerows([LOG_COLUMNS, *log])
                write_text(args.out.with_name("train_log.csv"), rows.getvalue())

    def optimizer(self, step: int) -> torch.optim.Optimizer:
        """AdamW of the stage that a step belongs to; matrices decay, vectors do not."""
        groups = []
        if step < self.args.naming:
            parts = [(PEAK_LR, [*self.model.visual.parameters(), *self.heads.parameters()])]
        else:
            towers = {name.startswith("visual."): [] for name, _ in self.model.named_parameters()}
            for name, parameter in self.model.named_parameters():
                towers[name.startswith("visual.")].append(parameter)
            parts = [(VISION_LR if self.args.naming else PEAK_LR, towers[True]), (PEAK_LR, towers[False])]
        for peak, parameters in parts:
            for decays in (True, False):
                some = [p for p in parameters if (p.dim() >= 2) == decays]
                groups.append({"params": some, "weight_decay": DECAY if decays else 0.0, "peak": peak})
        return torch.optim.AdamW(groups, lr=PEAK_LR, betas=(0.9, 0.98), fused=True)

    def schedule(self, step: int) -> float:
        """Each stage's learning rate relative to its peak: warm-up, then cosine to zero."""
        first, steps = (0, self.args.naming) if step < self.args.naming else (self.args.naming, self.args.pairs)
        done = step - first
        return min(1.0, (done + 1) / WARMUP) * (1 + math.cos(math.pi * done / steps)) / 2

    def log_line(self, done: int, losses: dict[str, list[float]], seconds: float) -> list:
        means = [round(float(np.mean(losses[name])), 4) if name in losses else "" for name in ("naming", *KINDS)]
        measure = self.named if done <= self.args.naming else self.zero_shot
        return [done, *means, round(measure(self.held_out), 2), round(seconds)]

    # -- naming -------------------------------------------------------------------------------------------

    def naming_loss(self, step: int) -> tuple[str, Tensor]:
        """Cross entropy of each attribute and (FACT_WEIGHT) of each fact that holds, on one batch."""
        args, pool = self.args, self.pool
        rng, noise = np.random.default_rng([args.seed, 0, step]), torch.Generator().manual_seed(step)
        easy = rng.random(NAMING_BATCH) < 1 - step / (EASY_UNTIL * args.naming)
        anywhere = rng.random(NAMING_BATCH)
        rows = np.where(easy, anywhere * pool.easy, pool.easy + anywhere * (len(pool) - pool.easy)).astype(np.int64)
        guesses = self.guesses(augment(pixels_of(pool, rows), noise))
        truth = torch.from_numpy(np.concatenate([pool.attributes[rows], pool.facts[rows]], axis=1)).long()
        loss = torch.zeros(())
        for i, guess in enumerate(guesses):
            if (truth[:, i] >= 0).any():
                weight = 1.0 if i < 3 else FACT_WEIGHT
                loss = loss + weight * F.cross_entropy(guess, truth[:, i], ignore_index=-1)
        return "naming", loss

    def guesses(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Logits of each attribute and each fact, (B, values)."""
        return self.heads(image_features(self.model.visual, pixels).float()).split(SIZES, dim=1)

    @torch.no_grad()
    def named(self, images: Images) -> float:
        """Images whose colour, texture and shape are all named right, percent."""
        truth = torch.from_numpy(images.attributes)
        guesses = self.guesses(normalise_pixels(pixels_of(images, slice(None)).float() / 255))
        right = torch.stack([guess.argmax(dim=1) == truth[:, i] for i, guess in enumerate(guesses[:3])])
        return 100 * right.all(dim=0).float().mean().item()

    # -- pairs --------------------------------------------------------------------------------------------

    def pairs_loss(self, step: int) -> tuple[str, Tensor]:
        """CLIP's symmetric loss on one batch; every caption that fits an image is a positive."""
        args, pool = self.args, self.pool
        rng = np.random.default_rng([args.seed, 1, step])
        noise = torch.Generator().manual_seed((args.seed + 1) * 1_000_003 + step)
        kind = int(rng.choice(len(KINDS), p=SHARES))
        rows = draw_batch(self.of_class, self.classes, KINDS[kind], PAIRS_BATCH, rng)
        attributes, facts = pool.attributes[rows], pool.facts[rows]
        captions = [
            caption(tuple(a), f, MENTIONED[kind], rng) for a, f in zip(attributes.tolist(), facts.tolist(), strict=True)
        ]
        vectors = int(rng.integers(1, 17)) if rng.random() < CONTEXT_RATE else 0
        image = F.normalize(image_features(self.model.visual, augment(pixels_of(pool, rows), noise)).float(), dim=1)
        text = F.normalize(self.texts([c.text for c in captions], vectors, noise).float(), dim=1)
        positive = torch.from_numpy(fits(attributes, facts, captions)).float()  # (images, captions)
        logits = self.model.logit_scale.exp() * image @ text.T
        by_image = F.cross_entropy(logits, positive / positive.sum(dim=1, keepdim=True))
        by_text = F.cross_entropy(logits.T, positive.T / positive.T.sum(dim=1, keepdim=True))
        return KINDS[kind], (by_image + by_text) / 2

    def texts(self, texts: list[str], vectors: int = 0, rng: torch.Generator | None = None) -> Tensor:
        """Features of texts, with so many random vectors in front of each: (B, d)."""
        rows = [[self.compact[i] for i in encode(text)] for text in texts]
        vectors = min(vectors, POSITIONS - 2 - max(map(len, rows)))
        last = len(self.vocabulary) - 1  # EOT; the start token is the one before
        ids = torch.full((len(rows), 2 + vectors + max(map(len, rows))), last)
        ids[:, 0] = last - 1
        for line, row in zip(ids, rows, strict=True):
            line[1 + vectors : 1 + vectors + len(row)] = torch.tensor(row)
        x = self.model.token_embedding(ids)
        if vectors:
            context = torch.randn(len(rows), vectors, x.shape[2], generator=rng) * 0.02
            x = torch.cat([x[:, :1], context, x[:, 1 + vectors :]], dim=1)
        return text_features(self.model, x, torch.tensor([2 + vectors + len(row) for row in rows]))

    @torch.no_grad()
    def zero_shot(self, images: Images) -> float:
        """Zero-shot accuracy over MiniWorld's classes, percent."""
        names = world.downstream_classes()
        text = F.normalize(self.texts([f"a photo of a {name}." for name in names]).float(), dim=1)
        pixels = normalise_pixels(pixels_of(images, slice(None)).float() / 255)
        image = F.normalize(image_features(self.model.visual, pixels).float(), dim=1)
        place = {world.attributes(name): i for i, name in enumerate(names)}
        labels = torch.tensor([place[tuple(row)] for row in images.attributes.tolist()])
        return 100 * ((image @ text.T).argmax(dim=1) == labels).float().mean().item()


LOG_COLUMNS = (
    *("step", "loss of naming", "of any images", "of look-alikes", "of few classes"),
    *("accuracy (%)", "seconds"),
)
SIZES = [len(world.COLOURS), len(world.TEXTURES), len(world.SHAPES), *(len(fact.words) for fact in FACTS)]


def build(vocab: list[int]) -> nn.Module:
    """MiniCLIP with a compact token table, whose rows start as the full table's do."""
    torch.manual_seed(INIT_SEED)
    model = package().model.CLIP(**VISION, context_length=POSITIONS, vocab_size=len(vocab), **TEXT).float()
    with torch.no_grad():
        model.token_embedding.weight.copy_(initial_rows(TEXT["transformer_width"])[vocab])
    return model


# -- data -----------------------------------------------------------------------------------------------------


def draw_batch(of_class: list[np.ndarray], classes: np.ndarray, kind: str, size: int, rng: Generator) -> np.ndarray:
    """Rows of a batch's images, (size,).

    Args:
        of_class: rows of each class's images.
        classes: colour, texture and shape of each class, (C, 3).
        kind: of any classes, of few colours and textures ("alike"), or of one to four classes ("few").
    """
    chosen = np.arange(len(classes))
    if kind == "alike":
        colours = rng.permutation(len(world.COLOURS))[: rng.integers(1, 4)]
        textures = rng.permutation(len(world.TEXTURES))[: rng.integers(1, 4)]
        chosen = chosen[np.isin(classes[:, 0], colours) & np.isin(classes[:, 1], textures)]
    if kind == "few":
        chosen = rng.permutation(chosen)[: rng.integers(1, 5)]
    return np.array([rng.choice(of_class[c]) for c in rng.choice(chosen, size)])


def pixels_of(images: Images, rows) -> Tensor:
    """uint8, (B, 3, 64, 64)."""
    return torch.from_numpy(images.pixels[rows]).permute(0, 3, 1, 2)


def augment(images: Tensor, rng: torch.Generator) -> Tensor:
    """A little zoom, shift and mirroring, then CLIP's normalisation; uint8 to float, (B, 3, 64, 64)."""
    B = len(images)
    uniform = torch.rand(B, 4, generator=rng)
    zoom = 0.92 + 0.16 * uniform[:, 0]
    mirror = torch.where(uniform[:, 1] < 0.5, -1.0, 1.0)
    theta = torch.zeros(B, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = zoom * mirror, zoom
    theta[:, :, 2] = (uniform[:, 2:4] - 0.5) * 0.2
    grid = F.affine_grid(theta, images.shape, align_corners=False)
    return normalise_pixels(F.grid_sample(images.float() / 255, grid, padding_mode="reflection", align_corners=False))


def normalise_pixels(images: Tensor) -> Tensor:
    return (images - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


if __name__ == "__main__":
    main()
