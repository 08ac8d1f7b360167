"""Where arrays live: the module ``xp`` that the mathematics is written over, and the way home."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["NUMPY", "Backend"]


@dataclass(frozen=True)
class Backend:
    """An array module and what a solver must know about it.

    ``block_elements`` bounds the entries of a block: small enough for a CPU's cache, large enough to hide
    the price of a launch on a GPU. ``rotate_width`` is the widest layer whose Gram matrix pays there.
    """

    xp: Any
    to_host: Callable[[Any], NDArray[Any]]
    block_elements: int
    rotate_width: int

    def inner(self, a: Any, b: Any) -> float:
        """The inner product of two arrays of one shape, as a number on the host."""
        # Not vdot: from 10,000 entries on BLAS wakes every core for it, which on a busy machine takes milliseconds.
        return float((a * b).sum())

    def float64(self, array: Any) -> Any:
        """A float64 copy (or the array itself) on the device."""
        return self.xp.asarray(array, dtype=self.xp.float64)


NUMPY = Backend(xp=np, to_host=np.asarray, block_elements=1 << 17, rotate_width=2048)
