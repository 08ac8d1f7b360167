"""Worker threads that share the rows, threads that read ahead of them, and the one BLAS thread of each."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from solvers.workers.limits import cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ONE_THREAD", "Threads", "at_most", "one_blas_thread"]

Share = TypeVar("Share")
Result = TypeVar("Result")


_MOST = 256
"""Threads that a pool begins at most, each only when it is needed."""

_asked: ContextVar[int | None] = ContextVar("_asked", default=None)


@contextmanager
def at_most(threads: int | None) -> Iterator[None]:
    """Let so many threads share the rows meanwhile; None leaves it at the cores. One keeps BLAS to one thread, too."""
    before = _asked.set(threads)
    try:
        with one_blas_thread() if threads == 1 else nullcontext():
            yield
    finally:
        _asked.reset(before)


@dataclass(frozen=True)
class Threads:
    """Threads that share the rows of a layer, block by block, each ``within`` a context of the arrays.

    ``limit`` is how many, whatever was asked for; None: the number asked for (:func:`at_most`), else the cores.

    A thread has a current GPU and a current stream of its own, so that what works in the caller's would work on another
    device here, or beside it.
    """

    limit: int | None = None
    within: Callable[[], AbstractContextManager[Any]] = nullcontext

    @property
    def count(self) -> int:
        """How many threads there are now."""
        return self.limit or _asked.get() or cores()

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
            others = [_pool(os.getpid()).submit(self._alone, work, share) for share in shares[1:]]
            return [work(shares[0]), *(each.result() for each in others)]

    def ahead(self, make: Callable[[int], Result], index: int) -> Future[Result]:
        """Begin ``make(index)`` in another thread."""
        return _readers(os.getpid()).submit(self._placed, make, index)

    def _alone(self, work: Callable[[Share], Result], share: Share) -> Result:
        with one_blas_thread(), self.within():
            return work(share)

    def _placed(self, make: Callable[[int], Result], index: int) -> Result:
        with self.within():
            return make(index)


ONE_THREAD = Threads(1)


class _Limit:
    """Who is inside :func:`one_blas_thread`: BLAS has one number of threads for the whole process, in most builds.

    ``inside`` counts the entries of all threads; ``before`` is what BLAS was set to when the first one came. ``mine``
    is of each thread: its entries (``depth``), and what BLAS was set to for it where a build counts by thread.
    """

    lock = threading.RLock()
    inside = 0
    before: tuple[tuple[Any, int], ...] = ()
    mine = threading.local()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread; nests, and holds while any thread is inside."""
    with _Limit.lock:
        if _depth() == 0:
            _Limit.mine.before = _limited(_libraries()[1])
        if _Limit.inside == 0:
            _Limit.before = _limited(_libraries()[0])
        _Limit.inside += 1
        _Limit.mine.depth = _depth() + 1
    try:
        yield
    finally:
        with _Limit.lock:
            _Limit.inside -= 1
            _Limit.mine.depth -= 1
            if _Limit.inside == 0:
                _restore(_Limit.before)
            if _depth() == 0:
                _restore(_Limit.mine.before)


def _depth() -> int:
    return getattr(_Limit.mine, "depth", 0)


def _limited(libraries: tuple[Any, ...]) -> tuple[tuple[Any, int], ...]:
    """Set libraries to one thread; what they were set to."""
    before = tuple((library, library.num_threads) for library in libraries)
    _restore(tuple((library, 1) for library in libraries))
    return before


def _restore(numbers: tuple[tuple[Any, int], ...]) -> None:
    for library, number in numbers:
        # From 3.8 on threadpoolctl lets one thread at a time set a library, and ignores the others: the last to leave
        # would not undo what the first to come did. Here a lock keeps them apart.
        free = getattr(library, "clear_controlling_thread", None)
        if free is not None:
            free(force=True)
        library.set_num_threads(number)
        if free is not None:
            free(force=True)


@cache
def _libraries() -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The BLAS libraries whose number of threads is that of the process, and those where it is each thread's own."""
    found = ThreadpoolController().select(user_api="blas").lib_controllers
    own = [each.internal_api == "mkl" or getattr(each, "threading_layer", "") == "openmp" for each in found]
    return (
        tuple(each for each, by_thread in zip(found, own, strict=True) if not by_thread),
        tuple(each for each, by_thread in zip(found, own, strict=True) if by_thread),
    )


def _in_the_child() -> None:
    """Forget the threads that a fork left behind: of those inside, only the one that forked is there to leave.

    Without this a child of a process that was fitting in another thread waits for a lock that nobody holds, or keeps
    BLAS at one thread for good.
    """
    _Limit.lock = threading.RLock()
    others, _Limit.inside = _Limit.inside - _depth(), _depth()
    if others and not _Limit.inside:
        _restore(_Limit.before)


def _before_a_fork() -> None:
    _Limit.lock.acquire()  # so that nobody is half inside, nor within threadpoolctl, whose lock the child inherits


def _in_the_parent() -> None:
    _Limit.lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_a_fork, after_in_parent=_in_the_parent, after_in_child=_in_the_child)


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of a process (a forked child has none of its parent's), kept, as starting one takes a millisecond."""
    return ThreadPoolExecutor(_MOST, thread_name_prefix="solvers")


@cache
def _readers(process: int) -> ThreadPoolExecutor:
    """Threads that read ahead, apart from those that wait for them."""
    return ThreadPoolExecutor(_MOST, thread_name_prefix="solvers-read")
