"""The paper's ablation of the decoder: one learned from scratch, with neither prompt nor text tower in it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..backbones.base import normalise
from ..options import one_of
from .base import ACTIVATIONS, GENERATORS, initialise
from .vae import Autoencoder, AutoencoderOptions


@dataclass(frozen=True)
class MLPOptions(AutoencoderOptions):
    hidden: int = 4096
    activation: str = "relu"  # relu or leaky_relu (slope 0.2)


@GENERATORS.register
class MLP(Autoencoder):
    """The same encoder and objective as the VAE; latent and the class's text feature through two linear layers straight
    to an image feature."""

    Options = MLPOptions

    def build_decoder(self, rng: torch.Generator) -> None:
        d, options = self.backbone.dim, self.options
        one_of(options.activation, "TRAINER.SHIP.GENERATOR.ACTIVATION", ACTIVATIONS)
        activation = ACTIVATIONS[options.activation]()
        self.decoder = nn.Sequential(nn.Linear(2 * d, options.hidden), activation, nn.Linear(options.hidden, d))
        initialise(self.decoder, rng)

    def decode(self, z: Tensor, labels: Tensor) -> Tensor:
        condition = self.class_features()[labels.to(z.device)]  # (B, d)
        return normalise(self.decoder(torch.cat([z, condition], dim=1)))
