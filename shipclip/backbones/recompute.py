"""Memory for time: a part's activations are made again in the backward pass, where there is no room to hold them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..machine import free_memory

SHARE = 0.5  # of the free memory: what is held for the backward pass takes no more


def recomputed(function: Callable[..., Tensor], *args: Any) -> Tensor:
    """What a function without random choices gives; nothing but its arguments is held for its gradients."""
    return checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False)


def in_parts(
    function: Callable[..., Tensor],
    parts: Sequence[tuple[Any, ...]],
    held: Callable[..., float],
    device: torch.device,
) -> list[Tensor]:
    """What a function without random choices gives for each part: the same numbers, whatever is held and what not.

    Args:
        parts: its arguments.
        held: of a part, the bytes that its activations take until the backward pass. They are held while there is room,
            and made again in the backward pass from the first part on that has none.
        device: whose memory it is.
    """
    if not torch.is_grad_enabled():
        return [function(*part) for part in parts]
    room, found = SHARE * free_memory(device), []
    for part in parts:
        room -= held(*part)
        found.append(function(*part) if room >= 0 else recomputed(function, *part))
    return found
