"""MaPLe: context vectors in both towers, those of the image tower made from those of the text tower (Khattak et al.,
CVPR 2023)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..backbones.base import Backbone, normalise
from ..backbones.hooks import Hooks
from ..backbones.prompts import Prompts
from ..backbones.towers import need_transformers
from ..errors import UserError
from ..options import option
from ..precision import product
from ..rng import seeded, stream
from ..texts import Texts
from .base import LEARNERS, Classifier, Learner, LearnerOptions

WORDS_UP_TO = 4  # with more context vectors than this CTX_INIT is not used (the authors' rule)


@dataclass(frozen=True)
class MaPLeOptions(LearnerOptions):
    n_ctx: int = option(2, least=1, most=1000)  # number of context vectors
    ctx_init: str = "a photo of a"  # the first N_CTX start from these words, the other words stay in front of the name
    prompt_depth: int = option(9, least=1, most=1000)  # layers whose input has learned context; 1: the first alone


@LEARNERS.register
class MaPLe(Learner):
    """Learned: `ctx` (n, w), deep context vectors of the text tower, one set a layer, and for each set a linear map to
    the image tower's width that makes that layer's vectors there (section 3.2).

    State dict keys are those of the authors' MultiModalPromptLearner.
    """

    Options = MaPLeOptions
    sees = "images"
    each_class_alone = True

    def __init__(self, backbone: Backbone, names: Sequence[str], options: MaPLeOptions, seed: int, texts: Texts):
        super().__init__(backbone, names, options, seed, texts)
        need_transformers(backbone, "MaPLe")
        n, w, device = options.n_ctx, backbone.width, backbone.device
        ctx, self.words = self._start()
        self.ctx = nn.Parameter(ctx.float())
        with seeded(seed, "projection"):  # torch's default initialisation draws from the global generator
            self.proj = nn.Linear(w, backbone.image.width).to(device)
            deep = nn.Linear(w, backbone.image.width).to(device)  # all deep ones start alike
        rng, layers = stream(seed, "deep"), options.prompt_depth - 1
        vectors = [nn.Parameter((torch.randn(n, w, generator=rng) * 0.02).to(device)) for _ in range(layers)]
        self.compound_prompts_text = nn.ParameterList(vectors)
        self.compound_prompt_projections = nn.ModuleList(copy.deepcopy(deep) for _ in range(layers))

    @classmethod
    def ignored(cls, options: MaPLeOptions) -> set[str]:
        return {"CTX_INIT"} if options.n_ctx > WORDS_UP_TO else set()

    def _start(self) -> tuple[Tensor, str]:
        """The context vectors before training, (n, w), and the words that stand between them and the name."""
        options, n = self.options, self.options.n_ctx
        words = options.ctx_init.replace("_", " ").split()
        if not words or n > WORDS_UP_TO:
            ctx = torch.randn(n, self.backbone.width, generator=stream(self.seed, "context")) * 0.02
            return ctx.to(self.backbone.device), ""
        ends = [len(self.backbone.tokenizer.encode(" ".join(words[: i + 1]))) for i in range(len(words))]
        if n not in ends:
            cuts = [*(str(end) for end in ends if end <= WORDS_UP_TO), f"more than {WORDS_UP_TO}"]
            raise UserError(
                f"TRAINER.MAPLE.N_CTX is {n}, and TRAINER.MAPLE.CTX_INIT {options.ctx_init!r} cannot be cut there: "
                f"give {' or '.join(cuts)}"
            )
        return self.backbone.embed_words(" ".join(words))[:n], " ".join(words[ends.index(n) + 1 :])

    def vectors(self) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Context vectors by layer, (n, w) of the text tower and (n, w') of the image tower."""
        text = {0: self.ctx, **dict(enumerate(self.compound_prompts_text, start=1))}
        maps = [self.proj, *self.compound_prompt_projections]
        return text, {i: maps[i](vectors) for i, vectors in text.items()}

    def class_features(self, names: Sequence[str], vectors: dict[int, Tensor]) -> Tensor:
        """Text features under the text tower's vectors, of unit length: (C, d)."""
        key = (self.words, *names)
        if key not in self._tokens:
            self._tokens[key] = self.backbone.class_tokens(names, self.options.n_ctx, self.words)
        classes, ctx = self._tokens[key], vectors[0].to(self.backbone.dtype)
        prefix = torch.cat([classes.start[None], ctx[None]], dim=1)  # (1, 1 + n, w)
        deep = Hooks(deep={i: v for i, v in vectors.items() if i})
        return normalise(self.backbone.text(Prompts(prefix, classes.suffix[None], classes.lengths), deep)[0])

    def classifier(self, names: Sequence[str], scale: float | None = None) -> Classifier:
        text, image = self.vectors()
        class_features, factor = self.class_features(names, text), self.scale(scale)
        hooks = Hooks(tokens=image[0], deep={i: v for i, v in image.items() if i})

        def logits(x: Tensor) -> Tensor:
            features = normalise(self.backbone.image(x.to(self.backbone.dtype), hooks))
            return product(factor * features, class_features.T)  # (B, C)

        return logits
