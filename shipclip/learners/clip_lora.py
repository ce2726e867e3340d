"""CLIP-LoRA: low-rank updates of the attention's projections in both towers (Zanella and Ben Ayed, CVPRW 2024)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..backbones.base import Backbone, normalise
from ..backbones.hooks import NONE, Hooks
from ..backbones.towers import need_transformers
from ..errors import UserError
from ..optim import SCHEDULE_KEYS
from ..options import option
from ..precision import product
from ..rng import seeded, stream
from ..texts import Texts
from .base import LEARNERS, Classifier, Learner, LearnerOptions

QKV = "qkv"


@dataclass(frozen=True)
class CLIPLoRAOptions(LearnerOptions):
    r: int = option(2, least=1, most=4096)  # rank
    alpha: float = 1.0  # the update's weight is ALPHA / sqrt(R)
    dropout_rate: float = option(0.25, least=0, below=1)  # of the update's input, in training
    encoder: str = option("both", choices=("both", "text", "vision"))  # which towers are updated
    params: str = "qkv"  # which projections: some of q, k and v
    logit_scale: float = option(100.0, least=0)
    # Updates for each shot, the schedule a cosine over all of them; 0: OPTIM.MAX_EPOCH epochs.
    n_iters: int = option(500, least=0, most=1_000_000)

    def check(self, where: str) -> None:
        """Refuse projections that there are not."""
        if not self.params or not set(self.params) <= set(QKV):
            raise UserError(f"{where}PARAMS is {self.params!r}: give some of q, k and v, as {QKV!r}")


@LEARNERS.register
class CLIPLoRA(Learner):
    """W x becomes W x + ALPHA / sqrt(R) * B A dropout(x) in every layer's attention; A and B are learned, B is zero at
    first. Class features are those of the hand-written texts, through the updated text tower."""

    Options = CLIPLoRAOptions
    sees = "images"
    each_class_alone = True

    def __init__(self, backbone: Backbone, names: Sequence[str], options: CLIPLoRAOptions, seed: int, texts: Texts):
        super().__init__(backbone, names, options, seed, texts)
        need_transformers(backbone, "CLIPLoRA")
        self.scaling = options.alpha / math.sqrt(options.r)
        with seeded(seed, "lora"):
            for tower, width, part in (
                ("vision", backbone.image.width, backbone.image),
                ("text", backbone.width, backbone.text),
            ):
                updated = options.encoder in ("both", tower)
                rows = [Updates(width, options) for _ in range(part.layers if updated else 0)]
                setattr(self, tower, nn.ModuleList(rows).to(backbone.device))
        self.begin_epoch(0)

    @classmethod
    def ignored(cls, options: CLIPLoRAOptions) -> set[str]:
        return {"OPTIM.MAX_EPOCH", *(f"OPTIM.{key}" for key in SCHEDULE_KEYS)} if options.n_iters else set()

    def begin_epoch(self, epoch: int) -> None:
        """The epoch's random numbers, those of dropout."""
        number = stream(self.seed, "dropout", epoch).initial_seed()
        self.rng = torch.Generator(self.backbone.device).manual_seed(number)

    def schedule(self, optimizer: torch.optim.Optimizer, shots: int) -> tuple[Any, int] | None:
        """The authors' cosine down to 1e-6 over N_ITERS updates a shot, and how many updates these are."""
        total = self.options.n_iters * max(shots, 1)
        if not total:
            return None
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total, eta_min=1e-6), total

    def hooks(self, tower: str) -> Hooks:
        layers = getattr(self, tower)
        if not len(layers):
            return NONE
        return Hooks(projection=lambda layer, x: self.scaling * layers[layer](x, self._dropout))

    def _dropout(self, x: Tensor) -> Tensor:
        rate = self.options.dropout_rate
        if not self.training or not rate:
            return x
        kept = torch.rand(x.shape, generator=self.rng, device=x.device) >= rate
        return x * kept / (1 - rate)

    def class_features(self, names: Sequence[str]) -> Tensor:
        """Features of the classes' texts through the updated text tower, of unit length: (C, d)."""
        texts = [self.texts.of(name) for name in names]
        prompts = self.backbone.text_prompts([text for own in texts for text in own])
        features = normalise(self.backbone.text(prompts, self.hooks("text"))[0].float())
        means = [rows.mean(dim=0) for rows in features.split([len(own) for own in texts])]
        return normalise(torch.stack(means))

    def classifier(self, names: Sequence[str], scale: float | None = None) -> Classifier:
        class_features, factor, hooks = self.class_features(names), self.scale(scale), self.hooks("vision")

        def logits(x: Tensor) -> Tensor:
            features = normalise(self.backbone.image(x.to(self.backbone.dtype), hooks).float())
            return product(factor * features, class_features.T)  # (B, C)

        return logits


class Updates(nn.Module):
    """The low-rank updates of one layer's queries, keys and values: rows (*, w) -> (*, 3w)."""

    def __init__(self, width: int, options: CLIPLoRAOptions):
        super().__init__()
        for name in options.params:
            first = nn.Parameter(torch.empty(options.r, width))
            nn.init.kaiming_uniform_(first, a=math.sqrt(5))
            self.register_parameter(f"{name}_A", first)
            self.register_parameter(f"{name}_B", nn.Parameter(torch.zeros(width, options.r)))

    def forward(self, x: Tensor, dropout: Any) -> Tensor:
        parts = []
        for name in QKV:
            if hasattr(self, f"{name}_A"):
                low = dropout(x).to(self.get_parameter(f"{name}_A").dtype) @ self.get_parameter(f"{name}_A").T
                parts.append((low @ self.get_parameter(f"{name}_B").T).to(x.dtype))
            else:
                parts.append(torch.zeros_like(x))
        return torch.cat(parts, dim=-1)
