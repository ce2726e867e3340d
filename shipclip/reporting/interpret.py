"""What SHIP's prompts say: the vocabulary's words nearest to each context vector plus bias, p_i + r.

    shipclip interpret --model-dir RUN [--root data] [--images 4] [--out FOLDER]

For latents of real test images (the posterior's mean), of the prior, and along a line between two images. Prints a
table and writes interpret.md and pictures with the words under the images. CLIP's vocabulary holds pieces of words, and
nearest need not mean near: this is suggestive only.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from tabulate import tabulate
from torch import Tensor

from ..backbones.base import Backbone, normalise
from ..errors import Unwritable, UserError, told
from ..features.images import read_image
from ..files import write_text
from ..generators.prompt_decoder import vectors
from ..generators.vae import VAE
from ..opening import open_run
from ..rng import stream
from . import pictures


@dataclass
class Reading:
    """The words of one latent.

    Attributes:
        title: what the latent is of.
        words: for each of the L context vectors its nearest words and their cosine similarities, best first.
        image: path of the image it was made from; empty for a latent of no image.
    """

    title: str
    words: list[list[tuple[str, float]]]
    image: str = ""

    def listed(self, vector: int) -> str:
        return ", ".join(f"{word} {similarity:.2f}" for word, similarity in self.words[vector])


@told
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "shipclip interpret", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model-dir", required=True, help="folder of a finished SHIP run")
    parser.add_argument("--root", default="", help="folder of the data sets, if not where it was")
    parser.add_argument("--images", type=at_least_one, default=4, help="how many test images, each of another class")
    parser.add_argument("--steps", type=at_least_one, default=5, help="latents between the first two images")
    parser.add_argument("--top", type=at_least_one, default=2, help="words of each context vector")
    parser.add_argument("--out", type=Path, default=None, help="where to write; default: the run's folder")
    args = parser.parse_args(argv)
    readings = interpret(args.model_dir, args.root, args.images, args.steps, args.top)
    head = ["latent", *(f"p_{i + 1} + r" for i in range(len(readings[0].words)))]
    body = [[r.title, *(r.listed(i) for i in range(len(r.words)))] for r in readings]
    print(tabulate(body, head, disable_numparse=True))
    out = args.out or Path(args.model_dir)
    try:
        write_text(out / "interpret.md", tabulate(body, head, tablefmt="github", disable_numparse=True) + "\n")
        files = pictures.save(pictures.words_under_images(readings, read_image), out / "interpret")
    except OSError as error:
        raise Unwritable(f"nothing can be written into {out} ({error.strerror}): give another --out") from error
    print(f"Written to {out / 'interpret.md'}, {', '.join(file.name for file in files)}")
    return 0


def at_least_one(text: str) -> int:
    """A number of the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is too small: give at least 1")
    return number


def interpret(model_dir: str, root: str, images: int, steps: int, top: int) -> list[Reading]:
    """Readings of test images, of three draws from the prior, and of a line between the first two images."""
    method = open_run(model_dir, root)
    generator = method.generator
    if not isinstance(generator, VAE):
        raise UserError(
            f"{model_dir} has no generator with an encoder and prompts (a run of SHIP with the VAE has one)"
        )
    vocabulary = Vocabulary(method.backbone, top)
    bank, items = method.source.bank("test"), method.task.test
    first_of_class = {int(label): i for i, label in reversed(list(enumerate(bank.labels)))}
    rows = [first_of_class[label] for label in sorted(first_of_class)]
    rows = [rows[round(i * (len(rows) - 1) / max(images - 1, 1))] for i in range(min(images, len(rows)))]
    with torch.no_grad():
        mean, _ = generator.encoder(bank.of_view(0)[rows])
        readings = [
            Reading(f"image of {items[row].classname}", vocabulary.read(generator, z), items[row].impath)
            for row, z in zip(rows, mean, strict=True)
        ]
        for i, z in enumerate(torch.randn(3, method.backbone.dim, generator=stream(method.seed, "interpret"))):
            readings.append(Reading(f"prior, draw {i + 1}", vocabulary.read(generator, z.to(mean.device))))
        for share in torch.linspace(0, 1, steps).tolist() if len(rows) > 1 else []:
            z = (1 - share) * mean[0] + share * mean[1]
            readings.append(Reading(f"{share:.0%} of the way to image 2", vocabulary.read(generator, z)))
    return readings


class Vocabulary:
    """The backbone's whole words and their token embeddings, of unit length; `top` of them are read."""

    def __init__(self, backbone: Backbone, top: int):
        known = backbone.known_ids
        found = [(word, i) for word, i in backbone.tokenizer.words().items() if known is None or i in known]
        self.words = [word for word, _ in found]
        self.top = min(top, len(found))
        self.embeddings = normalise(backbone.embed(torch.tensor([index for _, index in found])).float())  # (V, w)

    def read(self, generator: VAE, z: Tensor) -> list[list[tuple[str, float]]]:
        """The nearest words to each p_i + r of a latent (d,)."""
        similarity = normalise(vectors(generator, z[None])[0].float()) @ self.embeddings.T  # (L, V)
        best = similarity.topk(self.top, dim=1)
        return [
            [(self.words[i], s) for i, s in zip(indices, values, strict=True)]
            for indices, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]


if __name__ == "__main__":
    sys.exit(main())
