from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def compute_accuracy(output: Tensor | tuple | list, target: Tensor, topk: tuple[int, ...] = (1,)) -> list[Tensor]:
    """Share of targets among the k highest scores, in percent, for each k.

    Args:
        output: scores, (B, C); of a tuple or list the first element counts.
        target: labels, (B,).

    Returns:
        One tensor of shape (1,) for each k.
    """
    scores = output[0] if isinstance(output, (tuple, list)) else output
    ranked = scores.topk(max(topk), dim=1).indices  # (B, max k)
    hits = ranked == target[:, None]
    return [hits[:, :k].sum().float().reshape(1) * (100.0 / len(target)) for k in topk]
