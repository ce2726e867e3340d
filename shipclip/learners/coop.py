"""CoOp: learned context vectors in front of the class names (Zhou et al., IJCV 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from ..backbones.base import Backbone, normalise
from ..backbones.prompts import POSITIONS, class_prompts, initial_context, words_of
from ..errors import UserError
from ..names import numbered
from ..options import option
from ..rng import stream
from ..texts import Texts
from .base import LEARNERS, CosineClassifier, Learner, LearnerOptions


@dataclass(frozen=True)
class CoOpOptions(LearnerOptions):
    n_ctx: int = option(16, least=1, most=1000)  # number of context vectors
    csc: bool = False  # a context for each class
    ctx_init: str = ""  # start from these words; sets the number of vectors, always shared
    class_token_position: str = option("end", choices=POSITIONS)  # of the name in the context


@LEARNERS.register
class CoOp(Learner):
    """Only the context, `ctx`, is learned: (n, w), or (C, n, w) with a context for each class."""

    Options = CoOpOptions
    has_class_features = True
    each_class_alone = True

    def __init__(self, backbone: Backbone, names: Sequence[str], options: CoOpOptions, seed: int, texts: Texts):
        super().__init__(backbone, names, options, seed, texts)
        if options.csc and options.ctx_init:
            print("Note: a context that starts from words is shared, so TRAINER.COOP.CSC is ignored")
        n_classes = len(self.names) if options.csc else 0
        rng = stream(seed, "context")
        self.ctx = nn.Parameter(initial_context(backbone, options.n_ctx, options.ctx_init, n_classes, rng))

    @classmethod
    def ignored(cls, options: CoOpOptions) -> set[str]:
        if not options.ctx_init:
            return set()
        return {"CSC"} if words_of(options.ctx_init) == options.n_ctx else {"CSC", "N_CTX"}

    @property
    def n_ctx(self) -> int:
        return self.ctx.shape[-2]

    def trained_on(self, names: Sequence[str] | None) -> None:
        if self.ctx.dim() == 3 and names is None:
            print(
                "Warning: the checkpoint does not tell its classes, so each context is taken for the class in its place"
            )
        elif self.ctx.dim() == 3 and names is not None:
            self.names = tuple(names)

    def check_classes(self, names: Sequence[str]) -> None:
        if self.ctx.dim() == 3:
            self._places(names)

    def _places(self, names: Sequence[str]) -> list[int]:
        """Whose contexts of the trained classes these classes have."""
        label = {key: i for i, key in enumerate(numbered(self.names))}
        missing = [key[0] for key in numbered(names) if key not in label]
        if missing:
            raise UserError(
                f"{len(missing)} classes have no training image, so TRAINER.COOP.CSC cannot give them a context of "
                f"their own ({missing[0]!r} first): use a shared one"
            )
        return [label[key] for key in numbered(names)]

    def classifier(self, names: Sequence[str], scale: float | None = None) -> CosineClassifier:
        ctx = self.ctx if self.ctx.dim() == 2 or names == self.names else self.ctx[self._places(names)]
        prompts = class_prompts(ctx, self.tokens(names, self.n_ctx), self.options.class_token_position)
        return CosineClassifier(normalise(self.backbone.text(prompts)[0]), self.scale(scale))
