"""CoCoOp: context vectors with a bias made from the image (Zhou et al., CVPR 2022)."""

from __future__ import annotations

from collections import OrderedDict

import torch
from dassl.engine import TRAINER_REGISTRY
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from trainers.prompting.clip import FrozenCLIP, normalise
from trainers.prompting.prompts import ClassTokens, PromptLearner
from trainers.prompting.rng import seeded, stream
from trainers.prompting.trainer import Classifier, PromptTrainer, cross_entropy_and_accuracy

PROMPTS_AT_ONCE = 4096  # image x class prompts in one pass when nothing is learned; bounds the memory


def extend_cfg(cfg: CN) -> None:
    """Add TRAINER.COCOOP with CoOp's own defaults."""
    cfg.TRAINER.COCOOP = CN()
    cfg.TRAINER.COCOOP.N_CTX = 16  # number of context vectors
    cfg.TRAINER.COCOOP.CTX_INIT = ""  # start from these words; sets the number of vectors
    cfg.TRAINER.COCOOP.PREC = "fp16"  # fp16, fp32, amp, bf16


class ConditionalPromptLearner(PromptLearner):
    """Context vectors and the meta-net, d -> d / 16 -> w, that makes an image's bias."""

    def __init__(self, clip: FrozenCLIP, n_ctx: int, words: str = "", seed: int = 0):
        super().__init__(clip, n_ctx, words, rng=stream(seed, "context"))
        hidden = clip.dim // 16
        with seeded(seed, "meta_net"):  # torch's default initialisation draws from the global generator
            linear1, linear2 = nn.Linear(clip.dim, hidden), nn.Linear(hidden, clip.width)
        layers = OrderedDict(linear1=linear1, relu=nn.ReLU(), linear2=linear2)
        self.meta_net = nn.Sequential(layers).to(clip.device, clip.dtype)


@TRAINER_REGISTRY.register()
class CoCoOp(PromptTrainer):
    """Cross entropy on real features; context and meta-net are learned."""

    node = "COCOOP"

    def build_learner(self) -> nn.Module:
        learner = ConditionalPromptLearner(self.clip, self.options.N_CTX, self.options.CTX_INIT, self.seed)
        self.classes = ClassTokens.of(self.clip, self.dataset.classnames, learner.n_ctx)
        self.trained_classes = ClassTokens.of(self.clip, self.trained_names(), learner.n_ctx)
        return learner

    def loss(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return cross_entropy_and_accuracy(self.logits(features, self.trained_classes), labels)

    def logits(self, x: Tensor, classes: ClassTokens) -> Tensor:
        """Each image against the class features of its own prompts: (B, d) -> (B, C)."""
        x = x.to(self.clip.dtype)
        prompts = self.model(classes, bias=self.model.meta_net(x))
        class_features = normalise(self.clip.text(prompts))  # (B, C, d)
        return self.clip.logit_scale * (class_features @ x[..., None].to(class_features.dtype)).squeeze(-1)

    def classifier(self) -> Classifier:
        images = max(1, PROMPTS_AT_ONCE // len(self.classes))
        return lambda x: torch.cat([self.logits(part, self.classes) for part in x.split(images)])
