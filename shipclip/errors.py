"""Mistakes of the user, each told in one sentence that names the file, key or value and the mend.

Whatever else is raised is a bug of ours, or of an extension's author, and keeps its traceback.
"""

from __future__ import annotations

import difflib
import functools
import os
import select
import sys
from collections.abc import Callable, Iterable


class UserError(ValueError):
    """Something that the user can mend."""


class MissingFile(UserError, FileNotFoundError):
    """A file or folder that is not there."""

    def __str__(self) -> str:
        return str(self.args[0])  # not OSError's "[Errno ...]"


class Unwritable(UserError, OSError):
    """A file that cannot be written: no room, or no permission."""

    def __str__(self) -> str:
        return str(self.args[0])


class Offline(UserError, ConnectionError):
    """Something that is neither at hand nor to be downloaded."""

    def __str__(self) -> str:
        return str(self.args[0])


class NotFinite(UserError, FloatingPointError):
    """A loss that is no number any more."""


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The nearest of the known names, as the end of a sentence; empty: none is near."""
    known = list(known)
    near = [other for other in known if other.casefold() == str(name).casefold()]
    near = near or difflib.get_close_matches(str(name), known, n=1, cutoff=cutoff)
    return f"; did you mean {near[0]}?" if near else ""


def unknown(what: str, name: str, known: Iterable[str]) -> UserError:
    """There is no such thing; these there are."""
    known = sorted(known)
    return UserError(f"there is no {what} {name}; known: {' '.join(known)}{did_you_mean(name, known)}")


LONGEST = 1000  # characters of a sentence
# What a command line tells in one sentence; the rest is no mistake of its user's.
TOLD = (UserError, OSError)


def sentence(error: BaseException) -> str:
    """An error's text on one line; file names that are no text are escaped, and what is quoted at length is cut."""
    text = " ".join(str(error).split()).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 250]} ... {text[-240:]}"


READER_GONE = 141  # exit status: a shell's word for SIGPIPE


def told(main: Callable[..., int]) -> Callable[..., int]:
    """A command line's main, with what its user did wrong told on stderr in one sentence (exit status 2).

    It ends without a word where nobody reads its output any more (`| head`): 141, as other programs do.
    """

    @functools.wraps(main)
    def telling(*args: object, **kwargs: object) -> int:
        try:
            status = main(*args, **kwargs)
            sys.stdout.flush()  # here, where a reader that has gone is noticed, and not when Python ends
        except TOLD as error:
            if isinstance(error, BrokenPipeError) and _nobody_reads():
                return READER_GONE
            print(f"error: {sentence(error)}", file=sys.stderr)
            return 2
        return status

    return telling


def _nobody_reads() -> bool:
    """Whether it is the standard output whose reader has gone; then what is still written to it goes nowhere."""
    try:
        out = sys.stdout.fileno()
    except OSError:  # no file at all
        return False
    asked = select.poll()
    asked.register(out, 0)  # errors alone, which are always told
    gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in asked.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out)
    return gone


def first_line(error: BaseException) -> str:
    """The first line of somebody else's error, without its full stop, to be quoted in a sentence of ours."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".:")
