"""Files are written whole or not at all."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import MissingFile, UserError


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A temporary name to write to; renamed to `file` at the end, removed if writing fails.

    No other process, container or host has the same name.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.tmp{uuid.uuid4().hex}")
    try:
        yield temporary
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(file: Path, text: str) -> None:
    with replacing(file) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(file: Path, content: Any) -> None:
    write_text(file, json.dumps(content, indent=2) + "\n")


def read_text(file: Path, mend: str = "check its name") -> str:
    """A file in UTF-8, with or without a byte order mark.

    Raises:
        MissingFile, UserError: it is not there, or not in UTF-8, with the mend.
    """
    if not file.is_file():
        raise MissingFile(f"there is no {file}: {mend}")
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not in UTF-8 ({error.reason}): save it anew as UTF-8") from error


def read_json(file: Path, mend: str) -> Any:
    """The content of a JSON file.

    Raises:
        MissingFile, UserError: it is not there or no JSON, with the mend.
    """
    try:
        return json.loads(read_text(file, mend))
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{file} is no JSON ({' '.join(str(error).split())}): {mend}") from error
