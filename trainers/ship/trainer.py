"""SHIP: the generator pre-stage, and the learner on real and synthetic features."""

from __future__ import annotations

from dassl.engine import TRAINER_REGISTRY

from .base import LibraryTrainer


@TRAINER_REGISTRY.register()
class SHIPGenerator(LibraryTrainer):
    """Stage 1 alone: fits the generator to the classes with images and leaves it in OUTPUT_DIR/generator, for SHIP to
    take over (TRAINER.SHIP.GENERATOR.FROM)."""


@TRAINER_REGISTRY.register()
class SHIP(LibraryTrainer):
    """Runs the generator pre-stage, or takes over one that was run before; then tunes TRAINER.SHIP.LEARNER, CoOp unless
    said otherwise, on real and synthetic features."""
