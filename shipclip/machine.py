"""What the machine has left. Nothing here is slow to import."""

from __future__ import annotations

from typing import Any

ANY = 2**50  # bytes: where nobody tells, more than enough


def free_memory(device: Any = "cpu") -> int:
    """Bytes that may still be taken on a device; on a GPU with those that torch has taken and does not use."""
    if getattr(device, "type", device) == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    try:
        with open("/proc/meminfo", encoding="ascii") as text:
            facts = dict(line.split(":", 1) for line in text)
        return int(facts["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return ANY
