"""The paper's ablation of the decoder: one learned from scratch, with neither prompt nor text tower in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainers.prompting.clip import normalise
from trainers.ship.generator import ACTIVATIONS, GENERATORS, FeatureGenerator, initialise

from .vae import Autoencoder


class FromScratch(FeatureGenerator):
    """Decoder: latent and the class's text feature through two linear layers straight to an image feature."""

    def build(self, rng: torch.Generator) -> None:
        d, cfg = self.clip.dim, self.cfg
        activation = ACTIVATIONS[cfg.ACTIVATION]()
        self.decoder = nn.Sequential(nn.Linear(2 * d, cfg.HIDDEN), activation, nn.Linear(cfg.HIDDEN, d))
        initialise(self.decoder, rng)

    def decode(self, z: Tensor, labels: Tensor) -> Tensor:
        condition = self.class_features()[labels.to(z.device)]  # (B, d)
        return normalise(self.decoder(torch.cat([z, condition], dim=1)))


@GENERATORS.register()
class MLP(Autoencoder, FromScratch):
    """The same encoder and objective as the VAE, the decoder learned from scratch."""
