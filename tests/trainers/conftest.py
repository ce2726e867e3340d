from __future__ import annotations

import pytest
import torch
from clip.model import CLIP

from trainers.prompting.clip import FrozenCLIP
from trainers.prompting.precision import Precision


def small_clip(seed: int = 0) -> FrozenCLIP:
    """A random CLIP in OpenAI's architecture: 32 px, w = 128, d = 64, two text layers."""
    torch.manual_seed(seed)
    model = CLIP(64, 32, 1, 64, 16, 77, 49408, 128, 2, 2).float()
    model.logit_scale.data.fill_(4.6)
    return FrozenCLIP(model, Precision("fp32"), "small")


@pytest.fixture(scope="session")
def clip() -> FrozenCLIP:
    return small_clip()
