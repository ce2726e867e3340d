from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import embedded  # noqa: F401  an installed Dassl wins over the embedded one
from shipclip.backbones import recompute
from shipclip.backbones.base import Backbone
from shipclip.miniclip import world
from tests.clips import small_clip
from tests.runs import SMALL, run


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


@pytest.fixture(scope="session")
def clip() -> Backbone:
    """A small random CLIP."""
    return small_clip()


@pytest.fixture
def made_again(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An item for each part whose activations are not held until the backward pass."""
    found: list[int] = []
    again = recompute.recomputed
    monkeypatch.setattr(recompute, "recomputed", lambda *given: found.append(1) or again(*given))
    return found


@pytest.fixture(scope="session")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a whole SHIP run."""
    output = tmp_path_factory.mktemp("ship")
    run(data, output, "SHIP")
    return output
