"""The frame of all fuzz tests: an input either works or is refused with one sentence; nothing else may happen."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import SearchStrategy

from shipclip.errors import LONGEST, TOLD, sentence

REPOSITORY = Path(__file__).parents[2]
CANARY = "executed"  # what a hostile file would create if anything in it were run
LITTER = re.compile(r".*\.tmp[0-9a-f]{32}|run\.lock|\.rendering.*")


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        name: of it.
        inputs: what is tried.
        act: uses an input in an empty folder; raises what a command line would tell.
        share: of all inputs.
    """

    name: str
    inputs: SearchStrategy[Any]
    act: Callable[[Any, Path], None]
    share: float


@dataclass
class Counts:
    """What became of the inputs.

    Attributes:
        taken: how many worked.
        sentences: how often each sentence was said, without its names and numbers.
    """

    taken: int = 0
    sentences: Counter[str] = field(default_factory=Counter)

    @property
    def refused(self) -> int:
        return sum(self.sentences.values())

    @property
    def tried(self) -> int:
        return self.taken + self.refused


def try_all(kind: Kind, count: int, folder: Path, number: int | None = None) -> Counts:
    """Try `count` inputs of a kind; `number` seeds them, without one they are the same each time.

    Raises:
        Exception: whatever an input brought about that is neither success nor one sentence.
    """
    counts = Counts()

    @given(kind.inputs)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=number is None,
        suppress_health_check=list(HealthCheck),
    )
    def one(example: Any) -> None:
        place = folder / "place"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            os.chdir(place)  # for whatever is written to no place in particular
            try:
                kind.act(example, place)
                counts.taken += 1
            except TOLD as error:
                counts.sentences[plain(check_sentence(sentence(error)))] += 1
            finally:
                os.chdir(REPOSITORY)
        assert not list(folder.rglob(CANARY)), "something in the input was executed"
        left = [str(file) for file in place.rglob("*") if LITTER.fullmatch(file.name)]
        assert not left, f"litter: {left}"

    (one if number is None else seed(number)(one))()
    return counts


def check_sentence(text: str) -> str:
    assert text.strip() and "\n" not in text, f"no sentence: {text!r}"
    assert "Traceback" not in text and len(text) <= LONGEST, f"no sentence: {text[:3000]!r}"
    return text


def plain(text: str) -> str:
    """A sentence without what it quotes: paths, values, numbers."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "'...'", text)
    text = re.sub(r"/\S+", "/...", text)
    return re.sub(r"-?\d[\d.e+-]*", "0", text)[:90]
