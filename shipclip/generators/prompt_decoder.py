"""SHIP's decoder: latent -> bias r -> prompt p_i + r -> frozen text tower (section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..backbones.base import Backbone, normalise
from ..backbones.prompts import ClassTokens, PromptLearner, instance_prompts
from ..options import option
from .base import ACTIVATIONS, WIDTH, FeatureGenerator, initialise


@dataclass(frozen=True)
class PromptDecoderOptions:
    n_ctx: int = option(4, least=1, most=1000)  # L, global context vectors
    ctx_init: str = ""  # start them from these words; empty: N(0, 0.02)
    hidden: int = option(4096, least=1, most=WIDTH)
    activation: str = option("relu", choices=tuple(ACTIVATIONS))  # between the layers; leaky_relu's slope is 0.2


class BiasGenerator(nn.Module):
    """Latent (B, d) to the bias r of the context vectors, (B, w)."""

    def __init__(self, dim: int, hidden: int, width: int, activation: nn.Module):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, hidden), activation, nn.Linear(hidden, width))

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z)


def build(backbone: Backbone, options: PromptDecoderOptions, rng: torch.Generator) -> tuple[nn.Module, PromptLearner]:
    """The two learned parts: bias generator, and context vectors p_1 ... p_L in float32."""
    generator = BiasGenerator(backbone.dim, options.hidden, backbone.width, ACTIVATIONS[options.activation]())
    initialise(generator, rng)
    return generator, PromptLearner(backbone, options.n_ctx, options.ctx_init, rng=rng).float()


def vectors(owner: FeatureGenerator, z: Tensor) -> Tensor:
    """p_i + r of latents (B, d): (B, L, w)."""
    return owner.prompt.ctx + owner.generator(z)[:, None]


def decode(owner: FeatureGenerator, z: Tensor, labels: Tensor) -> Tensor:
    """x_hat = T([SOS, p(z), class name, ".", EOT]), of unit length: (B, d), (B,) -> (B, d)."""
    backbone = owner.backbone
    bias = owner.generator(z)  # r, (B, w)
    ctx = owner.prompt.ctx.to(backbone.dtype)
    prompts = instance_prompts(ctx, bias.to(backbone.dtype), classes_of(owner), labels)
    return normalise(backbone.text(prompts)[0].float())


def classes_of(owner: FeatureGenerator) -> ClassTokens:
    """The generator's class names as token embeddings, made once for each set of names."""
    made: ClassTokens | None = owner.__dict__.get("_classes")
    if made is None or made.names != tuple(owner.names):
        made = owner.backbone.class_tokens(owner.names, owner.prompt.n_ctx)
        owner.__dict__["_classes"] = made  # no parameter, so past nn.Module
    return made
