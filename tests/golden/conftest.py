from __future__ import annotations

import pytest

from trainers.prompting.clip import FrozenCLIP

from . import formula


@pytest.fixture(scope="session")
def golden_clip() -> FrozenCLIP:
    return formula.golden_clip()
