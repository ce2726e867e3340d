"""Packages that only some need: the extras of setup.py."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .errors import UserError, first_line


def imported(module: str, extra: str, what: str) -> Any:
    """An optional package.

    Args:
        module: its name.
        extra: of ship-clip, which brings it.
        what: needs it, for the sentence.

    Raises:
        UserError: it, or what it needs itself, is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        lacking = error.name or module
        raise UserError(f"{what} needs {lacking}, which is not here: {install(extra)}") from error
    except ImportError as error:
        raise UserError(f"{what} needs {module}, which fails ({first_line(error)}): {install(extra)}") from error


def install(extra: str) -> str:
    return f"pip install 'ship-clip[{extra}]'"
