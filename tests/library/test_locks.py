"""What dead processes leave behind, and who may write where: with processes that are really killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shipclip.errors import UserError
from shipclip.files import replacing, sweep, write_json, write_text
from shipclip.locks import RUN, Lock

WRITING = """
import sys, time
from pathlib import Path
from shipclip.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(temporary, flush=True)
    sys.stdin.read()
"""
HOLDING = """
import sys
from shipclip.locks import Lock
try:
    lock = Lock(sys.argv[1], wait=len(sys.argv) > 2)
except Exception as error:
    sys.exit(str(error))
print("held", flush=True)
sys.stdin.read()
"""


def started(code: str, *arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True, cwd=Path(__file__).parents[2])


def end(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_what_a_killed_process_left_is_removed_by_the_next_that_writes_there(tmp_path: Path):
    process = started(WRITING, tmp_path / "a.pt")
    half = Path(process.stdout.readline().strip())
    write_text(tmp_path / "b.txt", "another file, while the first is being written")
    assert half.exists()  # it is alive
    end(process)
    assert half.exists()
    write_text(tmp_path / "b.txt", "and after it was killed")
    assert names(tmp_path) == ["b.txt"]


def test_a_process_of_the_same_number_elsewhere_is_not_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two containers on shared storage may both have process 7: names by number would be the same."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    with replacing(tmp_path / "a") as first, replacing(tmp_path / "a") as second:
        assert first != second and first.exists() and second.exists()
        first.write_text("one")
        second.write_text("two")
    assert (tmp_path / "a").read_text() == "one" and names(tmp_path) == ["a"]


def test_only_temporary_names_are_swept(tmp_path: Path):
    for name in ("a.tmp", "a.tmp1", "a.tmpfoo", f"a.tmp{'0' * 31}", f"a.tmp{'0' * 33}"):
        (tmp_path / name).touch()
    (tmp_path / f"a.tmp{'0' * 32}").touch()
    sweep(tmp_path)
    assert f"a.tmp{'0' * 32}" not in names(tmp_path) and len(names(tmp_path)) == 5
    sweep(tmp_path / "nowhere")


def test_without_locks_nothing_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from shipclip import locks

    monkeypatch.setattr(locks, "fcntl", None)
    (tmp_path / f"a.tmp{'0' * 32}").touch()
    write_json(tmp_path / "a", 1)
    assert len(names(tmp_path)) == 2
    with Lock(tmp_path):
        pass


def test_a_folder_is_held_by_one_process_and_free_when_it_is_dead(tmp_path: Path):
    first = started(HOLDING, tmp_path)
    assert first.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=rf"is written by process {first.pid} on \S+ since 20\d\d-.*: wait until that"):
        Lock(tmp_path)
    end(first)
    with Lock(tmp_path):
        second = started(HOLDING, tmp_path)
        assert f"process {os.getpid()} on" in second.communicate()[1]
    assert names(tmp_path) == []


def test_one_can_wait_for_a_folder(tmp_path: Path):
    with Lock(tmp_path):
        second = started(HOLDING, tmp_path, "wait")
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(timeout=1)
    assert second.stdout.readline() == "held\n"
    assert (tmp_path / RUN).exists()
    end(second)


def test_a_lock_is_not_inherited_by_the_readers_of_images(tmp_path: Path):
    """They may outlive a killed run for some seconds, and the next start need not wait for them."""
    code = HOLDING.replace("sys.stdin.read()", "import os\nif os.fork() == 0: sys.stdin.read()\nelse: os._exit(0)")
    process = started(code, tmp_path)
    assert process.stdout.readline() == "held\n" and process.wait() == 0
    Lock(tmp_path).release()
    process.communicate()


def test_a_lock_that_cannot_say_whose_it_is_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*given: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space"):
            Lock(tmp_path)
    assert names(tmp_path) == []
    process = started(HOLDING, tmp_path)
    assert process.stdout.readline() == "held\n"
    end(process)
