"""How much memory the embedded server may use."""

import os
from pathlib import Path

from booking.settings import Settings

MEMORY_SHARE = 0.5
"""The embedded server's part of the machine's memory, unless a setting names another size.

The rest is for the other processes, for the pages that are copied while the append-only file is rewritten, and for
calls that free memory: they go on when the server is full, and write a little more first.
"""

CGROUPS = Path("/sys/fs/cgroup")
MB = 1_000_000


def memory_bytes_max(settings: Settings) -> int:
    """The embedded server's `maxmemory`."""
    if settings.redis_memory_mb is not None:
        return settings.redis_memory_mb * MB
    return int(machine_memory_bytes() * MEMORY_SHARE)


def machine_memory_bytes(cgroups: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """The machine's memory, or the limit of this process's control group (a container, a unit) if that is less."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    limits = [cgroups / "memory/memory.limit_in_bytes"]  # version 1; version 2 has a file in each group
    for line in _text(own).splitlines():
        group = line.rpartition(":")[2].strip("/")
        limits += [folder / "memory.max" for folder in ((cgroups / group), *(cgroups / group).parents)]
    sizes += [int(text) for path in limits if (text := _text(path).strip()).isdigit()]
    return min(sizes)


def _text(path: Path) -> str:
    """The text of a file; empty if it cannot be read, as on a system without control groups."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
