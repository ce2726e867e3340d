"""Small pictures on disk, and how they are seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision import transforms as T

RANDOM = T.Compose([T.RandomResizedCrop(32), T.RandomHorizontalFlip(), T.ToTensor()])
PLAIN = T.Compose([T.Resize(32), T.CenterCrop(32), T.ToTensor()])


@dataclass(frozen=True)
class Item:
    impath: str
    label: int


def pictures(folder: Path, count: int) -> list[Item]:
    """Noise of three classes, always the same."""
    rng = np.random.default_rng(0)
    items = []
    for i in range(count):
        file = folder / f"{i}.png"
        Image.fromarray(rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)).save(file)
        items.append(Item(str(file), i % 3))
    return items
