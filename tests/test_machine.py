"""What the machine has: memory that a process may still take, and bfloat16."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from shipclip import machine


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "GROUPS", tmp_path / "groups")
    (tmp_path / "meminfo").write_text("MemTotal: 200 kB\nMemAvailable:  100 kB\n")
    return tmp_path


def group(folder: Path, limit: str, used: int, names: tuple[str, str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip(names, (limit, str(used), ""), strict=True):
        (folder / name).write_text(text)
    (folder / "memory.stat").write_text("inactive_file 24\ntotal_inactive_file 24\n")


V2 = ("memory.max", "memory.current", "unused")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "unused")


def test_it_is_what_the_machine_has(proc: Path):
    assert machine.free_memory() == 100 * 1024
    (proc / "meminfo").unlink()
    assert machine.free_memory() == machine.ANY


@pytest.mark.parametrize(
    ("line", "where", "names"),
    [("0::/job/task", "groups/job", V2), ("4:cpu,memory:/job/task", "groups/memory/job", V1)],
)
def test_or_what_its_job_may_take(line: str, where: str, names: tuple[str, str, str], proc: Path):
    (proc / "cgroup").write_text(f"9:name=systemd:/\n{line}\n")
    group(proc / where, "5000", 1024, names)  # the cache of files is none of it
    group(proc / where / "task", "max", 1024, names)
    assert machine.free_memory() == 4000
    group(proc / where / "task", "2000", 5024, names)
    assert machine.free_memory() == 0


def test_those_who_share_take_a_share(proc: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(machine.SHARERS, "4")
    assert machine.free_memory() == 25 * 1024
    monkeypatch.setenv(machine.SHARERS, "none")
    assert machine.free_memory() == 100 * 1024


@pytest.mark.parametrize(
    ("line", "has"),
    [("flags\t\t: fpu avx512f amx_bf16", True), ("Features\t: fp asimd bf16", True), ("flags\t\t: fpu avx2", False)],
)
def test_a_cpu_says_whether_it_has_bfloat16(line: str, has: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "CPU", tmp_path / "cpuinfo")
    assert machine.multiplies_bfloat16()  # nobody tells
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line}\n")
    assert machine.multiplies_bfloat16() == has


FAULTS = f"""
import ctypes, resource, sys
sys.path.insert(0, {str(Path(machine.__file__).parents[1])!r})
from shipclip.machine import keep_memory
libc, size = ctypes.CDLL("libc.so.6"), 30 * 2**20
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
if sys.argv[1:]:
    keep_memory()
for step in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [libc.malloc(size) for _ in range(4)]
    for block in blocks:
        libc.memset(block, 1, size)
    for block in blocks:
        libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
def test_freed_memory_is_kept_for_the_next_step():
    own = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    without, kept = (
        int(subprocess.run([sys.executable, "-c", FAULTS, *words], env=own, capture_output=True, check=True).stdout)
        for words in ((), ("keep",))
    )
    if without < 100:
        pytest.skip("this machine's pages are large, or its allocator another")
    assert kept < without / 10


def test_a_program_that_asks_for_it_looks_for_no_garbage_at_its_end():
    """A cycle's finaliser tells of the search; what is registered to be done at the end is done."""
    program = """
        import atexit, sys
        from shipclip import machine

        class Cycle:
            def __init__(self): self.own = self
            def __del__(self): print("searched")

        atexit.register(print, "left")
        sys.argv[1:] and machine.leave_quickly()
        one = Cycle()
        del one
    """
    told = [
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program), *words], capture_output=True, text=True, check=True
        ).stdout.split()
        for words in ([], ["quickly"])
    ]
    assert told == [["left", "searched"], ["left"]]
