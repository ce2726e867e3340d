"""CoOp: learned context vectors in front of the class names (Zhou et al., IJCV 2022)."""

from __future__ import annotations

from dassl.engine import TRAINER_REGISTRY
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from trainers.prompting.clip import normalise
from trainers.prompting.prompts import ClassTokens, PromptLearner
from trainers.prompting.rng import stream
from trainers.prompting.trainer import Classifier, PromptTrainer, cross_entropy_and_accuracy


def extend_cfg(cfg: CN) -> None:
    """Add TRAINER.COOP with CoOp's own defaults."""
    cfg.TRAINER.COOP = CN()
    cfg.TRAINER.COOP.N_CTX = 16  # number of context vectors
    cfg.TRAINER.COOP.CSC = False  # a context for each class
    cfg.TRAINER.COOP.CTX_INIT = ""  # start from these words; sets the number of vectors, always shared
    cfg.TRAINER.COOP.PREC = "fp16"  # fp16, fp32, amp, bf16
    cfg.TRAINER.COOP.CLASS_TOKEN_POSITION = "end"  # end, middle or front


@TRAINER_REGISTRY.register()
class CoOp(PromptTrainer):
    """Cross entropy on real features; only the context is learned."""

    node = "COOP"

    def build_learner(self) -> nn.Module:
        options, names = self.options, self.dataset.classnames
        if options.CSC and options.CTX_INIT:
            print("Note: a context that starts from words is shared, so TRAINER.COOP.CSC is ignored")
        learner = PromptLearner(
            self.clip,
            options.N_CTX,
            options.CTX_INIT,
            n_classes=len(names) if options.CSC else 0,
            position=options.CLASS_TOKEN_POSITION,
            rng=stream(self.seed, "context"),
        )
        trained = self.trained_names()
        if options.CSC and len(trained) < len(names):
            raise ValueError(
                f"{len(names) - len(trained)} classes have no training image, so TRAINER.COOP.CSC cannot give them a "
                "context of their own: use a shared one"
            )
        self.classes = ClassTokens.of(self.clip, names, learner.n_ctx)
        self.trained_classes = ClassTokens.of(self.clip, trained, learner.n_ctx)
        return learner

    def loss(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return cross_entropy_and_accuracy(self.classifier(self.trained_classes)(features), labels)

    def classifier(self, classes: ClassTokens | None = None) -> Classifier:
        class_features = normalise(self.clip.text(self.model(classes or self.classes))[0])  # (C, d)
        return lambda x: self.clip.logit_scale * x.to(class_features.dtype) @ class_features.T  # (B, C)
