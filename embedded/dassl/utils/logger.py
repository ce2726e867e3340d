from __future__ import annotations

import os
import sys
from typing import TextIO

__all__ = ["Logger", "setup_logger"]


class Logger:
    """A stream that writes to the console and, if named, to a file."""

    def __init__(self, path: str | None = None):
        self.console: TextIO = sys.stdout
        self.file: TextIO | None = None
        if path is not None:
            os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
            # A file name that is no text must not end the run; and the file lives as long as the run.
            self.file = open(path, "a", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115

    def write(self, text: str) -> int:
        if self.file is not None:
            self.file.write(text)
        try:
            return self.console.write(text)
        except UnicodeEncodeError:
            return self.console.write(text.encode("ascii", "backslashreplace").decode())

    def flush(self) -> None:
        self.console.flush()
        if self.file is not None:
            self.file.flush()

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    def isatty(self) -> bool:
        return self.console.isatty()

    def fileno(self) -> int:
        return self.console.fileno()

    @property
    def encoding(self) -> str:
        return self.console.encoding

    def __enter__(self) -> Logger:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def setup_logger(output: str | None = None) -> None:
    """Let standard output go to a log file too: `output` itself if it ends in .txt or .log, else log.txt in it.

    An existing log is continued, so that the log of a resumed run is whole (upstream starts another file).
    """
    if output is None:
        return
    path = output if output.endswith((".txt", ".log")) else os.path.join(output, "log.txt")
    if isinstance(sys.stdout, Logger):  # a second run in one process
        sys.stdout.close()
        sys.stdout = sys.stdout.console
    sys.stdout = Logger(path)
