"""CoOp: learned context vectors in front of the class names (Zhou et al., IJCV 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from ..backbones.base import Backbone, normalise
from ..backbones.prompts import POSITIONS, class_prompts, initial_context
from ..errors import UserError
from ..options import one_of
from ..rng import stream
from ..texts import Texts
from .base import LEARNERS, CosineClassifier, Learner, LearnerOptions


@dataclass(frozen=True)
class CoOpOptions(LearnerOptions):
    n_ctx: int = 16  # number of context vectors
    csc: bool = False  # a context for each class
    ctx_init: str = ""  # start from these words; sets the number of vectors, always shared
    class_token_position: str = "end"  # end, middle or front


@LEARNERS.register
class CoOp(Learner):
    """Only the context, `ctx`, is learned: (n, w), or (C, n, w) with a context for each class."""

    Options = CoOpOptions

    def __init__(self, backbone: Backbone, names: Sequence[str], options: CoOpOptions, seed: int, texts: Texts):
        super().__init__(backbone, names, options, seed, texts)
        one_of(options.class_token_position, "TRAINER.COOP.CLASS_TOKEN_POSITION", POSITIONS)
        if options.csc and options.ctx_init:
            print("Note: a context that starts from words is shared, so TRAINER.COOP.CSC is ignored")
        n_classes = len(self.names) if options.csc else 0
        rng = stream(seed, "context")
        self.ctx = nn.Parameter(initial_context(backbone, options.n_ctx, options.ctx_init, n_classes, rng))

    @property
    def n_ctx(self) -> int:
        return self.ctx.shape[-2]

    def check_classes(self, names: Sequence[str]) -> None:
        if self.ctx.dim() == 3 and len(names) < len(self.names):
            raise UserError("TRAINER.COOP.CSC has a context for each class, so all of them stay: use a shared one")
        if self.ctx.dim() == 3 and len(names) != len(self.names):
            raise UserError(
                f"{len(names) - len(self.names)} classes have no training image, so TRAINER.COOP.CSC cannot give them "
                "a context of their own: use a shared one"
            )

    def classifier(self, names: Sequence[str], scale: float | None = None) -> CosineClassifier:
        prompts = class_prompts(self.ctx, self.tokens(names, self.n_ctx), self.options.class_token_position)
        return CosineClassifier(normalise(self.backbone.text(prompts)[0]), self.scale(scale))
