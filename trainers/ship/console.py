"""What a run says: its header, and the log in its folder."""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import dassl
import torch
from dassl.utils import setup_logger
from yacs.config import CfgNode as CN

import embedded
from shipclip import run as runs
from shipclip.errors import TOLD, sentence

TOLD_HERE = (*TOLD, torch.OutOfMemoryError, MemoryError)


def print_header(cfg: CN) -> None:
    """One line on what runs with what; arguments and the whole config go to log.txt alone."""
    versions = ", ".join(f"{name} {value}" for name, value in runs.versions().items())
    embedded_dassl = Path(embedded.__file__).parent in Path(dassl.__file__).parents
    print(
        f"{cfg.TRAINER.NAME} on {cfg.DATASET.NAME} ({cfg.DATASET.SUBSAMPLE_CLASSES} classes, {shots_of(cfg)}, "
        f"seed {cfg.SEED}), {cfg.MODEL.BACKBONE.PATH or cfg.MODEL.BACKBONE.NAME}\n"
        f"{'GPU' if torch.cuda.is_available() and cfg.USE_CUDA else 'CPU'}, {versions} "
        f"({'embedded' if embedded_dassl else 'installed'} Dassl)"
    )


def shots_of(cfg: CN) -> str:
    return f"{cfg.DATASET.NUM_SHOTS} shots" if cfg.DATASET.NUM_SHOTS > 0 else "all images"


class Kept:
    """A stream that also keeps what goes through it."""

    def __init__(self, stream: TextIO):
        self.stream, self.text = stream, ""

    def write(self, text: str) -> int:
        text = text.encode("utf-8", "backslashreplace").decode()  # a file name that is no text must not end the run
        self.text += text
        try:
            return self.stream.write(text)
        except UnicodeEncodeError:
            return self.stream.write(text.encode("ascii", "backslashreplace").decode())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def logged(cfg: CN, args: Any, told: str) -> Iterator[None]:
    """Standard output goes to log.txt as well, what was told before it first, and an error's traceback to it alone."""
    console = sys.stdout
    setup_logger(cfg.OUTPUT_DIR)
    log = getattr(sys.stdout, "file", None)
    try:
        if log:
            started = time.strftime("%Y-%m-%d %H:%M:%S")
            log.write(f"{told}Started {started}\nArguments: {vars(args)}\nConfig:\n{cfg}\n")
        yield
    except TOLD_HERE as error:
        with contextlib.suppress(OSError):  # a full disk
            if log:
                log.write(f"{traceback.format_exc()}error: {sentence(error)}\n")
        raise
    finally:
        if sys.stdout is not console:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
            sys.stdout = console
        if log:
            with contextlib.suppress(OSError):
                log.close()
