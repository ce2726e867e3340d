"""CoOp: learned context vectors in front of the class names (Zhou et al., IJCV 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from yacs.config import CfgNode as CN

from trainers.prompting.clip import FrozenCLIP, normalise
from trainers.prompting.learner import LEARNERS, CosineClassifier, Learner
from trainers.prompting.prompts import PromptLearner
from trainers.prompting.rng import stream


@LEARNERS.register()
class CoOp(Learner, PromptLearner):
    """Only the context, `ctx`, is learned: (n, w), or (C, n, w) with a context for each class."""

    node = "COOP"
    defaults: dict[str, Any] = {
        "N_CTX": 16,  # number of context vectors
        "CSC": False,  # a context for each class
        "CTX_INIT": "",  # start from these words; sets the number of vectors, always shared
        "CLASS_TOKEN_POSITION": "end",  # end, middle or front
    }

    def __init__(self, clip: FrozenCLIP, names: Sequence[str], options: CN, seed: int, template: str):
        super().__init__(clip, names, options, seed, template)
        if options.CSC and options.CTX_INIT:
            print("Note: a context that starts from words is shared, so TRAINER.COOP.CSC is ignored")
        self.start(
            clip,
            options.N_CTX,
            options.CTX_INIT,
            n_classes=len(self.names) if options.CSC else 0,
            position=options.CLASS_TOKEN_POSITION,
            rng=stream(seed, "context"),
        )

    def check_classes(self, names: Sequence[str]) -> None:
        if self.ctx.dim() == 3 and len(names) != len(self.names):
            raise ValueError(
                f"{len(names) - len(self.names)} classes have no training image, so TRAINER.COOP.CSC cannot give them "
                "a context of their own: use a shared one"
            )

    def classifier(self, names: Sequence[str], scale: float | None = None) -> CosineClassifier:
        prompts = self(self.tokens(names, self.n_ctx))
        return CosineClassifier(normalise(self.clip.text(prompts)[0]), self.scale(scale))
