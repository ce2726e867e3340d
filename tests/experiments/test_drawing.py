"""The pictures of a study: each by itself, so that one that cannot be drawn keeps no other from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from shipclip.experiments.carry_out import draw
from shipclip.experiments.plan import Study


def test_pictures_that_cannot_be_drawn_are_named(tmp_path: Path, capfd: pytest.CaptureFixture):
    failed = draw(Study(seeds=(1,), output=str(tmp_path)))
    pictures = ("features", "confusion", "curves", "words", "shots", "scatter")
    assert failed == [*(f"the picture {name}" for name in pictures), "the page"]
    said = capfd.readouterr()
    assert (said.out + said.err).count("error: ") == 7 and "Traceback" not in said.out + said.err
    assert not list(tmp_path.rglob("*.png"))
