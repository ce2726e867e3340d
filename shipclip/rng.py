"""Named streams of random numbers.

Every random choice of a run is drawn from a generator made from the run's seed and the choice's name, say
``stream(1, "stage2", epoch)``. What one part draws then never shifts what another part gets, and a run that
was killed after epoch 7 goes on with exactly the numbers it would have had.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def stream(seed: int, *name: str | int) -> torch.Generator:
    """A CPU generator for the stream called `name` of the run with this seed."""
    return torch.Generator().manual_seed(_number(seed, *name))


def run_seed(seed: int) -> int:
    """The seed itself, or a new random one where the config leaves it open (SEED < 0)."""
    return seed if seed >= 0 else random.SystemRandom().randrange(2**31)


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch (from 0 on), and choose no kernel by time, so that whatever
    draws or computes outside a stream repeats as well."""
    if seed >= 0:
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
    if torch.cuda.is_available():
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True


@contextmanager
def seeded(seed: int, *name: str | int) -> Iterator[None]:
    """Give the global generators (Python's, NumPy's, torch's CPU one) to the stream for a while.

    torchvision's transforms draw from the global generators and take no other; their state is put back.
    """
    number = _number(seed, *name)
    python_state, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        random.seed(number)
        np.random.seed(number % 2**32)
        torch.default_generator.manual_seed(number)
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)


def _number(seed: int, *name: str | int) -> int:
    text = "/".join(str(part) for part in (seed, *name))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
