"""CoCoOp: context vectors with a bias made from the image (Zhou et al., CVPR 2022)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..backbones.base import Backbone, normalise
from ..backbones.prompts import ClassTokens, class_prompts, initial_context, words_of
from ..backbones.recompute import in_parts
from ..backbones.text_tower import AT_ONCE, TextTower
from ..options import option
from ..precision import product
from ..rng import seeded, stream
from ..texts import Texts
from .base import LEARNERS, Classifier, Learner, LearnerOptions

ON_CPU, ON_GPU = 512, 4096  # prompts at once that keep a CPU's caches, or a GPU, busy


@dataclass(frozen=True)
class CoCoOpOptions(LearnerOptions):
    n_ctx: int = option(16, least=1, most=1000)  # number of context vectors
    ctx_init: str = ""  # start from these words; sets the number of vectors
    # Image x class prompts in one pass of the text tower; bounds the memory of a step and of a test, whatever the batch
    # and the number of classes are. 0: 512 on the CPU, 4096 on a GPU, and a step takes up to half of the free memory.
    prompts_at_once: int = option(0, least=0)


@LEARNERS.register
class CoCoOp(Learner):
    """Context vectors, `ctx`, and the meta-net, d -> d / 16 -> w, that makes an image's bias, are learned."""

    Options = CoCoOpOptions
    each_class_alone = True
    unfrozen = "CoCoOp makes class features anew for each image, with the text tower"

    def __init__(self, backbone: Backbone, names: Sequence[str], options: CoCoOpOptions, seed: int, texts: Texts):
        super().__init__(backbone, names, options, seed, texts)
        rng = stream(seed, "context")
        self.ctx = nn.Parameter(initial_context(backbone, options.n_ctx, options.ctx_init, rng=rng))
        self.meta_net = meta_net(backbone, seed)

    @classmethod
    def ignored(cls, options: CoCoOpOptions) -> set[str]:
        return {"N_CTX"} if words_of(options.ctx_init) not in (0, options.n_ctx) else set()

    def classifier(self, names: Sequence[str], scale: float | None = None) -> Classifier:
        classes, factor = self.tokens(names, len(self.ctx)), self.scale(scale)
        return lambda x: self.logits(x, classes, factor)

    def logits(self, x: Tensor, classes: ClassTokens, scale: float) -> Tensor:
        """Each image against the class features of its own prompts, (B, d) -> (B, C), PROMPTS_AT_ONCE at a time.

        Where there is more than one such chunk and something is learned, a chunk's activations are made again in the
        backward pass, so only one chunk's are held at any time; with PROMPTS_AT_ONCE 0 as many as there is memory for.
        """
        x = x.to(self.backbone.dtype)
        bias, C, most = self.meta_net(x), len(classes), self.prompts_at_once
        if len(x) * C <= most:
            return self._logits(x, bias, classes, scale)
        images, step = max(1, most // C), min(most, AT_ONCE)  # no part has parts of its own
        columns = [classes.part(first, first + step) for first in range(0, C, step)]
        rows = list(zip(x.split(images), bias.split(images), strict=True))
        parts = [(*row, column, scale) for row in rows for column in columns]
        found = in_parts(self._logits, parts, self._held, x.device)
        across = [torch.cat(found[i : i + len(columns)], dim=1) for i in range(0, len(found), len(columns))]
        return torch.cat(across)

    def _held(self, x: Tensor, bias: Tensor, classes: ClassTokens, scale: float) -> float:
        """Bytes that such a chunk takes until the backward pass; infinity where none is to be held."""
        if self.options.prompts_at_once or not isinstance(self.backbone.text, TextTower):
            return float("inf")
        return self.backbone.text.held(class_prompts(self.ctx, classes, bias=bias))

    def _logits(self, x: Tensor, bias: Tensor, classes: ClassTokens, scale: float) -> Tensor:
        class_features = normalise(self.backbone.text(class_prompts(self.ctx, classes, bias=bias)))  # (B, C, d)
        return scale * product(class_features, x[..., None].to(class_features.dtype)).squeeze(-1)

    @property
    def prompts_at_once(self) -> int:
        return self.options.prompts_at_once or (ON_CPU if self.backbone.device.type == "cpu" else ON_GPU)


def meta_net(backbone: Backbone, seed: int) -> nn.Sequential:
    hidden = backbone.dim // 16
    with seeded(seed, "meta_net"):  # torch's default initialisation draws from the global generator
        linear1, linear2 = nn.Linear(backbone.dim, hidden), nn.Linear(hidden, backbone.width)
    layers = OrderedDict(linear1=linear1, relu=nn.ReLU(), linear2=linear2)
    return nn.Sequential(layers).to(backbone.device, backbone.dtype)
