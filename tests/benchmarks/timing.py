"""Times that can be compared: pairs in alternating order, medians, files known to be cold, bytes really read."""

from __future__ import annotations

import ctypes
import mmap
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@dataclass(frozen=True)
class Paired:
    """Two ways of doing the same, timed in turn.

    Args:
        seconds: medians of the one and of the other.
        ratio: how many times faster the first is, the median over the pairs.
        spread: the least and the greatest such ratio.
    """

    seconds: tuple[float, float]
    ratio: float
    spread: tuple[float, float]


def paired(
    one: Callable[[], object],
    other: Callable[[], object],
    repeats: int,
    before: Callable[[], object] = lambda: None,
) -> Paired:
    """Time both ``repeats`` times, in alternating order, each after an untimed call of ``before``."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            before()
            start = perf_counter()
            (one, other)[which]()
            times[which].append(perf_counter() - start)
    ratios = [second / first for first, second in zip(*times, strict=True)]
    return Paired((median(times[0]), median(times[1])), median(ratios), (min(ratios), max(ratios)))


def drop_cache(paths: Iterable[Path]) -> float | None:
    """Write files out and drop them from the page cache; nothing may have them mapped.

    Returns the share of their bytes that is still in memory, 0.0 where all is cold; None where that cannot be known.
    """
    shares, sizes = [], []
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            shares.append(_resident(fd))
            sizes.append(os.fstat(fd).st_size)
        finally:
            os.close(fd)
    known = [share for share in shares if share is not None]
    return None if len(known) < len(shares) or not known else float(np.average(known, weights=sizes))


def _resident(fd: int) -> float | None:
    size = os.fstat(fd).st_size
    pages = -(-size // mmap.PAGESIZE)
    with suppress(OSError, AttributeError, ValueError):  # no mincore here, or an empty file
        mincore = ctypes.CDLL(None, use_errno=True).mincore
        with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as mapped:
            place = np.frombuffer(mapped, np.uint8)
            found = np.zeros(pages, np.uint8)
            failed = mincore(
                ctypes.c_void_p(place.ctypes.data), ctypes.c_size_t(size), ctypes.c_void_p(found.ctypes.data)
            )
            del place  # or the map could not be closed
            return None if failed else float((found & 1).mean())
    return None


def read_bytes() -> int | None:
    """Bytes that this process has had fetched from the disk so far, reading ahead included; None where none counts."""
    with suppress(OSError):
        for line in Path("/proc/self/io").read_text().splitlines():
            if line.startswith("read_bytes:"):
                return int(line.split()[1])
    return None


def say(line: str = "") -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201 - a benchmark is read on the terminal
