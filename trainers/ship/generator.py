"""The seam between SHIP's two stages: what makes features from a class's name.

A generator is fitted to base images' features (stage 1) and then asked for features of any class (stage 2). Each is a
file in trainers/ship/generators, chosen by TRAINER.SHIP.GENERATOR.NAME.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from dassl.utils import Registry
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from trainers.prompting.clip import FrozenCLIP, normalise
from trainers.prompting.features import FeatureBank, FeatureLoader
from trainers.prompting.learner import hand_written
from trainers.prompting.prompts import ClassTokens, PromptLearner, instance_prompts
from trainers.prompting.rng import stream

GENERATORS = Registry("GENERATOR")  # TRAINER.SHIP.GENERATOR.NAME

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "leaky_relu": lambda: nn.LeakyReLU(0.2)}


class FeatureGenerator(nn.Module):
    """Base class; a subclass makes its networks in `build` and overrides `decode` and `train_batch`.

    Args:
        clip: the frozen CLIP.
        names: all class names, base classes first; labels index them.
        cfg: the node TRAINER.SHIP.GENERATOR.
        seed: of its weights and of its training.

    Attributes:
        losses: names of what `train_batch` returns.
    """

    losses: tuple[str, ...] = ("loss",)

    def __init__(self, clip: FrozenCLIP, names: list[str], cfg: CN, seed: int):
        super().__init__()
        if cfg.ACTIVATION not in ACTIVATIONS:
            raise ValueError(
                f"TRAINER.SHIP.GENERATOR.ACTIVATION is {cfg.ACTIVATION!r}: choose one of {', '.join(ACTIVATIONS)}"
            )
        self.clip, self.names, self.cfg, self.seed = clip, list(names), cfg, seed
        self.scaler = clip.precision.scaler()
        self.build(stream(seed, "generator"))
        self.to(clip.device)

    # -- what a subclass defines ------------------------------------------------------------------------

    def build(self, rng: torch.Generator) -> None:
        """Make the networks."""

    def decode(self, z: Tensor, labels: Tensor) -> Tensor:
        """Synthetic features of latents (B, d) as instances of classes (B,), unit length, (B, d)."""
        raise NotImplementedError

    def train_batch(self, optimizer: Any, x: Tensor, labels: Tensor, rng: torch.Generator, epoch: int) -> Tensor:
        """The updates on one batch of real features, (B, d); returns the losses as they were before, (len(losses),)."""
        raise NotImplementedError

    def summarise(self, means: dict[str, float]) -> dict[str, float]:
        """What is told of an epoch, from its mean losses."""
        return means

    def finish(self, bank: FeatureBank) -> None:
        """Take what sampling needs from the base images' features, after the last epoch."""

    # -- what all share ---------------------------------------------------------------------------------

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

        Raises:
            FloatingPointError: a loss that is not finite.
        """
        for epoch in range(start_epoch, self.cfg.EPOCHS):
            rng = stream(self.seed, "stage1", epoch)
            bank = bank_of_epoch(epoch)
            loader = FeatureLoader(len(bank), self.cfg.BATCH_SIZE, drop_last=False).start(bank, rng)
            total, count = torch.zeros(len(self.losses), device=self.clip.device), 0
            for batch in loader:
                x, labels = batch["img"], batch["label"]
                total += self.train_batch(optimizer, x, labels, rng, epoch) * len(x)
                count += len(x)
            if not torch.isfinite(total).all():
                raise FloatingPointError(
                    f"the generator's loss is not finite in epoch {epoch + 1}: lower TRAINER.SHIP.GENERATOR.LR"
                )
            if epoch + 1 == self.cfg.EPOCHS:
                self.finish(bank)
            means = dict(zip(self.losses, (total / count).tolist(), strict=True))
            on_epoch(epoch + 1, self.summarise(means))

    def latents(self, count: int, rng: torch.Generator) -> Tensor:
        """Latents to sample from, N(0, I) unless a subclass says otherwise: (count, d), on the CPU."""
        return torch.randn(count, self.clip.dim, generator=rng)

    @torch.no_grad()
    def sample(self, labels: Tensor, rng: torch.Generator) -> Tensor:
        """A synthetic feature for each label: (B, d). Labels and rng live on the CPU."""
        z = self.latents(len(labels), rng)
        return self.decode(z.to(self.clip.device), labels)

    def class_features(self) -> Tensor:
        """The text features of all classes, of CLIP's common prompt: (C, d), made once."""
        if not hasattr(self, "_class_features"):
            self._class_features = [hand_written(self.clip, self.names, "a photo of a {}.")]  # in a list: no parameter
        return self._class_features[0]

    def make_room(self, state: dict[str, Any]) -> None:
        """Give buffers the shapes that they have in a checkpoint (they may follow from the number of images)."""
        for name, buffer in self.named_buffers(recurse=False):
            if name in state and state[name].shape != buffer.shape:
                buffer.data = torch.empty(state[name].shape, dtype=buffer.dtype, device=buffer.device)


class PromptDecoder(FeatureGenerator):
    """SHIP's decoder: latent -> bias r -> prompt p_i + r -> frozen text tower (section 3.2)."""

    def build(self, rng: torch.Generator) -> None:
        cfg, clip = self.cfg, self.clip
        self.generator = BiasGenerator(clip.dim, cfg.HIDDEN, clip.width, ACTIVATIONS[cfg.ACTIVATION]())
        initialise(self.generator, rng)
        self.prompt = PromptLearner(clip, cfg.N_CTX, cfg.CTX_INIT, rng=rng).float()
        self.classes = ClassTokens.of(clip, self.names, self.prompt.n_ctx)

    def decode(self, z: Tensor, labels: Tensor) -> Tensor:
        """x_hat = T([SOS, p(z), class name, ".", EOT])."""
        bias = self.generator(z)  # r, (B, w)
        ctx = self.prompt.ctx.to(self.clip.dtype)
        prompts = instance_prompts(ctx, bias.to(self.clip.dtype), self.classes, labels)
        return normalise(self.clip.text(prompts)[0].float())


class BiasGenerator(nn.Module):
    """Latent (B, d) to the bias r of the context vectors, (B, w)."""

    def __init__(self, dim: int, hidden: int, width: int, activation: nn.Module):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, hidden), activation, nn.Linear(hidden, width))

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z)


def initialise(module: nn.Module, rng: torch.Generator) -> None:
    """Linear weights N(0, 0.02), biases 0, as in the reference code."""
    for parameter in module.parameters():
        if parameter.dim() == 2:
            parameter.data = torch.randn(parameter.shape, generator=rng) * 0.02
        else:
            nn.init.zeros_(parameter)
