from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import embedded  # noqa: F401  an installed Dassl wins over the embedded one
from embedded.miniclip import world
from tests.runs import SMALL


@pytest.fixture(autouse=True)
def _console() -> Iterator[None]:
    """A run's log stays on standard output; give it back after each test."""
    before = sys.stdout
    yield
    sys.stdout = before


@pytest.fixture(scope="session")
def small_world() -> Iterator[None]:
    """MiniWorld with few images a class."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "SPLITS", SMALL)
        yield


@pytest.fixture(scope="session")
def data(small_world: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a small MiniWorld."""
    root = tmp_path_factory.mktemp("data")
    world.render_dataset(root / "miniworld")
    return root
