"""What a run says: its first lines, and the log in its folder."""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import torch

from .errors import TOLD, sentence
from .run import versions
from .settings import Settings

LOG = "log.txt"
# What a run ends with in one sentence: mistakes that its user can mend, and too little memory.
ENDS = (*TOLD, torch.OutOfMemoryError, MemoryError)


def headline(settings: Settings, device: torch.device, further: str = "") -> str:
    """Two lines on what runs with what; the whole of its settings goes to the log alone."""
    data, known = settings.dataset, ", ".join(f"{name} {value}" for name, value in versions().items())
    return (
        f"{settings.method} on {data.name} ({data.subsample_classes} classes, {shots_of(settings)}, seed "
        f"{settings.seed}), {settings.backbone.path or settings.backbone.name}\n"
        f"{'GPU' if device.type == 'cuda' else 'CPU'}, {known}{further}"
    )


def shots_of(settings: Settings) -> str:
    shots = settings.dataset.num_shots
    return f"{shots} shots" if shots > 0 else "all images"


class Tee:
    """A stream whose text also goes to a second one."""

    def __init__(self, stream: TextIO, other: Any):
        self.stream, self.other = stream, other

    def write(self, text: str) -> int:
        text = text.encode("utf-8", "backslashreplace").decode()  # a file name that is no text must not end the run
        self.other.write(text)
        try:
            return self.stream.write(text)
        except UnicodeEncodeError:
            return self.stream.write(text.encode("ascii", "backslashreplace").decode())

    def flush(self) -> None:
        self.stream.flush()
        self.other.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def logged(folder: str | Path, told: str, facts: Mapping[str, Any]) -> Iterator[None]:
    """Standard output goes to log.txt as well, and an error's traceback to it alone.

    A log that is there is gone on with, so that the log of a run that was interrupted is whole.

    Args:
        folder: of the run.
        told: what was said before there was a log.
        facts: further lines at its head, by name (arguments, config).
    """
    file = Path(folder) / LOG
    file.parent.mkdir(parents=True, exist_ok=True)
    log = open(file, "a", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115  closed below
    try:
        log.write(f"{told}Started {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        for name, fact in facts.items():
            log.write(f"{name}:\n{fact}\n")
        with contextlib.redirect_stdout(Tee(sys.stdout, log)):
            yield
    except ENDS as error:
        with contextlib.suppress(OSError):  # a full disk
            log.write(f"{traceback.format_exc()}error: {sentence(error)}\n")
        raise
    finally:
        with contextlib.suppress(OSError):
            log.close()
