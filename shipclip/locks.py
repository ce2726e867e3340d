"""Locks that end with the process that holds them, however it ends.

They are the operating system's, so they hold between processes and containers on one host, and over NFS between hosts.
A file system without locks, and Windows, are worked on without; nothing that depends on them is removed there.
"""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from .errors import UserError

RUN, RENDERING = "run.lock", ".rendering.lock"


class Lock:
    """A folder held for this process, until `release` or its end; a file in it says for whom.

    Args:
        folder: made if it is not there.
        name: of the file.
        wait: wait for whoever holds it.

    Attributes:
        sure: whether others are kept away; not where there are no locks.

    Raises:
        UserError: another process holds it, naming its host, number and start.
    """

    def __init__(self, folder: str | Path, name: str = RUN, wait: bool = False):
        self.file = Path(folder) / name
        self.file.parent.mkdir(parents=True, exist_ok=True)
        while True:
            self.descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o666)
            held = own(self.descriptor, wait)
            if held is False:
                owner = self._owner()
                os.close(self.descriptor)
                raise UserError(f"{folder} is written by {owner}: wait until that is done, or choose another folder")
            if held is None or same_file(self.descriptor, self.file):
                break
            os.close(self.descriptor)  # released and removed in between
        self.sure = held is True
        who = {"host": socket.gethostname(), "process": os.getpid(), "started": time.strftime("%Y-%m-%d %H:%M:%S")}
        try:
            os.ftruncate(self.descriptor, 0)
            os.pwrite(self.descriptor, json.dumps(who).encode(), 0)
        except OSError:  # no room: nobody knows of this lock, so nobody would release it
            self.release()
            raise

    def _owner(self) -> str:
        try:
            who = json.loads(os.pread(self.descriptor, 4096, 0))
            return f"process {who['process']} on {who['host']} since {who['started']}"
        except (ValueError, KeyError, TypeError):  # it has not written yet
            return "another process"

    def release(self) -> None:
        """Give the folder back; safe to call again."""
        if self.descriptor >= 0:
            self.file.unlink(missing_ok=True)
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


def own(descriptor: int, wait: bool = False) -> bool | None:
    """Lock an open file for this process, not for processes that it forks: readers of images may outlive it for some
    seconds. False: somebody else holds it, None: there are no locks here."""
    return _lock("lockf", descriptor, wait)


def exclusive(descriptor: int) -> bool | None:
    """Lock an open file until it is closed, also if this process opens and closes it elsewhere; answers as `own`."""
    return _lock("flock", descriptor, wait=False)


def _lock(kind: str, descriptor: int, wait: bool) -> bool | None:
    if fcntl is None:
        return None
    try:
        getattr(fcntl, kind)(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return True
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None


def is_free(path: str | Path) -> bool:
    """Whether nobody holds an `exclusive` lock on a file whose writers do: they are no more."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return exclusive(descriptor) is True
    finally:
        os.close(descriptor)


def same_file(descriptor: int, path: str | Path) -> bool:
    """Whether a name still is that of an open file."""
    try:
        there = os.stat(path)
    except OSError:
        return False
    mine = os.fstat(descriptor)
    return (mine.st_ino, mine.st_dev) == (there.st_ino, there.st_dev)
