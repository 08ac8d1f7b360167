"""What a front gives: arrays in a file, by name, that are read in slices of rows."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore.formats.numpy_files import Member
from actstore.store.documents.bfloat16 import widened
from actstore.store.format import BFLOAT16

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class FileRows:
    """Rows that are read from a file in slices: what ``ForeignArray`` is, for other kinds of files.

    ``read`` gives the rows from ``start`` to ``stop``. Threads may share it where they may share ``read``.
    """

    def __init__(
        self, spec: str, shape: tuple[int, ...], dtype: np.dtype, read: Callable[[int, int], np.ndarray]
    ):
        self.spec, self.shape, self.dtype = spec, shape, dtype
        self._read = read

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many elements there are."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole, as delivered."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<{self.spec}: {self.dtype} {self.shape}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[()], dtype)

    def __getitem__(self, place: Any) -> np.ndarray:
        """Read a slice of rows, or everything: ``[()]``. SourceError where the file cannot be read."""
        place = slice(None) if isinstance(place, tuple) and not place else place
        if not isinstance(place, slice):
            msg = f"{self.spec} is read in slices of rows; {place!r} was given"
            raise TypeError(msg)
        span = range(*place.indices(self.shape[0]))
        if not span:
            return np.empty((0, *self.shape[1:]), self.dtype)
        low, high = min(span[0], span[-1]), max(span[0], span[-1]) + 1
        found = self._read(low, high)
        return found if span.step == 1 else found[:: span.step]

    def read_into(self, rows: slice, out: np.ndarray) -> None:
        """Read rows into an array of their shape and dtype."""
        out[...] = self[rows]

    def take(self, ascending: np.ndarray) -> np.ndarray:
        """(count, *features) rows by number: the runs among them are read one after another."""
        if not len(ascending):
            return np.empty((0, *self.shape[1:]), self.dtype)
        breaks = np.flatnonzero(np.diff(ascending) > 1) + 1
        return np.concatenate([self[int(run[0]) : int(run[-1]) + 1] for run in np.split(ascending, breaks)])


@dataclass(frozen=True)
class FileArray:
    """One array of a file.

    Args:
        spec: where it is, for messages.
        values: what its rows are read from: an array, or what is sliced like one; a ``Member`` can only be streamed.
        dtype: as a store would name it. ``bfloat16`` lies in ``values`` as uint16.
        is_column: whether (rows, 1) is as good as (rows,): MATLAB has no vectors.
    """

    spec: str
    values: Any
    dtype: str
    is_column: bool = False

    @classmethod
    def of(cls, values: Any, spec: str, *, is_column: bool = False) -> FileArray:
        """An array whose dtype says what its bits mean."""
        return cls(spec, values, values.dtype.newbyteorder("=").name, is_column)

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, *features)."""
        return tuple(self.values.shape)

    def blocks(self, rows: int) -> Iterator[np.ndarray]:
        """All rows in order, so many at a time, in arrays that are the caller's; the bits of ``dtype``."""
        if isinstance(self.values, Member):
            yield from self.values.blocks(rows)
            return
        for start in range(0, self.shape[0], rows):
            piece = self.values[start : start + rows]
            yield np.array(piece, piece.dtype.newbyteorder("="), order="C")

    def data(self) -> Any:
        """Numbers that can be sliced by rows: an archive's are brought into memory, bfloat16's are float32."""
        values = self.values
        if isinstance(values, Member):
            return values.whole()
        if self.dtype != BFLOAT16 or not self.shape:
            return values

        def read(start: int, stop: int) -> np.ndarray:
            return widened(np.ascontiguousarray(values[start:stop]))

        return FileRows(self.spec, self.shape, np.dtype(np.float32), read)

    def whole(self) -> np.ndarray:
        """All of it, in memory."""
        values = self.data()
        return np.array(values[()])
