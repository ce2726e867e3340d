"""What the machine has left. Nothing here is slow to import."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

ANY = 2**50  # bytes: where nobody tells, more than enough
LARGEST = 2**25  # bytes: larger blocks are mapped by themselves, whatever glibc is told
SHARERS = "SHIPCLIP_SHARERS"  # environment variable: how many processes share the device
MEMORY, OWN_GROUPS, GROUPS = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
CPU = Path("/proc/cpuinfo")


def free_memory(device: Any = "cpu") -> int:
    """Bytes that this process may still take on a device: its share of what is free; on a GPU with those that torch has
    taken and does not use."""
    if getattr(device, "type", device) == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        return free // sharers() + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(_left_to_machine(), *_left_to_groups()) // sharers()


def keep_memory(size: int = 2**28) -> None:
    """Have glibc give freed memory back only where more bytes than that are free at the heap's end: else what a step
    frees is mapped, and cleared, for the next one anew, which may take a third of the time.

    For programs to ask for: a library leaves memory as it finds it.
    """
    with suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-1, size)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, LARGEST)  # M_MMAP_THRESHOLD


def leave_quickly() -> None:
    """Have Python look for no garbage when it ends, which takes seconds among all that torch imports.

    For programs to ask for, as above.
    """
    atexit.register(gc.freeze)


def multiplies_bfloat16() -> bool:
    """Whether the CPU has instructions for it; where nobody tells, yes."""
    with suppress(OSError, StopIteration):
        lines = CPU.read_text(encoding="ascii", errors="replace").splitlines()
        flags = next(line for line in lines if line.lower().startswith(("flags", "features"))).split()
        return bool({"amx_bf16", "avx512_bf16", "bf16", "svebf16"} & set(flags))
    return True


def sharers() -> int:
    count = os.environ.get(SHARERS, "")
    return int(count) if count.isdigit() and int(count) else 1


def _left_to_machine() -> int:
    with suppress(OSError, KeyError, ValueError):
        facts = dict(line.split(":", 1) for line in MEMORY.read_text(encoding="ascii").splitlines())
        return int(facts["MemAvailable"].split()[0]) * 1024
    return ANY


def _left_to_groups() -> Iterator[int]:
    """What each control group that this process is in may still take: a container, or a cluster's job."""
    yield ANY
    with suppress(OSError, ValueError):
        for line in OWN_GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:  # version 2
                root, limit, used, cache = GROUPS, "memory.max", "memory.current", "inactive_file"
            elif "memory" in controllers.split(","):
                root, limit, used = GROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
                cache = "total_inactive_file"
            else:
                continue
            place = root / path.strip("/")
            for folder in (place, *(above for above in place.parents if above == root or root in above.parents)):
                with suppress(OSError, ValueError, KeyError):  # there is none, or its limit is "max"
                    facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                    taken = int((folder / used).read_text()) - int(facts[cache])  # files that were read may go
                    yield max(0, int((folder / limit).read_text()) - taken)
