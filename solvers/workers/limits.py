"""What this process may use of the machine: cores and memory, by its affinity, its cgroup and its environment."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cores", "free_bytes"]

_CGROUPS, _OWN, _MEMORY = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"), Path("/proc/meminfo")


@cache
def cores() -> int:
    """Return how many threads may run at once: by affinity, by the cgroup's quota, and by OMP_NUM_THREADS.

    As BLAS does, it asks once.
    """
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    bounds = [here, *_quotas(), *([int(asked)] if asked.isdecimal() and len(asked) < 10 else [])]
    return max(1, min(bounds))


def free_bytes() -> int:
    """Return the memory that can still be had, by the system and by the cgroup.

    Where the system does not tell, half of all there is. What the cgroup counts and can drop (files that were read)
    is free.
    """
    if not _MEMORY.exists():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    sizes = dict(line.split(":") for line in _MEMORY.read_text(encoding="ascii").splitlines())
    return max(0, min([int(sizes["MemAvailable"].split()[0]) * 1024, *_rooms()]))


def _quotas() -> Iterator[int]:
    """Cores that a cgroup leaves, part of one taken for a whole: cpu.max, or cpu.cfs_quota_us before version 2."""
    for folder in _folders("cpu"):
        quota, _, period = _said(folder / "cpu.max").partition(" ")
        if not quota:
            quota, period = _said(folder / "cpu.cfs_quota_us"), _said(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):
            yield -(-int(quota) // int(period))


def _rooms() -> Iterator[int]:
    for folder in _folders("memory"):
        limit, used, dropped = _said(folder / "memory.max"), _said(folder / "memory.current"), "inactive_file"
        if not limit:
            limit, used = (_said(folder / f"memory.{name}_in_bytes") for name in ("limit", "usage"))
            dropped = "total_inactive_file"
        if limit.isdecimal() and used.isdecimal():
            counted = dict(line.split() for line in _said(folder / "memory.stat").splitlines())
            yield int(limit) - int(used) + int(counted.get(dropped, 0))


def _folders(controller: str) -> Iterator[Path]:
    """The cgroup of this process and those around it, of version 2, and of version 1 by controller.

    In a container the path may be one of the host's, which is not mounted; then the root stands for it.
    """
    for line in _said(_OWN).splitlines():
        _, names, own = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        root = next(
            (each for each in (_CGROUPS / names, _CGROUPS / controller) if names and each.exists()), _CGROUPS
        )
        folder = root / own.strip("/")
        yield from (each for each in (folder, *folder.parents) if each.is_relative_to(root) and each.exists())


def _said(path: Path) -> str:
    """What a file of the system says; nothing where there is none, or it may not be read."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
