"""Files are written whole or not at all, and read with one sentence on what is wrong."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import MissingFile, Unwritable, UserError, first_line, sentence
from .locks import exclusive, is_free, same_file

TEMPORARY = re.compile(r".+\.tmp[0-9a-f]{32}")
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A temporary name to write to; renamed to `file` at the end, removed if writing fails.

    No other process, container or host has the same name. Whoever writes holds a lock on it, which ends with the
    process: so what dead processes left in the folder is told from what living ones write, and removed.

    Raises:
        Unwritable: no room, or no permission, naming the file.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        sweep(file.parent)
        temporary, held = _temporary(file)
    except OSError as error:
        raise unwritable(file, error) from error
    try:
        yield temporary
        os.replace(temporary, file)
    except Exception as error:
        reason = _reason(error)
        if reason and (reason.errno in NO_ROOM or reason.filename in (str(temporary), temporary)):
            raise unwritable(file, reason) from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        os.close(held)


def _temporary(file: Path) -> tuple[Path, int]:
    """A new file beside `file`, and the descriptor that holds its lock."""
    while True:
        temporary = file.with_name(f"{file.name}.tmp{uuid.uuid4().hex}")
        held = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if exclusive(held) is not False and same_file(held, temporary):
            return temporary, held
        os.close(held)  # somebody's sweep came in between


def sweep(folder: Path) -> None:
    """Remove the temporary files of processes that are no more; where locks do not work nothing is removed."""
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            if TEMPORARY.fullmatch(entry.name) and is_free(entry.path):
                os.unlink(entry.path)


def unwritable(file: Path, error: OSError) -> Unwritable:
    """What a command line says where `file` cannot be written."""
    mend = "make room there" if error.errno in NO_ROOM else "give a place that can be written to"
    told = Unwritable(f"{file} cannot be written ({error.strerror or sentence(error)}): {mend}, and run it again")
    told.errno, told.strerror = error.errno, error.strerror
    return told


def _reason(error: BaseException) -> OSError | None:
    """The operating system's error behind one of torch's or of safetensors', which wrap or only quote it."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, OSError):
        quoted = re.search(r"\(os error (\d+)\)", str(found))
        if quoted:
            return OSError(int(quoted[1]), os.strerror(int(quoted[1])))
        found = found.__cause__ or found.__context__
    return found


def digest_of(file: Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(file, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


# -- writing ------------------------------------------------------------------------------------------------


def write_text(file: Path, text: str) -> None:
    with replacing(file) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(file: Path, content: Any) -> None:
    write_text(file, json.dumps(content, indent=2) + "\n")


def write_tensors(file: Path, content: Any) -> None:
    """torch.save, whole or not at all."""
    import torch  # slow to import

    with replacing(file) as temporary, open(temporary, "wb") as stream:  # by itself torch hides what went wrong
        torch.save(content, stream)


# -- reading ------------------------------------------------------------------------------------------------


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
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): {mend}") from error


def read_lines(file: Path, mend: str = "check its name") -> list[tuple[int, str]]:
    """Numbers, from 1, and texts of the lines that are neither blank nor a comment (#)."""
    lines = ((number, line.strip()) for number, line in enumerate(read_text(file, mend).split("\n"), start=1))
    return [(number, line) for number, line in lines if line and not line.startswith("#")]


def read_json(file: Path, mend: str) -> Any:
    """The content of a JSON file.

    Raises:
        MissingFile, UserError: it is not there or no JSON, with the mend.
    """
    try:
        return json.loads(read_text(file, mend))
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a plain ValueError
        if isinstance(error, UserError):
            raise
        raise UserError(f"{file} is no JSON ({sentence(error)}): {mend}") from error


def read_yaml(file: Path, mend: str = "check its name") -> dict[str, Any]:
    """The keys of a YAML file; a key that stands twice in one group is refused, as the first would be lost.

    Raises:
        MissingFile, UserError: it is not there, no YAML, or holds no keys, naming the file and the line.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen: set[Any] = set()
            for key_node, _ in node.value:
                key = self.construct_object(key_node, deep=True)
                if not isinstance(key, str):
                    raise UserError(f"{file}, line {key_node.start_mark.line + 1}: {key!r} is no key: write KEY: value")
                if key in seen:
                    raise UserError(f"{file}, line {key_node.start_mark.line + 1}: {key} stands there twice: keep one")
                seen.add(key)
            return super().construct_mapping(node, deep)

    text = read_text(file, mend)
    try:
        content = yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{file}, line {line}, is no YAML ({first_line(_problem(error))}): mend it there") from error
    except UserError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is no YAML ({sentence(error)}): mend it") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} holds no keys: write KEY: value there")
    return content


def _problem(error: Any) -> Exception:
    return ValueError(error.problem or error.context or "it cannot be read")
