"""The array module ``xp`` that the mathematics runs on, its dtype rules, and the workers that run it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from solvers.workers.limits import free_bytes
from solvers.workers.threads import ONE_THREAD, Threads

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

__all__ = ["NUMPY", "Array", "Backend"]

Array: TypeAlias = "NDArray[Any]"
"""An array of NumPy, or of CuPy where the mathematics runs on a GPU, of any dtype."""


@dataclass(frozen=True)
class Backend:
    """An array module and what a solver must know about it.

    ``block_elements`` bounds the entries of a block: small enough for a CPU's cache, large enough to hide
    the price of a launch on a GPU. ``factor`` gives the lower Cholesky factor of a symmetric matrix, or None where that
    is not positive definite, and ``solve`` its product with one or more right-hand sides; ``free_bytes`` is the memory
    that rows may take. ``workers`` share the rows. Whatever works on arrays does so within ``here()``: on their device,
    in their stream.
    """

    xp: Any
    to_host: Callable[[Any], Array]
    block_elements: int
    factor: Callable[[Any], Any]
    solve: Callable[[Any, Any], Any]
    free_bytes: Callable[[], int]
    workers: Threads = ONE_THREAD
    here: Callable[[], AbstractContextManager[Any]] = nullcontext

    def inner(self, a: Any, b: Any) -> float:
        """Return the inner product of two arrays of one shape, as a number on the host."""
        # From 10,000 entries on BLAS would wake every core for it, which on a busy machine takes milliseconds: whoever
        # asks for many of them has BLAS keep to one thread.
        return float(a.ravel() @ b.ravel())

    def float64(self, array: Any) -> Any:
        """Return a float64 copy (or the array itself) on the device."""
        return self.xp.asarray(array, dtype=self.xp.float64)


def _factor(matrix: Any) -> Any:
    from scipy.linalg import lapack

    # Symmetric, so that it may be given in the order of LAPACK, which takes a quarter less.
    columns = matrix if matrix.flags.f_contiguous else matrix.T
    factored, failed = (lapack.spotrf if matrix.dtype == np.float32 else lapack.dpotrf)(columns, lower=1)
    return None if failed else factored


def _solve(factor: Any, sides: Any) -> Any:
    from scipy.linalg import lapack

    # Not cho_solve, whose checks take longer than the solution of a small system.
    return (lapack.spotrs if factor.dtype == np.float32 else lapack.dpotrs)(factor, sides, lower=1)[0]


def _free_bytes() -> int:
    """Half of the memory that can be had."""
    return free_bytes() // 2


NUMPY = Backend(
    xp=np,
    to_host=np.asarray,
    block_elements=400_000,
    factor=_factor,
    solve=_solve,
    free_bytes=_free_bytes,
    workers=Threads(),
)
