"""Worker threads that share the rows, threads that read ahead of them, and the one BLAS thread of each."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ONE_THREAD", "Threads", "cores", "one_blas_thread"]

Share = TypeVar("Share")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Threads:
    """``count`` threads that share the rows of a layer, block by block."""

    count: int = 1

    def shares(self, rows: int, block_rows: int) -> list[list[slice]]:
        """Deal blocks of rows to the workers in runs: the same for every call, so that sums are too."""
        blocks = [slice(start, min(start + block_rows, rows)) for start in range(0, rows, block_rows)]
        count = min(self.count, len(blocks))
        cuts = [len(blocks) * each // count for each in range(count + 1)]
        return [blocks[first:last] for first, last in pairwise(cuts)]

    def map(self, work: Callable[[Share], Result], shares: list[Share]) -> list[Result]:
        """Return the results of ``work`` on every share, in order, a thread to each; the caller's takes the first.

        BLAS keeps to one thread meanwhile: its own threads gain nothing on products of few columns where cores are
        idle, and cost a factor of seven where they are not (docs/decisions/0003).
        """
        with one_blas_thread():
            others = [_pool(os.getpid()).submit(work, share) for share in shares[1:]]
            return [work(shares[0]), *(each.result() for each in others)]

    def ahead(self, make: Callable[[int], Result], index: int) -> Future[Result]:
        """Begin ``make(index)`` in another thread."""
        return _readers(os.getpid()).submit(make, index)


ONE_THREAD = Threads(1)


class _Limit:
    """How many are inside :func:`one_blas_thread`, as the setting belongs to the whole process."""

    lock = threading.Lock()
    inside = 0
    limiter: Any = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread; nests, and holds while any thread is inside."""
    with _Limit.lock:
        if _Limit.inside == 0:
            _Limit.limiter = _blas().limit(limits=1)
        _Limit.inside += 1
    try:
        yield
    finally:
        with _Limit.lock:
            _Limit.inside -= 1
            if _Limit.inside == 0:
                _Limit.limiter.restore_original_limits()


@cache
def _blas() -> Any:
    return ThreadpoolController().select(user_api="blas")


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of a process (a forked child has none of its parent's), kept, as starting one takes a millisecond."""
    return ThreadPoolExecutor(max(1, cores() - 1), thread_name_prefix="solvers")


@cache
def _readers(process: int) -> ThreadPoolExecutor:
    """Threads that read ahead, apart from those that wait for them."""
    return ThreadPoolExecutor(cores(), thread_name_prefix="solvers-read")


def cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
