"""CoCoOp: context vectors with a bias made from the image (Zhou et al., CVPR 2022)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..backbones.base import Backbone, normalise
from ..backbones.prompts import ClassTokens, class_prompts, initial_context, words_of
from ..options import option
from ..rng import seeded, stream
from ..texts import Texts
from .base import LEARNERS, Classifier, Learner, LearnerOptions

PROMPTS_AT_ONCE = 4096  # image x class prompts in one pass when nothing is learned; bounds the memory


@dataclass(frozen=True)
class CoCoOpOptions(LearnerOptions):
    n_ctx: int = option(16, least=1, most=1000)  # number of context vectors
    ctx_init: str = ""  # start from these words; sets the number of vectors


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
        if torch.is_grad_enabled():
            return lambda x: self.logits(x, classes, factor)
        images = max(1, PROMPTS_AT_ONCE // len(classes))
        return lambda x: torch.cat([self.logits(part, classes, factor) for part in x.split(images)])

    def logits(self, x: Tensor, classes: ClassTokens, scale: float) -> Tensor:
        """Each image against the class features of its own prompts: (B, d) -> (B, C)."""
        x = x.to(self.backbone.dtype)
        prompts = class_prompts(self.ctx, classes, bias=self.meta_net(x))
        class_features = normalise(self.backbone.text(prompts))  # (B, C, d)
        return scale * (class_features @ x[..., None].to(class_features.dtype)).squeeze(-1)


def meta_net(backbone: Backbone, seed: int) -> nn.Sequential:
    hidden = backbone.dim // 16
    with seeded(seed, "meta_net"):  # torch's default initialisation draws from the global generator
        linear1, linear2 = nn.Linear(backbone.dim, hidden), nn.Linear(hidden, backbone.width)
    layers = OrderedDict(linear1=linear1, relu=nn.ReLU(), linear2=linear2)
    return nn.Sequential(layers).to(backbone.device, backbone.dtype)
