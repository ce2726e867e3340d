"""Upstream's own RAdam predates torch's; the name is kept for trainers that import it."""

from torch.optim import RAdam

__all__ = ["RAdam"]
