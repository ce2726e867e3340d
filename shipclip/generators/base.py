"""The seam between SHIP's two stages: what makes features from a class's name.

A generator is fitted to base images' features (stage 1) and then asked for features of any class (stage 2). Each is a
file in this folder, with options of its own, chosen by TRAINER.SHIP.GENERATOR.NAME.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..backbones.base import Backbone
from ..checkpoints import is_longer
from ..features.bank import FeatureBank
from ..optim import EPOCHS
from ..options import checked, option
from ..registry import Registry
from ..rng import stream
from ..texts import Texts

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "leaky_relu": lambda: nn.LeakyReLU(0.2)}
WIDTH = 65_536  # of a hidden layer; more than anybody has memory for
SAMPLES_AT_ONCE = 1024  # prompts in one pass of the text tower, and how far stage 2 makes ahead; bounds the memory


@dataclass(frozen=True)
class GeneratorOptions:
    """What every generator has; a subclass adds its own. The defaults are the reference code's settings."""

    lr: float = option(1e-3, above=0)  # AdamW, torch's other defaults, no schedule
    epochs: int = option(50, least=1, most=EPOCHS)
    batch_size: int = option(256, least=1)


class FeatureGenerator(nn.Module):
    """Base class; a subclass makes its networks in `build` and overrides `decode` and `train_batch`.

    One that draws more than latents overrides `draw`, and `make`, which has it; never `sample`, which is both.

    Args:
        backbone: the frozen CLIP.
        names: all class names, base classes first; labels index them.
        options: an instance of `Options`.
        seed: of its weights and of its training.
        texts: the hand-written texts of each class.

    Attributes:
        Options: dataclass of its options; their keys stand under TRAINER.SHIP.GENERATOR, beside those of the others.
        losses: names of what `train_batch` returns.
    """

    Options: ClassVar[type] = GeneratorOptions
    losses: ClassVar[tuple[str, ...]] = ("loss",)

    def __init_subclass__(cls, **further: Any) -> None:
        super().__init_subclass__(**further)
        if "sample" in cls.__dict__:
            raise TypeError(f"{cls.__name__} overrides sample, which training does not ask: override draw and make")

    def __init__(self, backbone: Backbone, names: Sequence[str], options: Any, seed: int, texts: Texts | None = None):
        super().__init__()
        self.options = checked(options, "TRAINER.SHIP.GENERATOR.")
        self.backbone, self.names, self.seed = backbone, list(names), seed
        self.texts = texts or Texts()
        self.scaler = backbone.precision.scaler()
        self.build(stream(seed, "generator"))
        self.to(backbone.device)

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

    @property
    def epochs(self) -> int:
        """How often stage 1 goes through the base images: EPOCHS, or once where nothing is learned."""
        return self.options.epochs if list(self.parameters()) else 1

    def optimizer(self) -> torch.optim.Optimizer | None:
        """AdamW over everything learned (one over all is the reference's three: it works per parameter); None where
        nothing is."""
        learned = list(self.parameters())
        return torch.optim.AdamW(learned, lr=self.options.lr, fused=True) if learned else None

    def latents(self, count: int, rng: torch.Generator) -> Tensor:
        """Latents to sample from, N(0, I) unless a subclass says otherwise: (count, d), wherever they are made."""
        return torch.randn(count, self.backbone.dim, generator=rng)

    def sample(self, labels: Tensor, rng: torch.Generator) -> Tensor:
        """A synthetic feature for each label: (B, d). Labels and rng live on the CPU."""
        return self.make(labels, *self.draw(len(labels), rng))

    def draw(self, count: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        """All that is random about so many samples: tensors with a row for each, so that several draws may be joined.

        Here the latents; a subclass may add others.
        """
        return (self.latents(count, rng),)

    @torch.no_grad()
    def make(self, labels: Tensor, z: Tensor) -> Tensor:
        """The samples that were drawn, (B, d), in chunks; each from its own rows alone."""
        return self.decode_in_chunks(z, labels)

    def decode_in_chunks(self, z: Tensor, labels: Tensor) -> Tensor:
        """`decode` of any number of latents, (N, d), wherever they live."""
        parts = zip(z.split(SAMPLES_AT_ONCE), labels.split(SAMPLES_AT_ONCE), strict=True)
        return torch.cat([self.decode(some.to(self.backbone.device), of) for some, of in parts])

    def class_features(self) -> Tensor:
        """The text features of all classes: (C, d), made once."""
        if not hasattr(self, "_class_features"):
            self._class_features = [self.texts.features(self.backbone, self.names)]  # in a list: no parameter
        return self._class_features[0]

    def rename(self, names: Sequence[str]) -> None:
        """From now on labels index these names."""
        self.names = list(names)
        self.__dict__.pop("_class_features", None)

    def make_room(self, state: dict[str, Any]) -> None:
        """Give buffers the shapes that they have in a checkpoint (they may follow from the number of images)."""
        for name, buffer in self.named_buffers(recurse=False):
            if name in state and is_longer(state[name], buffer):
                buffer.data = torch.empty(state[name].shape, dtype=buffer.dtype, device=buffer.device)


GENERATORS: Registry[type[FeatureGenerator]] = Registry("generator")


def initialise(module: nn.Module, rng: torch.Generator) -> None:
    """Linear weights N(0, 0.02), biases 0, as in the reference code."""
    for parameter in module.parameters():
        if parameter.dim() == 2:
            parameter.data = torch.randn(parameter.shape, generator=rng) * 0.02
        else:
            nn.init.zeros_(parameter)
