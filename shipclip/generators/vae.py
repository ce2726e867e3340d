"""SHIP's generator: a variational auto-encoder whose decoder is CLIP's text tower.

    x  --encoder-->  mu, log sigma^2  --+ noise-->  z  --generator-->  r
    p(z) = [p_1 + r, ..., p_L + r]      x_hat = T([SOS, p(z), class name, ".", EOT])

Wang et al., "Improving Zero-Shot Generalization for CLIP with Synthesized Prompts", ICCV 2023, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..backbones.base import normalise
from ..features.bank import FeatureBank
from ..optim import EPOCHS
from ..options import option
from ..precision import product, update
from . import prompt_decoder
from .base import GENERATORS, WIDTH, FeatureGenerator, GeneratorOptions, initialise

MOST_RESIDUALS = 4096  # kept with the generator


@dataclass(frozen=True)
class AutoencoderOptions(GeneratorOptions):
    """Beyond the reference, off in its configuration: KL_ANNEAL and FREE_BITS keep the posterior from collapsing;
    LATENT "posterior" samples from the base images' own posteriors (the aggregated posterior) in place of N(0, I);
    CONTRAST_WEIGHT makes synthetic features tell the classes apart as real ones do, and ANCHOR_WEIGHT keeps them near
    the class's text feature, where names that training does not show lie as well. OBSERVATION "residuals" samples what
    the likelihood p(x | z) leaves to chance, too: to x_hat comes what a random base image has beyond its own
    reconstruction. The reference takes the mean, x_hat, so its features spread as little as the latents make them."""

    encoder_hidden: int = option(2048, least=1, most=WIDTH)
    kl_weight: float = option(1.0, least=0)
    kl_anneal: int = option(0, least=0, most=EPOCHS)  # epochs over which KL_WEIGHT is reached linearly; 0: at once
    free_bits: float = option(0.0, least=0)  # nats of KL that cost nothing
    latent: str = option("prior", choices=("prior", "posterior"))  # N(0, I), or the base images' posteriors
    # Real features must find their class among the batch's synthetic ones.
    contrast_weight: float = option(0.0, least=0)
    anchor_weight: float = option(0.0, least=0)  # pull synthetic features to the class's text feature
    # Of p(x | z): its mean, or the mean plus a base image's residual.
    observation: str = option("mean", choices=("mean", "residuals"))


class Autoencoder(FeatureGenerator):
    """Encoder and objective of a variational auto-encoder; a subclass adds the decoder."""

    Options = AutoencoderOptions
    losses = ("loss", "reconstruction", "kl")

    def build_decoder(self, rng: torch.Generator) -> None:
        """Make what `decode` needs."""
        raise NotImplementedError

    def build(self, rng: torch.Generator) -> None:
        self.encoder = Encoder(self.backbone.dim, self.options.encoder_hidden)
        initialise(self.encoder, rng)
        if self.options.latent == "posterior":
            self.register_buffer("posterior_mean", torch.zeros(0, self.backbone.dim))  # (N, d)
            self.register_buffer("posterior_std", torch.zeros(0, self.backbone.dim))  # (N, d)
        if self.options.observation == "residuals":
            self.register_buffer("residuals", torch.zeros(0, self.backbone.dim))  # (R, d)
        self.build_decoder(rng)

    def elbo_terms(self, x: Tensor, labels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction and KL term, each summed over dimensions and averaged over the batch, and x_hat.

        Args:
            x: normalised image features, (B, d).
            labels: classes of the images, (B,).
            noise: draws from N(0, I), (B, d).
        """
        mean, log_var = (out.to(x.dtype) for out in self.encoder(x))  # the KL term is a difference of near numbers
        z = mean + (log_var / 2).exp() * noise
        x_hat = self.decode(z, labels)
        reconstruction = (x_hat - x).square().sum(dim=1).mean()
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(dim=1).mean()  # nats
        return reconstruction, kl, x_hat

    def kl_weight(self, epoch: int) -> float:
        """KL_WEIGHT, reached linearly over the first KL_ANNEAL epochs."""
        annealed = min(1.0, (epoch + 1) / self.options.kl_anneal) if self.options.kl_anneal else 1.0
        return self.options.kl_weight * annealed

    def extra_terms(self, x: Tensor, x_hat: Tensor, labels: Tensor) -> Tensor:
        """CONTRAST_WEIGHT * contrast + ANCHOR_WEIGHT * mean of 1 - cosine similarity of x_hat and its text feature."""
        extra = x.new_zeros(())
        if self.options.contrast_weight:
            extra = extra + self.options.contrast_weight * contrast(x, x_hat, labels, self.backbone.logit_scale)
        if self.options.anchor_weight:
            text = self.class_features()[labels]  # (B, d)
            extra = extra + self.options.anchor_weight * (1 - (x_hat * text).sum(dim=1)).mean()
        return extra

    def step(self, optimizer, x: Tensor, labels: Tensor, noise: Tensor, epoch: int = 0) -> Tensor:
        """One update on the negative ELBO; returns (loss, reconstruction, KL) as they were before it, (3,)."""
        with self.backbone.precision.training_step():
            reconstruction, kl, x_hat = self.elbo_terms(x, labels, noise)
            extra = self.extra_terms(x, x_hat, labels)
        loss = reconstruction + self.kl_weight(epoch) * kl.clamp(min=self.options.free_bits) + extra
        update(loss, optimizer, self.scaler)
        return torch.stack([loss.detach(), reconstruction.detach(), kl.detach()])

    def train_batch(self, optimizer, x: Tensor, labels: Tensor, rng: torch.Generator, epoch: int) -> Tensor:
        noise = torch.randn(x.shape, generator=rng).to(x.device)
        return self.step(optimizer, x, labels, noise, epoch)

    @torch.no_grad()
    def finish(self, bank: FeatureBank) -> None:
        if self.options.latent == "posterior":
            mean, log_var = self.encoder(bank.of_view(0))
            self.posterior_mean, self.posterior_std = mean, (log_var / 2).exp()
        if self.options.observation == "residuals":
            step = -(-len(bank.labels) // MOST_RESIDUALS)  # evenly over all classes
            x, labels = bank.of_view(0, step), bank.labels[::step]
            self.residuals = x - self.decode_in_chunks(self.encoder(x)[0], labels)

    def latents(self, count: int, rng: torch.Generator) -> Tensor:
        z = super().latents(count, rng)
        if self.options.latent == "prior":
            return z
        device = self.posterior_mean.device
        rows = torch.randint(len(self.posterior_mean), (count,), generator=rng).to(device)
        return self.posterior_mean[rows] + self.posterior_std[rows] * z.to(device)

    def draw(self, count: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        drawn = super().draw(count, rng)
        if self.options.observation == "mean":
            return drawn
        return (*drawn, torch.randint(len(self.residuals), (count,), generator=rng))

    @torch.no_grad()
    def make(self, labels: Tensor, z: Tensor, residuals: Tensor | None = None) -> Tensor:
        x_hat = super().make(labels, z)
        return x_hat if residuals is None else normalise(x_hat + self.residuals[residuals.to(x_hat.device)])


def contrast(x: Tensor, x_hat: Tensor, labels: Tensor, scale: float) -> Tensor:
    """How badly a real feature finds its class among the synthetic features of the batch's other images.

    Image i picks j != i with probability softmax_j(scale * x_i . x_hat_j); the mean of -log of the probability that j
    is of i's class, over the images that share their class with another (neighbourhood components analysis,
    Goldberger et al., NeurIPS 2004). 0 where none does.

    Args:
        x, x_hat: real and synthetic features, (B, d).
        labels: (B,).
        scale: of cosine similarities in a logit.
    """
    if len(x) == 1:  # it has no other to pick, and a softmax over nothing is not a number
        return x.new_zeros(())
    labels = labels.to(x.device, non_blocking=True)
    itself = torch.eye(len(x), dtype=torch.bool, device=x.device)
    same = (labels[:, None] == labels) & ~itself  # (B, B)
    log_p = product(scale * x, x_hat.T).float().masked_fill(itself, float("-inf")).log_softmax(dim=1)
    shared = same.any(dim=1)
    counted = same | ~shared[:, None]  # the others' sums are finite, and left out: no row is picked, so nobody waits
    nats = -log_p.masked_fill(~counted, float("-inf")).logsumexp(dim=1)
    return (nats * shared).sum() / shared.sum().clamp(min=1)


@dataclass(frozen=True)
class VAEOptions(prompt_decoder.PromptDecoderOptions, AutoencoderOptions):
    pass


@GENERATORS.register
class VAE(Autoencoder):
    """The paper's: encoder, bias generator and global context vectors p_1 ... p_L in front of the text tower."""

    Options = VAEOptions

    def build_decoder(self, rng: torch.Generator) -> None:
        self.generator, self.prompt = prompt_decoder.build(self.backbone, self.options, rng)

    def decode(self, z: Tensor, labels: Tensor) -> Tensor:
        return prompt_decoder.decode(self, z, labels)


class Encoder(nn.Module):
    """q(z | x): image feature to mean and log variance of the latent, each (B, d)."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU())
        self.mean = nn.Linear(hidden, dim)
        self.log_var = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.net(x)
        return self.mean(h), self.log_var(h)
