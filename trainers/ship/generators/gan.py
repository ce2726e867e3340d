"""The paper's ablation of the generative model: a Wasserstein GAN with gradient penalty on features.

The generator is SHIP's own decoder, fed with N(0, I); the critic sees a feature next to its class's text feature.
Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017; for features Xian et al., CVPR 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainers.prompting.precision import update
from trainers.ship.generator import GENERATORS, PromptDecoder, initialise


@GENERATORS.register()
class GAN(PromptDecoder):
    """CRITIC_STEPS updates of the critic, then one of the generator, on each batch."""

    losses = ("critic", "penalty", "generator")

    def build(self, rng: torch.Generator) -> None:
        super().build(rng)
        self.critic = Critic(self.clip.dim, self.cfg.CRITIC_HIDDEN)
        initialise(self.critic, rng)

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam with the betas of the WGAN-GP paper; a part without gradients is left as it is."""
        return torch.optim.Adam(self.parameters(), lr=self.cfg.GAN_LR, betas=(0.5, 0.9))

    def train_batch(self, optimizer, x: Tensor, labels: Tensor, rng: torch.Generator, epoch: int) -> Tensor:
        for _ in range(self.cfg.CRITIC_STEPS):
            z = self.latents(len(x), rng).to(x.device)
            mix = torch.rand(len(x), 1, generator=rng).to(x.device)
            with self.clip.precision.training_step():
                distance, penalty = self.critic_terms(x, labels, z, mix)
            update(distance + self.cfg.PENALTY * penalty, optimizer, self.scaler)
        z = self.latents(len(x), rng).to(x.device)
        self.critic.requires_grad_(False)
        with self.clip.precision.training_step():
            loss = self.generator_loss(labels, z)
        update(loss, optimizer, self.scaler)
        self.critic.requires_grad_(True)
        return torch.stack([distance.detach(), penalty.detach(), loss.detach()])

    def critic_terms(self, x: Tensor, labels: Tensor, z: Tensor, mix: Tensor) -> tuple[Tensor, Tensor]:
        """E[D(x_hat)] - E[D(x)] and the gradient penalty E[(|grad D(x_mixed)| - 1)^2].

        Args:
            x: real features, (B, d).
            labels: their classes, (B,).
            z: latents of as many synthetic ones, (B, d).
            mix: share of the real feature in each mixed one, (B, 1).
        """
        condition = self.class_features()[labels]  # (B, d)
        with torch.no_grad():
            fake = self.decode(z, labels)
        distance = self.critic(fake, condition).mean() - self.critic(x, condition).mean()
        mixed = (mix * x + (1 - mix) * fake).requires_grad_()
        (gradient,) = torch.autograd.grad(self.critic(mixed, condition).sum(), mixed, create_graph=True)
        penalty = (gradient.float().norm(dim=1) - 1).square().mean()
        return distance, penalty

    def generator_loss(self, labels: Tensor, z: Tensor) -> Tensor:
        """-E[D(x_hat)]."""
        return -self.critic(self.decode(z, labels), self.class_features()[labels]).mean()


class Critic(nn.Module):
    """Feature and class condition, each (B, d), to a score, (B,)."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2 * dim, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return self.net(torch.cat([x, condition], dim=1)).squeeze(1)
