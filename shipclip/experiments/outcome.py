"""What becomes of a run."""

from __future__ import annotations

from dataclasses import dataclass

from .job import Job


@dataclass
class Outcome:
    """What became of a run.

    Attributes:
        job: the run.
        kind: begun, done, finished before, or failed.
        seconds: that it took.
        text: its accuracy, or what went wrong.
        worker: whose number it was done by.
    """

    job: Job
    kind: str
    seconds: float = 0.0
    text: str = ""
    worker: int = 0
