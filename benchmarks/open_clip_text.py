"""open_clip's causal text towers, forward and backward, against its own full-length pass, side by side in one run.

    python -m benchmarks.open_clip_text [--device cuda] [--repeats 2]

Text towers at full size with random weights; prompts are 4 context vectors and the class names of EuroSAT (10) and
Caltech-101 (100). Printed: seconds, their ratio, and the largest difference of features and of the context's gradient,
relative to the largest reference value. The two passes alternate, and the fastest of the repeats counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import open_clip
import torch
from tabulate import tabulate
from torch import Tensor

from benchmarks.names import CALTECH101, EUROSAT
from shipclip.backbones.base import Backbone
from shipclip.backbones.open_clip import tokenizer_of, wrap
from shipclip.backbones.open_clip_model import build
from shipclip.backbones.prompts import PromptLearner
from shipclip.backbones.text_tower import TextTower
from shipclip.precision import Precision
from shipclip.profiling import synchronise

MODELS = ("ViT-B-16", "ViT-B-16-quickgelu", "ViT-L-14", "RN50")
N_CTX = 4
SCALING = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic", "resize_mode": "shortest"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    rows = []
    for name in MODELS:
        backbone = load(name, args.device)
        rows += [compare(backbone, names, args.repeats) for names in (EUROSAT, CALTECH101)]
    threads = f"{torch.get_num_threads()} threads" if args.device == "cpu" else torch.cuda.get_device_name()
    versions = f"torch {torch.__version__}, open_clip {open_clip.__version__}"
    print(f"{versions}, {args.device}, {threads}, fp32, forward and backward, {N_CTX} context vectors")
    headers = ["model", "classes", "open_clip (s)", "TextTower (s)", "ratio", "feature diff.", "gradient diff."]
    print(tabulate(rows, headers, floatfmt=("", "", ".4f", ".4f", ".1f", ".1e", ".1e")))


def load(name: str, device: str) -> Backbone:
    """The model's whole text tower; of its image tower, which is not asked, one layer."""
    config = open_clip.get_model_config(name)
    config["vision_cfg"]["layers"] = [1] * 4 if name.startswith("RN") else 1
    torch.manual_seed(0)
    model = build(config, name).to(device)
    tokenizer = tokenizer_of(config["text_cfg"], None)
    backbone = wrap(model, config["embed_dim"], Precision("fp32", device_type=device), name, SCALING, tokenizer)
    assert isinstance(backbone.text, TextTower)
    return backbone


def compare(backbone: Backbone, names: list[str], repeats: int) -> list:
    learner = PromptLearner(backbone, N_CTX, rng=torch.Generator().manual_seed(0))
    classes = backbone.class_tokens(names, N_CTX)
    whole = own_pass(backbone, names)
    weight = torch.randn(len(names), backbone.dim, device=backbone.device)  # stands in for the loss
    passes: list[Callable[[], Tensor]] = [
        lambda: whole(learner.ctx),
        lambda: backbone.text(learner(classes))[0],
    ]
    seconds: list[list[float]] = [[], []]
    features: list[Any] = [None, None]
    gradients: list[Any] = [None, None]
    for _ in range(repeats + 1):  # the first round warms up
        for which, forward in enumerate(passes):
            learner.ctx.grad = None
            synchronise(backbone.device)
            start = time.perf_counter()
            features[which] = forward()
            (features[which] * weight).sum().backward()
            synchronise(backbone.device)
            seconds[which].append(time.perf_counter() - start)
            features[which] = features[which].detach()
            gradients[which] = learner.ctx.grad.clone()
    best = [min(times[1:]) for times in seconds]
    return [backbone.name, len(names), *best, best[0] / best[1], difference(*features), difference(*gradients)]


def own_pass(backbone: Backbone, names: list[str]) -> Callable[[Tensor], Tensor]:
    """open_clip's encode_text of all positions; its embedding layer gives the context vectors for placeholders."""
    texts = [" ".join(["X"] * N_CTX) + f" {name.replace('_', ' ')}." for name in names]
    ids = open_clip.SimpleTokenizer()(texts).to(backbone.device)

    def run(ctx: Tensor) -> Tensor:
        def put(_: Any, __: Any, out: Tensor) -> Tensor:
            return torch.cat([out[:, :1], ctx.expand(len(out), -1, -1), out[:, 1 + N_CTX :]], dim=1)

        handle = backbone.embedding.register_forward_hook(put)
        try:
            return backbone.model.encode_text(ids)
        finally:
            handle.remove()

    return run


def difference(reference: Tensor, other: Tensor) -> float:
    return ((reference - other).abs().max() / reference.abs().max()).item()


if __name__ == "__main__":
    main()
