"""Wrappers around row sources: some of the rows, some of the columns, several side by side or below one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvers.errors import ProblemError
from solvers.rows.source import as_source, flat_width, read, take

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from solvers.arrays import Array
    from solvers.rows.source import RowSource

__all__ = ["Columns", "Concat", "ConcatFeatures", "ConcatRows", "Project", "Rows"]


class Rows:
    """Some rows of a source, by number, in the order given."""

    def __init__(self, source: RowSource, rows: ArrayLike) -> None:
        numbers = np.asarray(rows)
        if numbers.dtype == bool:
            numbers = np.flatnonzero(numbers)
        self.source = source
        self.rows = numbers.astype(np.int64)
        self.dtype = source.dtype
        self.shape = (len(self.rows), *source.shape[1:])

    def __getitem__(self, rows: slice) -> Array:
        wanted = self.rows[rows]
        contiguous = len(wanted) and wanted[-1] - wanted[0] == len(wanted) - 1 and np.all(np.diff(wanted) == 1)
        if contiguous:
            picked = read(self.source, slice(int(wanted[0]), int(wanted[-1]) + 1))
        else:
            picked = take(self.source, wanted)
        return picked.reshape(len(wanted), *self.shape[1:])

    def take(self, rows: NDArray[np.int64]) -> Array:
        """Rows by their number in this selection."""
        return take(self.source, self.rows[rows]).reshape(len(rows), *self.shape[1:])


class Columns:
    """Some columns of a source whose features are flattened: a seeded subset, a slice, an attention head.

    Neighbouring columns are a view of the rows read; others are copied.
    """

    def __init__(self, source: RowSource, columns: Sequence[int] | NDArray[np.int64]) -> None:
        self.source = source
        self.columns = np.asarray(columns, dtype=np.int64)
        self.dtype = source.dtype
        self.shape = (source.shape[0], len(self.columns))
        neighbours = len(self.columns) > 0 and bool(np.all(np.diff(self.columns) == 1)) and self.columns[0] >= 0
        self._picked = slice(self.columns[0], self.columns[-1] + 1) if neighbours else self.columns

    def __getitem__(self, rows: slice) -> Array:
        return read(self.source, rows)[:, self._picked]

    def take(self, rows: NDArray[np.int64]) -> Array:
        """Rows by number, these columns only."""
        return take(self.source, rows)[:, self._picked]


class Project:
    """The rows of a source, features flattened, times a matrix (width, columns): float64."""

    def __init__(self, source: RowSource, matrix: NDArray[np.float64]) -> None:
        self.source, self.matrix = source, matrix
        self.dtype = np.dtype(np.float64)
        self.shape = (source.shape[0], matrix.shape[1])

    def __getitem__(self, rows: slice) -> Array:
        return self._projected(read(self.source, rows))

    def take(self, rows: NDArray[np.int64]) -> Array:
        """Rows by number, in the order given."""
        return self._projected(take(self.source, rows))

    def _projected(self, block: Array) -> Array:
        with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinities go through, and are counted
            return np.asarray(block, np.float64) @ self.matrix


class ConcatFeatures:
    """The features of several sources of the same rows, side by side: (rows, width of the first + of the second + ...).

    Args:
        sources: whose features are flattened, each by itself.
        names: what the sources are called, for probes that are fitted on them; none where they have no names.

    Raises:
        ProblemError: when there is none, or their rows are not as many.
    """

    def __init__(self, *sources: RowSource | ArrayLike, names: Sequence[str] = ()) -> None:
        self.sources = [as_source(source) for source in sources]
        counts = [source.shape[0] for source in self.sources]
        if len(set(counts)) != 1:
            listed = ", ".join(f"{count:,}" for count in counts) or "none"
            msg = f"sources of {listed} rows cannot be set side by side; expected the same rows in each, in one order"
            raise ProblemError(msg)
        self.names = tuple(names)
        self.dtype = np.result_type(*(source.dtype for source in self.sources))
        self.shape = (counts[0], sum(flat_width(source) for source in self.sources))

    def __getitem__(self, rows: slice) -> Array:
        return self._beside([read(source, rows) for source in self.sources])

    def take(self, rows: NDArray[np.int64]) -> Array:
        """Rows by number, in the order given."""
        return self._beside([take(source, rows) for source in self.sources])

    def _beside(self, parts: Sequence[Array]) -> Array:
        return np.concatenate(parts, axis=1).astype(self.dtype, copy=False)


class ConcatRows:
    """The rows of several sources, one after another.

    Raises:
        ProblemError: when their rows have different shapes.
    """

    def __init__(self, *sources: RowSource) -> None:
        shapes = {tuple(source.shape[1:]) for source in sources}
        if len(shapes) != 1:
            msg = f"rows of shapes {sorted(shapes)} cannot be joined; expected one shape of a row"
            raise ProblemError(msg)
        self.sources = sources
        self.starts = np.cumsum([0, *(source.shape[0] for source in sources)])
        self.dtype = np.result_type(*(source.dtype for source in sources))
        self.shape = (int(self.starts[-1]), *sources[0].shape[1:])

    def __getitem__(self, rows: slice) -> Array:
        first, last, step = rows.indices(self.shape[0])
        if step != 1:
            return self.take(np.arange(first, last, step))
        parts = [
            read(source, slice(max(0, first - start), min(source.shape[0], last - start)))
            for source, start in zip(self.sources, self.starts, strict=False)
            if start < last and first < start + source.shape[0]
        ]
        joined = np.concatenate(parts) if parts else np.empty(0)
        return joined.reshape(-1, *self.shape[1:]).astype(self.dtype, copy=False)

    def take(self, rows: NDArray[np.int64]) -> Array:
        """Rows by number, in the order given."""
        picked = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for source, start in zip(self.sources, self.starts, strict=False):
            here = np.flatnonzero((start <= rows) & (rows < start + source.shape[0]))
            picked[here] = take(source, rows[here] - start).reshape(len(here), *self.shape[1:])
        return picked


Concat = ConcatRows
"""What joins rows was called so before features could be joined, too."""
