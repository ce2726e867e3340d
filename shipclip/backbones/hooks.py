"""What a learner may change inside a frozen transformer tower."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Hooks:
    """Changes to one tower; by default none. Both towers take the same kind.

    Attributes:
        tokens: of the image tower alone: vectors behind the patches, (n, w).
        deep: layer -> vectors (n, w) that take the place of the n context vectors before that layer: in the text tower
            those behind the start token, in the image tower the `tokens` (deep prompting, Jia et al., ECCV 2022).
        projection: (layer, rows (N, w)) -> what is added to their queries, keys and values, (N, 3w) (LoRA, Hu et al.,
            ICLR 2022).
    """

    tokens: Tensor | None = None
    deep: Mapping[int, Tensor] = field(default_factory=dict)
    projection: Callable[[int, Tensor], Tensor] | None = None

    def add_projection(self, layer: int, x: Tensor, qkv: Tensor) -> Tensor:
        """Queries, keys and values with the learner's part of them: (*, 3w)."""
        return qkv if self.projection is None else qkv + self.projection(layer, x)


NONE = Hooks()
