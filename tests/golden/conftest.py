from __future__ import annotations

import pytest
from torch import Tensor

from shipclip.backbones.base import Backbone

from . import formula


@pytest.fixture(scope="session")
def golden_clip() -> Backbone:
    return formula.golden_clip()


@pytest.fixture(scope="session")
def deep_clip() -> Backbone:
    return formula.deep_clip()


@pytest.fixture(scope="session")
def pixels() -> Tensor:
    return formula.wave((3, 3, 32, 32), 500, 1.0)
