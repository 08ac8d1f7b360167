"""Where arrays live and who works on them: the module ``xp`` that the mathematics is written over, and its workers."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["NUMPY", "Backend", "one_blas_thread"]

Share = TypeVar("Share")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Backend:
    """An array module and what a solver must know about it.

    ``block_elements`` bounds the entries of a block: small enough for a CPU's cache, large enough to hide
    the price of a launch on a GPU. ``workers`` is how many threads share the rows. ``factor`` gives a Cholesky factor,
    or None where a matrix is not positive definite, and ``solve`` its product with one or more right-hand sides;
    ``free_bytes`` is the memory that rows may take.
    """

    xp: Any
    to_host: Callable[[Any], NDArray[Any]]
    block_elements: int
    factor: Callable[[Any], Any]
    solve: Callable[[Any, Any], Any]
    free_bytes: Callable[[], int]
    workers: int = 1

    def inner(self, a: Any, b: Any) -> float:
        """The inner product of two arrays of one shape, as a number on the host."""
        # Not vdot: from 10,000 entries on BLAS wakes every core for it, which on a busy machine takes milliseconds.
        return float((a * b).sum())

    def float64(self, array: Any) -> Any:
        """A float64 copy (or the array itself) on the device."""
        return self.xp.asarray(array, dtype=self.xp.float64)

    def shares(self, rows: int, block_rows: int) -> list[list[slice]]:
        """Blocks of rows, dealt to the workers in runs: the same for every call, so that sums are too."""
        blocks = [slice(start, min(start + block_rows, rows)) for start in range(0, rows, block_rows)]
        count = min(self.workers, len(blocks))
        cuts = [len(blocks) * each // count for each in range(count + 1)]
        return [blocks[first:last] for first, last in pairwise(cuts)]

    def map(self, work: Callable[[Share], Result], shares: list[Share]) -> list[Result]:
        """The results of ``work`` on every share, in order, a thread to each; the caller's takes the first.

        BLAS keeps to one thread meanwhile: its own threads gain nothing on products of few columns where cores are
        idle, and cost a factor of seven where they are not (docs/decisions/0003).
        """
        with one_blas_thread():
            others = [_pool(os.getpid()).submit(work, share) for share in shares[1:]]
            return [work(shares[0]), *(each.result() for each in others)]

    def ahead(self, make: Callable[[int], Result], index: int) -> Future[Result]:
        """``make(index)``, begun by another thread."""
        return _readers(os.getpid()).submit(make, index)


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
    return ThreadPoolExecutor(max(1, _cores() - 1), thread_name_prefix="solvers")


@cache
def _readers(process: int) -> ThreadPoolExecutor:
    """Threads that read ahead, apart from those that wait for them."""
    return ThreadPoolExecutor(_cores(), thread_name_prefix="solvers-read")


def _cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _factor(matrix: Any) -> Any:
    from scipy.linalg import lapack

    factored, failed = (lapack.spotrf if matrix.dtype == np.float32 else lapack.dpotrf)(matrix, lower=1)
    return None if failed else factored


def _solve(factor: Any, sides: Any) -> Any:
    from scipy.linalg import lapack

    # Not cho_solve, whose checks take longer than the solution of a small system.
    return (lapack.spotrs if factor.dtype == np.float32 else lapack.dpotrs)(factor, sides, lower=1)[0]


def _free_bytes() -> int:
    """Half of the memory that can be had; a quarter of all there is where the system does not tell."""
    known = Path("/proc/meminfo")
    if not known.exists():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    sizes = dict(line.split(":") for line in known.read_text(encoding="ascii").splitlines())
    return int(sizes["MemAvailable"].split()[0]) * 1024 // 2


NUMPY = Backend(
    xp=np,
    to_host=np.asarray,
    block_elements=400_000,
    factor=_factor,
    solve=_solve,
    free_bytes=_free_bytes,
    workers=_cores(),
)
