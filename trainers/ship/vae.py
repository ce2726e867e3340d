"""SHIP's first stage: a variational auto-encoder whose decoder is CLIP's text tower.

    x  --encoder-->  mu, log sigma^2  --+ noise-->  z  --generator-->  r
    p(z) = [p_1 + r, ..., p_L + r]      x_hat = T([SOS, p(z), class name, ".", EOT])

Wang et al., "Improving Zero-Shot Generalization for CLIP with Synthesized Prompts", ICCV 2023, section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from trainers.prompting.clip import FrozenCLIP, normalise
from trainers.prompting.features import FeatureBank, FeatureLoader
from trainers.prompting.precision import update
from trainers.prompting.prompts import ClassTokens, PromptLearner, instance_prompts
from trainers.prompting.rng import stream

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "leaky_relu": lambda: nn.LeakyReLU(0.2)}


class VAE(nn.Module):
    """Encoder, generator and the global context vectors p_1 ... p_L.

    Args:
        clip: the frozen CLIP whose text tower decodes.
        names: all class names, base classes first; labels index them.
        cfg: the node TRAINER.SHIP.GENERATOR.
        seed: of its weights and of its training.
    """

    def __init__(self, clip: FrozenCLIP, names: list[str], cfg: CN, seed: int):
        super().__init__()
        rng = stream(seed, "generator")
        if cfg.ACTIVATION not in ACTIVATIONS:
            raise ValueError(
                f"TRAINER.SHIP.GENERATOR.ACTIVATION is {cfg.ACTIVATION!r}: choose one of {', '.join(ACTIVATIONS)}"
            )
        self.cfg, self.seed, self.clip = cfg, seed, clip
        self.scaler = clip.precision.scaler()
        self.encoder = Encoder(clip.dim, cfg.ENCODER_HIDDEN)
        self.generator = Generator(clip.dim, cfg.HIDDEN, clip.width, ACTIVATIONS[cfg.ACTIVATION]())
        for module in (self.encoder, self.generator):
            _initialise(module, rng)
        self.prompt = PromptLearner(clip, cfg.N_CTX, cfg.CTX_INIT, rng=rng).float()
        self.classes = ClassTokens.of(clip, names, self.prompt.n_ctx)
        self.to(clip.device)

    def decode(self, z: Tensor, labels: Tensor) -> Tensor:
        """x_hat: synthetic features of latents (B, d) as instances of classes (B,), unit length, (B, d)."""
        bias = self.generator(z)  # r, (B, w)
        ctx = self.prompt.ctx.to(self.clip.dtype)
        prompts = instance_prompts(ctx, bias.to(self.clip.dtype), self.classes, labels)
        return normalise(self.clip.text(prompts)[0].float())

    def elbo_terms(self, x: Tensor, labels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction and KL term, each summed over dimensions and averaged over the batch, and x_hat.

        Args:
            x: normalised image features, (B, d).
            labels: classes of the images, (B,).
            noise: draws from N(0, I), (B, d).
        """
        mean, log_var = self.encoder(x)
        z = mean + (log_var / 2).exp() * noise
        x_hat = self.decode(z, labels)
        reconstruction = (x_hat - x).square().sum(dim=1).mean()
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(dim=1).mean()  # nats
        return reconstruction, kl, x_hat

    def step(self, optimizer: torch.optim.Optimizer, x: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
        """One update on the negative ELBO; returns (reconstruction, KL) as they were before it, (2,)."""
        with self.clip.precision.training_step():
            reconstruction, kl, _ = self.elbo_terms(x, labels, noise)
        update(reconstruction + self.cfg.KL_WEIGHT * kl, optimizer, self.scaler)
        return torch.stack([reconstruction.detach(), kl.detach()])

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW over everything learned (one over all is the reference's three: it works per parameter)."""
        return torch.optim.AdamW(self.parameters(), lr=self.cfg.LR, fused=True)

    def fit(
        self,
        bank_of_epoch: Callable[[int], FeatureBank],
        optimizer: torch.optim.Optimizer,
        start_epoch: int,
        on_epoch: Callable[[int, dict[str, float]], None],
    ) -> None:
        """Train from `start_epoch` to cfg.EPOCHS.

        Args:
            bank_of_epoch: gives the base images' features, the same bank or fresh views each epoch.
            optimizer: from `optimizer()`, with its state if resumed.
            on_epoch: called after each epoch with the number of epochs done and the epoch's mean losses.
        """
        for epoch in range(start_epoch, self.cfg.EPOCHS):
            rng = stream(self.seed, "stage1", epoch)
            bank = bank_of_epoch(epoch)
            loader = FeatureLoader(len(bank), self.cfg.BATCH_SIZE, drop_last=False).start(bank, rng)
            total, count = torch.zeros(2, device=self.clip.device), 0
            for batch in loader:
                x, labels = batch["img"], batch["label"]
                noise = torch.randn(x.shape, generator=rng).to(x.device)
                total += self.step(optimizer, x, labels, noise) * len(x)
                count += len(x)
            reconstruction, kl = (total / count).tolist()
            if not torch.isfinite(total).all():
                raise FloatingPointError(
                    f"the generator's loss is not finite in epoch {epoch + 1}: lower TRAINER.SHIP.GENERATOR.LR"
                )
            loss = reconstruction + self.cfg.KL_WEIGHT * kl
            on_epoch(epoch + 1, {"loss": loss, "reconstruction": reconstruction, "kl": kl})

    @torch.no_grad()
    def sample(self, labels: Tensor, rng: torch.Generator) -> Tensor:
        """A synthetic feature for each label, z ~ N(0, I): (B, d). Labels and rng live on the CPU."""
        z = torch.randn(len(labels), self.clip.dim, generator=rng)
        return self.decode(z.to(self.clip.device), labels)


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


class Generator(nn.Module):
    """Latent (B, d) to the bias r of the context vectors, (B, w)."""

    def __init__(self, dim: int, hidden: int, width: int, activation: nn.Module):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, hidden), activation, nn.Linear(hidden, width))

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z)


def _initialise(module: nn.Module, rng: torch.Generator) -> None:
    for parameter in module.parameters():
        if parameter.dim() == 2:
            parameter.data = torch.randn(parameter.shape, generator=rng) * 0.02
        else:
            nn.init.zeros_(parameter)
