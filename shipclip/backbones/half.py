"""The image tower of a backbone in half precision, for export; the backbone itself stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor, nn

from .base import Backbone, normalise
from .image_tower import ImageTower
from .openai import package


def half_encoder(backbone: Backbone) -> Callable[[Tensor], Tensor]:
    """Images (B, 3, R, R), float32, to features of unit length, float32: (B, d); in between all is half precision but
    OpenAI's layer norms, which compute in float32, as in their own half-precision weights."""
    image = copy.deepcopy(backbone.image.visual if hasattr(backbone.image, "visual") else backbone.image).half()
    for module in image.modules():
        if isinstance(module, package().model.LayerNorm):
            module.float()
    tower: Callable[[Tensor], Tensor] = image
    if isinstance(backbone.image, ImageTower):
        tower = ImageTower(image)
    elif not isinstance(backbone.image, nn.Module):  # a wrapper around the model's own tower
        tower = copy.copy(backbone.image)
        tower.visual = image  # type: ignore[attr-defined]
    return lambda images: normalise(tower(images.half()).float())
