"""What is told while a plan is carried out: a line for each run, and on a terminal a live table below them."""

from __future__ import annotations

import sys
import time
from typing import Any

from .outcome import Outcome


class Display:
    """Lines of what is done, and on a terminal what is at work, how fast it goes and how long it will take.

    Args:
        total: how many runs there are.

    Attributes:
        failed: the runs that failed, "title: folder".
        done: how many were done; `before`: how many of them were finished before.
    """

    def __init__(self, total: int):
        self.total, self.done, self.before = total, 0, 0
        self.failed: list[str] = []
        self.began = time.time()
        self.running: dict[int, tuple[str, float]] = {}
        self.live: Any = None

    def __enter__(self) -> Display:
        if sys.stdout.isatty():
            from rich.console import Console
            from rich.live import Live

            console = Console(highlight=False)
            self.live = Live(get_renderable=self.table, console=console, refresh_per_second=2, transient=True)
            self.live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.live is not None:
            self.live.stop()

    def tell(self, outcome: Outcome) -> None:
        """A run has begun or ended."""
        title = outcome.job.title
        if outcome.kind == "begun":
            self.running[outcome.worker] = (title, time.time())
            return
        self.running.pop(outcome.worker, None)
        self.done += 1
        if outcome.kind == "finished before":
            self.before += 1
            self.line(f"{title}: finished before")
        elif outcome.kind == "done":
            text = f"{outcome.text} " if outcome.text else ""
            self.line(f"{title}: {text}({outcome.seconds:.0f} s)")
        else:
            self.failed.append(f"{title}: {outcome.job.folder}")
            self.line(f"{title}: FAILED ({outcome.text}), see {outcome.job.folder}", sys.stderr)

    def line(self, text: str, stream: Any = None) -> None:
        if self.live is not None:
            self.live.console.print(text, markup=False)
        else:
            print(text, file=stream or sys.stdout, flush=True)

    def table(self) -> Any:
        """The live part."""
        from rich.table import Table

        now, worked = time.time(), self.done - self.before
        seconds = now - self.began
        left = seconds / worked * (self.total - self.done) if worked else 0.0
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for number, (title, since) in sorted(self.running.items()):
            table.add_row(str(number + 1), title, f"{now - since:.0f} s")
        rate = f"{worked / seconds * 60:.1f} runs a minute" if worked else ""
        ahead = f"about {left / 60:.0f} min left" if left > 90 else f"about {left:.0f} s left" if worked else ""
        table.add_row("", f"{self.done} of {self.total} runs, {len(self.failed)} failed", rate, ahead)
        return table
