"""The speed comparison compares equal things: a plain loop makes the same updates."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest


def test_the_plain_loop_has_the_same_losses(data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(Path(__file__).parents[1])
    from benchmarks import ship_end_to_end

    (_, curves), (_, plain) = ship_end_to_end.both(Namespace(epochs=2, root=str(data)))
    assert set(plain) == {"generator/reconstruction", "generator/kl", "train/loss"}
    for tag, values in plain.items():
        assert curves[tag] == pytest.approx(values, rel=1e-3), tag
