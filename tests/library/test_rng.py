from __future__ import annotations

import random

import numpy as np
import torch

from shipclip.rng import run_seed, seeded, stream


def test_a_stream_is_its_name():
    first, again = (torch.rand(3, generator=stream(1, "train", 7)) for _ in range(2))
    assert torch.equal(first, again)
    for other in (stream(2, "train", 7), stream(1, "train", 8), stream(1, "stage1", 7)):
        assert not torch.equal(torch.rand(3, generator=other), first)


def test_the_global_generators_are_lent_and_given_back():
    def draw() -> tuple:
        return random.random(), np.random.rand(), torch.rand(1).item()

    with seeded(1, "view", 0):
        inside = draw()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    wanted = draw()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    with seeded(1, "view", 0):
        assert draw() == inside
    assert draw() == wanted


def test_an_open_seed_is_drawn():
    assert run_seed(3) == 3
    assert run_seed(0) == 0
    assert len({run_seed(-1) for _ in range(3)}) > 1
