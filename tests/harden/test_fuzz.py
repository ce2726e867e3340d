"""The short version: the same inputs each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import files, models, options
from .fuzz import Kind, try_all

KINDS = {kind.name: kind for kind in (*options.KINDS, *files.KINDS, *models.KINDS)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("harden")


@pytest.mark.parametrize("name", KINDS)
def test_an_input_works_or_is_refused_with_one_sentence(name: str, folder: Path):
    kind: Kind = KINDS[name]
    count = max(5, round(150 * kind.share))
    counts = try_all(kind, count, folder / name.replace(" ", "_"))
    assert counts.tried >= min(count, 5)


def test_the_shares_are_a_whole():
    assert sum(kind.share for kind in KINDS.values()) == pytest.approx(1)
