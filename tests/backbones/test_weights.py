"""What weight files are read into."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from shipclip.backbones.weights import Unfilled

LAYERS = [
    lambda: nn.Linear(3, 4),
    lambda: nn.Embedding(3, 4),
    lambda: nn.Conv2d(3, 4, 2),
    lambda: nn.MultiheadAttention(4, 2),
    lambda: nn.init.normal_(nn.Parameter(torch.empty(3)), std=0.1),
]


@pytest.mark.parametrize("layer", LAYERS)
def test_a_model_whose_weights_are_read_next_draws_none(layer):
    before = torch.get_rng_state()
    with Unfilled():
        layer()
    assert torch.equal(torch.get_rng_state(), before)
    layer()
    assert not torch.equal(torch.get_rng_state(), before)


def test_what_no_file_holds_is_drawn_within_it_too():
    torch.manual_seed(1)
    wanted = nn.init.normal_(torch.empty(3))
    torch.manual_seed(1)
    with Unfilled():
        assert torch.equal(nn.init.normal_(torch.empty(3)), wanted)
