"""Arrays whose places in a file are known: read there, or mapped."""

from __future__ import annotations

import errno
import math
import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from solvers.arrays import Array

__all__ = ["Placed", "PlacedArrays"]


@dataclass(frozen=True)
class Placed:
    """The type of an array, its shape, and where its bytes lie in the file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        """How many bytes it has."""
        return math.prod(self.shape) * self.dtype.itemsize


class PlacedArrays:
    """The arrays of an open file, by name."""

    def __init__(self, file: BinaryIO, places: Mapping[str, Placed]) -> None:
        self.places = places
        self._file = file

    def read(self, name: str) -> Array:
        """Return an array, read; OSError where the file ends before it."""
        place = self.places[name]
        array = np.empty(place.shape, place.dtype)
        rest, offset = array.reshape(-1).view(np.uint8).data, place.offset
        while rest.nbytes:
            count = os.preadv(self._file.fileno(), [rest], offset)
            if not count:
                raise OSError(errno.EIO, f"it ends before `{name}` does")
            rest, offset = rest[count:], offset + count
        return array

    def mapped(self, name: str) -> Array:
        """Return an array that stays on the disk."""
        place = self.places[name]
        if not place.nbytes:
            return self.read(name)
        piece = self._whole[place.offset : place.offset + place.nbytes]
        return piece.view(place.dtype).reshape(place.shape)

    @cached_property
    def _whole(self) -> NDArray[np.uint8]:
        """The file, mapped once: a system lets a process have some ten thousands of maps only."""
        return np.asarray(np.memmap(self._file, np.uint8, "r"))
