"""The paper's ablation of the decoder: one learned from scratch, with neither prompt nor text tower in it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..backbones.base import normalise
from ..options import option
from .base import ACTIVATIONS, GENERATORS, WIDTH, initialise
from .vae import Autoencoder, AutoencoderOptions


@dataclass(frozen=True)
class MLPOptions(AutoencoderOptions):
    hidden: int = option(4096, least=1, most=WIDTH)
    activation: str = option("relu", choices=tuple(ACTIVATIONS))  # leaky_relu's slope is 0.2


@GENERATORS.register
class MLP(Autoencoder):
    """The same encoder and objective as the VAE; latent and the class's text feature through two linear layers straight
    to an image feature."""

    Options = MLPOptions

    def build_decoder(self, rng: torch.Generator) -> None:
        d, options = self.backbone.dim, self.options
        activation = ACTIVATIONS[options.activation]()
        self.decoder = nn.Sequential(nn.Linear(2 * d, options.hidden), activation, nn.Linear(options.hidden, d))
        initialise(self.decoder, rng)

    def decode(self, z: Tensor, labels: Tensor) -> Tensor:
        condition = self.class_features()[labels.to(z.device)]  # (B, d)
        return normalise(self.decoder(torch.cat([z, condition], dim=1)))
