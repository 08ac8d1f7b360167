"""Memory that is used again: what a fresh page of the system costs is more than the copy into it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

LEAST_BYTES = 2**18
"""Smaller arrays come from memory that the allocator keeps anyway."""


class Buffers:
    """Copies arrays into memory whose earlier copies nobody holds any more.

    A buffer is free once the pool alone refers to it, which the interpreter counts. What the pool holds never exceeds
    what was in use at one moment: before new memory is taken, free buffers of other sizes go. For one thread, whatever
    thread lets go of the copies.
    """

    def __init__(self) -> None:
        self._buffers: dict[int, list[np.ndarray]] = {}
        self._most_bytes = 0  # that were in use at once

    def copy(self, array: np.ndarray) -> np.ndarray:
        """Return a copy in C order and the machine's order of bytes, which is its holder's own."""
        dtype = array.dtype.newbyteorder("=")
        nbytes = array.size * dtype.itemsize
        if nbytes < LEAST_BYTES or dtype.hasobject:
            return np.array(array, dtype=dtype, order="C")
        found = self._free(nbytes)
        if found is None:
            found = self._new(nbytes)
        copied = found.view(dtype).reshape(array.shape)
        copied[...] = array
        return copied

    @property
    def nbytes(self) -> int:
        """What the pool holds, in use or free."""
        return _total(self._buffers)

    def _free(self, nbytes: int) -> np.ndarray | None:
        of_size = self._buffers.get(nbytes, [])
        return next(
            (of_size[place] for place in range(len(of_size)) if _references(of_size, place) == _ALONE), None
        )

    def _new(self, nbytes: int) -> np.ndarray:
        used = {
            size: [held[place] for place in range(len(held)) if _references(held, place) != _ALONE]
            for size, held in self._buffers.items()
        }
        self._most_bytes = max(self._most_bytes, nbytes + _total(used))
        if nbytes + self.nbytes > self._most_bytes:
            self._buffers = {size: held for size, held in used.items() if held}
        new = np.empty(nbytes, np.uint8)
        self._buffers.setdefault(nbytes, []).append(new)
        return new


def _total(buffers: Mapping[int, list[np.ndarray]]) -> int:
    return sum(size * len(held) for size, held in buffers.items())


def _references(held: list[np.ndarray], place: int) -> int:
    return sys.getrefcount(held[place])


_ALONE = _references([np.empty(1, np.uint8)], 0)
"""The count of what a list alone refers to."""
