"""Which backbones let a learner reach into their towers."""

from __future__ import annotations

from ..errors import UserError
from .base import Backbone
from .image_tower import ImageTower
from .text_tower import TextTower


def need_transformers(backbone: Backbone, who: str) -> None:
    """Refuse a backbone whose towers take no hooks.

    Raises:
        UserError: naming the backbone and the learner.
    """
    if not isinstance(backbone.image, ImageTower) or not isinstance(backbone.text, TextTower):
        raise UserError(
            f"{who} reaches into both towers, which must be a vision transformer and a causal text transformer of "
            f"OpenAI's kind, and {backbone.name} is not so: choose another backbone, ViT-B/16 say, or another learner"
        )
