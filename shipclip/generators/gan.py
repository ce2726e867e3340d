"""The paper's ablation of the generative model: a Wasserstein GAN with gradient penalty on features.

The generator is SHIP's own decoder, fed with N(0, I); the critic sees a feature next to its class's text feature.
Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017; for features Xian et al., CVPR 2018.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..options import option
from ..precision import full, update
from . import prompt_decoder
from .base import GENERATORS, WIDTH, FeatureGenerator, GeneratorOptions, initialise


@dataclass(frozen=True)
class GANOptions(prompt_decoder.PromptDecoderOptions, GeneratorOptions):
    critic_hidden: int = option(4096, least=1, most=WIDTH)  # width of the critic
    critic_steps: int = option(5, least=1, most=1000)  # the critic's updates for each of the generator's
    penalty: float = option(10.0, least=0)  # weight of the gradient penalty
    gan_lr: float = option(1e-4, above=0)  # Adam's learning rate


@GENERATORS.register
class GAN(FeatureGenerator):
    """CRITIC_STEPS updates of the critic, then one of the generator, on each batch."""

    Options = GANOptions
    losses = ("critic", "penalty", "generator")

    def build(self, rng: torch.Generator) -> None:
        self.generator, self.prompt = prompt_decoder.build(self.backbone, self.options, rng)
        self.critic = Critic(self.backbone.dim, self.options.critic_hidden)
        initialise(self.critic, rng)

    def decode(self, z: Tensor, labels: Tensor) -> Tensor:
        return prompt_decoder.decode(self, z, labels)

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam with the betas of the WGAN-GP paper; a part without gradients is left as it is."""
        return torch.optim.Adam(self.parameters(), lr=self.options.gan_lr, betas=(0.5, 0.9), fused=True)

    def train_batch(self, optimizer, x: Tensor, labels: Tensor, rng: torch.Generator, epoch: int) -> Tensor:
        steps, B = self.options.critic_steps, len(x)
        draws = [(self.latents(B, rng), torch.rand(B, 1, generator=rng)) for _ in range(steps)]
        # The generator stays as it is meanwhile, so all that the critic sees is made at once.
        with self.backbone.precision.training_step():
            fakes = self.make(labels.repeat(steps), torch.cat([z for z, _ in draws])).split(B)
        for (_, mix), fake in zip(draws, fakes, strict=True):
            distance, penalty = self.critic_terms(x, fake, labels, mix.to(x.device))
            update(distance + self.options.penalty * penalty, optimizer, self.scaler)
        z = self.latents(B, rng).to(x.device)
        self.critic.requires_grad_(False)
        with self.backbone.precision.training_step():
            loss = self.generator_loss(labels, z)
        update(loss, optimizer, self.scaler)
        self.critic.requires_grad_(True)
        return torch.stack([distance.detach(), penalty.detach(), loss.detach()])

    def critic_terms(self, x: Tensor, fake: Tensor, labels: Tensor, mix: Tensor) -> tuple[Tensor, Tensor]:
        """E[D(x_hat)] - E[D(x)] and the gradient penalty E[(|grad D(x_mixed)| - 1)^2].

        In float32 in every precision: the penalty's own gradient would be lost in half.

        Args:
            x, fake: real and synthetic features, (B, d).
            labels: their classes, (B,).
            mix: share of the real feature in each mixed one, (B, 1).
        """
        condition = self.class_features()[labels]  # (B, d)
        hidden = self.critic.hidden(torch.cat([fake, x]), condition.repeat(2, 1))  # (2B, h)
        scores = self.critic.score(hidden).view(2, -1).mean(dim=1)
        of_fake, of_real = hidden.detach().chunk(2)
        mixed = mix * of_real + (1 - mix) * of_fake  # the first layer is affine: this is the mixed feature's
        gradient = self.critic.gradient(mixed)
        penalty = (gradient.float().norm(dim=1) - 1).square().mean()
        return scores[0] - scores[1], penalty

    def generator_loss(self, labels: Tensor, z: Tensor) -> Tensor:
        """-E[D(x_hat)]."""
        return -full(self.critic(self.decode(z, labels), self.class_features()[labels])).mean()


class Critic(nn.Module):
    """Feature and class condition, each (B, d), to a score, (B,)."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2 * dim, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return self.score(self.hidden(x, condition))

    def hidden(self, x: Tensor, condition: Tensor) -> Tensor:
        """The hidden layer before its activation: (B, h)."""
        return self.net[0](torch.cat([x, condition], dim=1))

    def score(self, hidden: Tensor) -> Tensor:
        """(B, h) -> (B,)"""
        _, activation, last = self.net
        return last(activation(hidden)).squeeze(1)

    def gradient(self, hidden: Tensor) -> Tensor:
        """The score's gradient by the feature whose hidden layer this is, (B, h) -> (B, d), by the chain rule written
        out: a second backward pass through the first takes twice as long."""
        first, activation, last = self.net
        # Constant almost everywhere, so nothing is learned through them.
        slopes = torch.where(hidden > 0, 1.0, activation.negative_slope).to(last.weight.dtype)
        return ((slopes * last.weight) @ first.weight)[:, : first.in_features // 2]
