"""Train MiniCLIP on the rendered world, from nothing.

    python -m shipclip.miniclip.train [--steps 2400] [--images 100000] [--work DIR]

Renders a pool of clean images of the 680 pre-training classes, then fits image and text tower with CLIP's
contrastive loss. Two things differ from CLIP: a caption may fit several images of a batch, and all pairs that
fit count as positives (UniCL, Yang et al., CVPR 2022); and half of the batches are look-alikes with few
colours and textures, because shape is learned last. At times a caption starts with random words or random
vectors, so that the text tower tolerates learned context in front of a class name.

A killed run goes on from its last checkpoint in the work folder; the finished weights and the log are put
beside this file.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import time
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backbones.openai import package
from .captions import POSITIONS, caption, encode_captions, tokenizer, vocabulary
from .weights import FILE, INIT_SEED, MEAN, STD, initial_rows, save_compact
from .world import CLEAN, COLOURS, SHAPES, TEXTURES, classnames, downstream_classes, image_rng, render

# embed_dim, resolution, vision layers, vision width, patch, and the text side below
VISION = {
    "embed_dim": 128,
    "image_resolution": 64,
    "vision_layers": 4,
    "vision_width": 128,
    "vision_patch_size": 8,
}
TEXT = {"transformer_width": 128, "transformer_heads": 2, "transformer_layers": 3}
PEAK_LR, DECAY, WARMUP, CLIP_NORM = 1.2e-3, 0.05, 150, 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--images", type=int, default=100_000, help="size of the rendered pool")
    parser.add_argument("--work", type=Path, default=Path("output/miniclip"), help="pool and checkpoints")
    parser.add_argument("--out", type=Path, default=FILE, help="where the finished weights go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--stop", type=int, default=None, help="stop after this many steps, to go on later")
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints and log lines")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    pool, labels = image_pool(args.work / f"pool{args.images}.npy", args.images, args.seed)
    train(args, pool, labels)


# -- data -----------------------------------------------------------------------------------------------------


def attributes() -> Tensor:
    """(colour, texture, shape) indices of the pre-training classes, (680, 3)."""
    held_out = set(downstream_classes())
    rows = [
        (c, t, s)
        for c, colour in enumerate(COLOURS)
        for t, texture in enumerate(TEXTURES)
        for s, shape in enumerate(SHAPES)
        if f"{colour} {texture} {shape}" not in held_out
    ]
    return torch.tensor(rows)


def image_pool(file: Path, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rendered pre-training images, uint8 (N, 3, 64, 64), and their class indices, class by class in turn."""
    names = [name for name in classnames() if name not in set(downstream_classes())]
    labels = torch.arange(count) % len(names)
    if not file.is_file():
        started = time.time()
        jobs = [(names[i % len(names)], seed, i // len(names)) for i in range(count)]
        with Pool(os.cpu_count()) as workers:
            images = np.stack(list(workers.imap(_render_one, jobs, chunksize=500)))
        temporary = file.with_suffix(f".tmp{os.getpid()}.npy")
        np.save(temporary, images)
        os.replace(temporary, file)
        print(f"rendered {count} images in {time.time() - started:.0f} s", flush=True)
    return torch.from_numpy(np.load(file)).permute(0, 3, 1, 2), labels


def _render_one(job: tuple[str, int, int]) -> np.ndarray:
    name, seed, number = job
    return render(name, image_rng(seed + 1000, name, number), CLEAN)


def draw_batch(by_attribute: Tensor, images_of_class: list[Tensor], size: int, rng: torch.Generator) -> Tensor:
    """Indices of a batch's images: any classes, or (every other time) few colours and textures."""
    if torch.rand((), generator=rng) < 0.5:
        classes = torch.arange(len(by_attribute))
    else:
        colours = torch.randperm(len(COLOURS), generator=rng)[: 1 + torch.randint(3, (), generator=rng)]
        textures = torch.randperm(len(TEXTURES), generator=rng)[: 1 + torch.randint(3, (), generator=rng)]
        fits = torch.isin(by_attribute[:, 0], colours) & torch.isin(by_attribute[:, 1], textures)
        classes = fits.nonzero().squeeze(1)
    chosen = classes[torch.randint(len(classes), (size,), generator=rng)]
    picks = torch.randint(2**31, (size,), generator=rng)
    return torch.stack([images_of_class[c][p % len(images_of_class[c])] for c, p in zip(chosen, picks, strict=True)])


def augment(images: Tensor, rng: torch.Generator) -> Tensor:
    """Zoom, shift, mirror and light, then CLIP's normalisation; uint8 to float, (B, 3, 64, 64)."""
    B = len(images)
    uniform = torch.rand(B, 5, generator=rng)
    zoom = 0.85 + 0.4 * uniform[:, 0]
    mirror = torch.where(uniform[:, 1] < 0.5, -1.0, 1.0)
    theta = torch.zeros(B, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = zoom * mirror, zoom
    theta[:, :, 2] = (uniform[:, 2:4] - 0.5) * 0.3
    grid = F.affine_grid(theta, images.shape, align_corners=False)
    out = F.grid_sample(images.float() / 255, grid, padding_mode="reflection", align_corners=False)
    out = (out * (0.85 + 0.3 * uniform[:, 4, None, None, None])).clamp(0, 1)
    return normalise_pixels(out)


def normalise_pixels(images: Tensor) -> Tensor:
    return (images - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


# -- training -------------------------------------------------------------------------------------------------


def build(vocab: list[int]) -> nn.Module:
    """MiniCLIP with a compact token table, whose rows start as the full table's do."""
    torch.manual_seed(INIT_SEED)
    model = package().model.CLIP(**VISION, context_length=POSITIONS, vocab_size=len(vocab), **TEXT).float()
    with torch.no_grad():
        model.token_embedding.weight.copy_(initial_rows(TEXT["transformer_width"])[vocab])
    return model


def train(args: argparse.Namespace, pool: Tensor, labels: Tensor) -> None:
    vocab = vocabulary()
    compact = {token: i for i, token in enumerate(vocab)}
    by_attribute = attributes()
    images_of_class = [(labels == c).nonzero().squeeze(1) for c in range(len(by_attribute))]
    model = build(vocab)
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_LR, betas=(0.9, 0.98))
    held_out = validation_images()

    checkpoint, log, start, seconds = args.work / "checkpoint.pt", [], 0, 0.0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start, log, seconds = state["step"], state["log"], state["seconds"]
        print(f"going on from step {start}", flush=True)
    began, losses = time.time(), []
    for step in range(start, min(args.steps, args.stop or args.steps)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args.steps)
        loss = training_loss(model, pool, by_attribute, labels, images_of_class, compact, args.batch, args.seed, step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        model.logit_scale.data.clamp_(0, math.log(100))
        losses.append(loss.item())
        if (step + 1) % args.every == 0 or step + 1 == args.steps:
            model.eval()
            accuracy = zero_shot(model, compact, *held_out)
            model.train()
            spent = seconds + time.time() - began
            log.append([step + 1, round(sum(losses) / len(losses), 4), round(accuracy, 2), round(spent)])
            print(dict(zip(LOG_COLUMNS, log[-1], strict=True)), flush=True)
            losses = []
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            temporary = checkpoint.with_suffix(f".tmp{os.getpid()}")
            torch.save({**state, "log": log, "seconds": spent}, temporary)
            os.replace(temporary, checkpoint)
            save_compact(args.out, model.state_dict(), vocab)
            with open(args.out.with_name("train_log.csv"), "w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([LOG_COLUMNS, *log])


LOG_COLUMNS = ["step", "loss", "held-out accuracy (%)", "seconds"]


def training_loss(
    model, pool, by_attribute, labels, images_of_class, compact, size: int, seed: int, step: int
) -> Tensor:
    """CLIP's symmetric loss on the step's batch; every caption that fits an image is a positive."""
    rng = torch.Generator().manual_seed(seed * 1_000_003 + step)
    words = np.random.default_rng([seed, step])
    picks = draw_batch(by_attribute, images_of_class, size, rng)
    shown = by_attribute[labels[picks]]  # (B, 3)
    captions, said = zip(*(caption(row, words) for row in shown.tolist()), strict=True)
    ids = [[compact[i] for i in tokenizer.encode(text)] for text in captions]
    with torch.autocast("cpu", torch.bfloat16):
        image = model.encode_image(augment(pool[picks], rng))
        text = encode_captions(model, ids, draw_prefix(words), rng)
    image, text = F.normalize(image.float(), dim=1), F.normalize(text.float(), dim=1)
    fits = ((shown[:, None] == shown[None]) | ~torch.tensor(said)[None]).all(dim=2).float()  # image x caption
    logits = model.logit_scale.exp() * image @ text.T
    by_image = F.cross_entropy(logits, fits / fits.sum(dim=1, keepdim=True))
    by_text = F.cross_entropy(logits.T, fits.T / fits.T.sum(dim=1, keepdim=True))
    return (by_image + by_text) / 2


def draw_prefix(rng: np.random.Generator) -> int:
    """A batch's random context: mostly none; one time in five vectors, one in ten words."""
    kind = rng.random()
    if kind < 0.7:
        return 0
    return int(rng.integers(1, 17)) if kind < 0.9 else -int(rng.integers(1, 7))


def learning_rate(step: int, steps: int) -> float:
    if step < WARMUP:
        return PEAK_LR * (step + 1) / WARMUP
    return PEAK_LR / 2 * (1 + math.cos(math.pi * (step - WARMUP) / max(1, steps - WARMUP)))


def validation_images() -> tuple[Tensor, Tensor]:
    """Ten clean images of each held-out class, from a seed that nothing else uses: (400, 3, 64, 64), (400,)."""
    names = downstream_classes()
    images = np.stack([render(n, image_rng(500, n, i), CLEAN) for n in names for i in range(10)])
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return normalise_pixels(pixels), torch.arange(len(names)).repeat_interleave(10)


@torch.no_grad()
def zero_shot(model: nn.Module, compact: dict[int, int], images: Tensor, labels: Tensor) -> float:
    """Zero-shot accuracy over the 40 held-out classes, percent."""
    ids = [[compact[i] for i in tokenizer.encode(f"a photo of a {name}.")] for name in downstream_classes()]
    text = F.normalize(encode_captions(model, ids, 0, torch.Generator()), dim=1)
    image = F.normalize(model.encode_image(images), dim=1)
    return ((image @ text.T).argmax(dim=1) == labels).float().mean().item() * 100


if __name__ == "__main__":
    main()
