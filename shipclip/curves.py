"""TensorBoard's curves of a run."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any


class Curves:
    """Points of curves, in <folder>/tensorboard. That they cannot be written is no reason to end a run."""

    def __init__(self, folder: str | Path):
        self.folder, self._writer = Path(folder) / "tensorboard", None

    def begin(self) -> None:
        """From now on points are kept; until then nothing is written."""
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and an evaluation alone needs none

        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._writer: Any = SummaryWriter(log_dir=str(self.folder))

    def add(self, name: str, value: float, step: int) -> None:
        if self._writer is None:
            return
        try:
            self._writer.add_scalar(name, value, step)
        except OSError as error:
            print(f"Note: the curves in {self.folder} end here ({error.strerror})")
            self._writer = None

    def end(self) -> None:
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()
            self._writer = None
