"""CoCoOp: context vectors with a bias made from the image (Zhou et al., CVPR 2022)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from trainers.prompting.clip import FrozenCLIP, normalise
from trainers.prompting.learner import LEARNERS, Classifier, Learner
from trainers.prompting.prompts import ClassTokens, PromptLearner
from trainers.prompting.rng import seeded, stream

PROMPTS_AT_ONCE = 4096  # image x class prompts in one pass when nothing is learned; bounds the memory


@LEARNERS.register()
class CoCoOp(Learner, PromptLearner):
    """Context vectors, `ctx`, and the meta-net, d -> d / 16 -> w, that makes an image's bias, are learned."""

    node = "COCOOP"
    defaults: dict[str, Any] = {
        "N_CTX": 16,  # number of context vectors
        "CTX_INIT": "",  # start from these words; sets the number of vectors
    }

    def __init__(self, clip: FrozenCLIP, names: Sequence[str], options: CN, seed: int, template: str):
        super().__init__(clip, names, options, seed, template)
        self.start(clip, options.N_CTX, options.CTX_INIT, rng=stream(seed, "context"))
        self.meta_net = meta_net(clip, seed)

    def classifier(self, names: Sequence[str], scale: float | None = None) -> Classifier:
        classes, factor = self.tokens(names, self.n_ctx), self.scale(scale)
        if torch.is_grad_enabled():
            return lambda x: self.logits(x, classes, factor)
        images = max(1, PROMPTS_AT_ONCE // len(classes))
        return lambda x: torch.cat([self.logits(part, classes, factor) for part in x.split(images)])

    def logits(self, x: Tensor, classes: ClassTokens, scale: float) -> Tensor:
        """Each image against the class features of its own prompts: (B, d) -> (B, C)."""
        x = x.to(self.clip.dtype)
        prompts = self(classes, bias=self.meta_net(x))
        class_features = normalise(self.clip.text(prompts))  # (B, C, d)
        return scale * (class_features @ x[..., None].to(class_features.dtype)).squeeze(-1)


def meta_net(clip: FrozenCLIP, seed: int) -> nn.Sequential:
    hidden = clip.dim // 16
    with seeded(seed, "meta_net"):  # torch's default initialisation draws from the global generator
        linear1, linear2 = nn.Linear(clip.dim, hidden), nn.Linear(hidden, clip.width)
    layers = OrderedDict(linear1=linear1, relu=nn.ReLU(), linear2=linear2)
    return nn.Sequential(layers).to(clip.device, clip.dtype)
