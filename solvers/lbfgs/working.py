"""Rows in the coordinates that products are made in: centred, divided, in the dtype of the work, block by block.

All problems on the same rows share them, so a row is ``x = (h - center) / divisor`` whatever any problem scales by;
a :class:`Frame` takes coefficients from a problem's own coordinates to these and gradients back. Resident rows are
those blocks kept, streamed rows are made anew from the source on every pass: the same arithmetic, the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from solvers.rows import read, take

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from solvers.arrays import Array, Backend
    from solvers.problem.problem import Problem
    from solvers.rows import RowSource

__all__ = [
    "ALONE",
    "DOUBLE_ELEMENTS",
    "LEAST_ROWS",
    "Blocks",
    "Frame",
    "WorkingRows",
    "column_gram",
    "weighted_squares",
]

DOUBLE_ELEMENTS = 1 << 16
"""Problems of up to this many entries, of rows or of logits, are worked in float64 from the start: at that size
halving the bytes buys nothing."""
LEAST_ROWS = 64
"""A block has so many rows at least, however wide they are ..."""
_LEAST_MADE = 16
"""... and so many where it is made anew in float64."""
ALONE = 3
"""So many columns are multiplied one by one: a matrix times a vector runs at the speed of the memory, and two vectors
side by side take three times as long as one (measured, docs/decisions/0028)."""
_LONGER, _SHORTER = 8, 4
"""Blocks of resident rows are so many times as long for those, as what is called for a block takes as long as they do;
blocks made anew in float64 are so many times shorter: they are written and read thrice in the cache."""

_SHARED = 1 << 21
"""A reading of fewer entries, times the columns of products, is one thread's, and one of fewer entries is not read
ahead: two threads take as long from here on, and longer below."""
_IN_RANGE = 200
"""Powers of two within which neither numbers in float64 nor their products with others are in danger."""

Blocks: TypeAlias = "Iterator[tuple[slice, Any]]"
"""Blocks: (rows, x), x (n, width), or fewer where columns beyond are zero. One holds until the next is asked for."""


@dataclass(frozen=True)
class Frame:
    """From a problem's coordinates ``(h - mean) / scale`` to those of the rows, ``(h - center) / divisor``, and back.

    ``stretch`` (width,) is divisor / scale, ``offset`` (width,) is (center - mean) / scale: a row of the problem is
    ``x * stretch + offset``. ``same`` says that this changes nothing.
    """

    stretch: Any
    offset: Any
    same: bool = False

    @classmethod
    def of(cls, problem: Problem, rows: WorkingRows) -> Frame:
        """The frame of a problem on these rows."""
        inverse = 1.0 / problem.scale
        float64 = rows.backend.float64
        return cls(float64(rows.divisor * inverse), float64((rows.center - problem.mean) * inverse))

    def to_rows(self, coefficients: Any) -> Any:
        """Coefficients (classes, width + 1) as they act on a block: W x' = (W stretch) x + W offset."""
        if self.same:
            return coefficients
        moved = coefficients.copy()
        moved[:, -1] += coefficients[:, :-1] @ self.offset
        moved[:, :-1] *= self.stretch
        return moved

    def from_rows(self, gradient: Any) -> Any:
        """A gradient by the coefficients that act on a block, in the problem's coordinates."""
        if self.same:
            return gradient
        moved = gradient.copy()
        moved[:, :-1] *= self.stretch
        moved[:, :-1] += gradient[:, -1:] * self.offset
        return moved


class WorkingRows:
    """Rows (rows, width) of a source, in ``dtype``, on a backend; counts full readings, and their bytes.

    ``resident`` rows are kept after their first reading; others are read from the source, a block ahead, every time.
    ``divided=False`` leaves columns of float64 as they are, unless they are far out of range.
    """

    principal = False
    """Whether the columns are the rows' principal axes."""
    squares: Any = None
    """The squares of rows along principal axes (rows, width): every metric of a column there is a product with them."""

    def __init__(
        self, problem: Problem, backend: Backend, dtype: Any, *, resident: bool = False, divided: bool = True
    ) -> None:
        self.backend = backend
        self.dtype = np.dtype(dtype)
        self.rows, self.width = len(problem.codes), problem.width
        self.center = problem.center
        in_range = self.dtype.itemsize == 8 and bool((np.abs(np.log2(problem.divisor)) <= _IN_RANGE).all())
        plain = in_range and not divided
        self.divisor = np.ones_like(problem.divisor) if plain else problem.divisor
        self.passes = 0
        self.bytes_read = 0
        self._source: RowSource = problem.source
        with np.errstate(over="ignore"):  # float64 beyond float32, which is transformed before it is cast
            self._center = self.backend.xp.asarray(self.center.astype(self.dtype))
            inverse = None if plain else self.backend.xp.asarray((1.0 / self.divisor).astype(self.dtype))
        self._inverse = inverse
        self.kept: Any = None
        """All rows (rows, width), where they are resident."""
        if resident:
            self.kept = self._keep()

    @property
    def share(self) -> float:
        """How many readings of these rows take as long as one of all rows as they are stored."""
        return 1.0

    @property
    def entries(self) -> int:
        """How many entries a reading takes."""
        return self.rows * self.width

    def frame(self, problem: Problem) -> Frame:
        """Return the frame of a problem on these rows."""
        return Frame.of(problem, self)

    def entered(self, problem: Problem, coefficients: Any) -> Any:
        """Return coefficients of a problem (columns, width + 1) as they are worked on: here, as they are."""
        return coefficients

    def left(self, found: Sequence[tuple[Problem, Any]]) -> list[Any]:
        """Return what was worked on for several problems as coefficients of each (columns, width + 1)."""
        return [coefficients for _, coefficients in found]

    def shares(self, columns: int = 1) -> list[Blocks]:
        """Every row once: a run of blocks for each of the backend's workers, for products with so many columns."""
        self._count()
        parts = self._dealt(self.block_rows(columns), columns)
        if self.kept is not None:
            kept = self.kept
            return [((part, kept[part]) for part in mine) for mine in parts]
        return [self._streamed(mine) for mine in parts]

    def _dealt(self, block_rows: int, columns: int) -> list[list[slice]]:
        """Blocks of so many rows, dealt to the workers; to one where others take longer to begin than it takes."""
        dealt = self.backend.workers.shares(self.rows, block_rows)
        return dealt if self.entries * columns >= _SHARED else [[part for mine in dealt for part in mine]]

    def block_rows(self, columns: int = 1) -> int:
        """Rows of a block that, with so many columns of products, fit where the backend wants them."""
        elements, least = self.backend.block_elements, LEAST_ROWS
        if self.kept is not None:
            elements *= _LONGER if columns <= ALONE else 1
        elif self.dtype.itemsize == 8 and columns < self.width // _SHORTER:
            elements, least = elements // _SHORTER, _LEAST_MADE
        return max(least, elements // max(self.width, columns))

    def pick(self, numbers: NDArray[np.int64]) -> Any:
        """Rows by number, ascending: (n, width)."""
        if self.kept is not None:
            return self.kept if len(numbers) == self.rows else self.kept[self.backend.xp.asarray(numbers)]
        return self._transformed(take(self._source, numbers), None)

    def _count(self) -> None:
        self.passes += 1
        itemsize = self.dtype.itemsize if self.kept is not None else self._source.dtype.itemsize
        self.bytes_read += self.entries * itemsize

    def _keep(self) -> Any:
        whole = self.backend.xp.empty((self.rows, self.width), dtype=self.dtype)

        def work(parts: Sequence[slice]) -> None:
            for part in parts:
                self._transformed(read(self._source, part), whole[part])

        self._count()
        self.backend.workers.map(work, self.backend.workers.shares(self.rows, self.block_rows()))
        return whole

    def _streamed(self, parts: Sequence[slice]) -> Blocks:
        """Blocks of a worker, the next one read by another thread while this one is worked on, unless it is at hand."""
        longest = max(part.stop - part.start for part in parts)
        buffers = [self.backend.xp.empty((longest, self.width), dtype=self.dtype) for _ in range(2)]

        def make(index: int) -> Any:
            part = parts[index]
            return self._transformed(read(self._source, part), buffers[index % 2][: part.stop - part.start])

        if self.entries < _SHARED or (type(self._source) is np.ndarray and self.backend.xp is np):
            for index, part in enumerate(parts):
                yield part, make(index)
            return
        pending = self.backend.workers.ahead(make, 0)
        for index, part in enumerate(parts):
            x = pending.result()
            if index + 1 < len(parts):
                pending = self.backend.workers.ahead(make, index + 1)
            yield part, x

    def _transformed(self, block: Array, out: Any) -> Any:
        """``(h - center) / divisor`` of a block of the source, in the dtype of the work."""
        xp = self.backend.xp
        if block.dtype.itemsize > self.dtype.itemsize or block.dtype.kind != "f":
            block = ((block - self.center) / self.divisor).astype(self.dtype)
            if out is None:
                return xp.asarray(block)
            out[...] = xp.asarray(block)
            return out
        x = xp.asarray(block)
        out = xp.empty(x.shape, dtype=self.dtype) if out is None else out
        if x.dtype == out.dtype:
            xp.subtract(x, self._center, out=out)
        else:  # to cast first is quicker than to have every operation cast
            out[...] = x
            out -= self._center
        if self._inverse is not None:
            out *= self._inverse
        return out


def weighted_squares(backend: Backend, v: Any, x: Any) -> Any:
    """Return ``Σ v x²`` (columns, width), float64, of rows x (n, width) and weights v (columns, n).

    A block at a time: squares of all rows would be fresh memory, which takes longer to get than to fill.
    """
    xp = backend.xp
    step = max(1, backend.block_elements // x.shape[1])

    def work(parts: list[slice]) -> Any:
        found = xp.zeros((len(v), x.shape[1]))
        for part in parts:
            found += v[:, part] @ xp.square(x[part])
        return found

    return sum(backend.workers.map(work, backend.workers.shares(len(x), step)))


def column_gram(backend: Backend, x: Any) -> Any:
    """xᵀ x (width, width) in float64, of products in the dtype of x; the rows dealt to the backend's workers."""

    def work(parts: list[slice]) -> Any:
        return sum(backend.float64(x[part].T @ x[part]) for part in parts)

    return sum(backend.workers.map(work, backend.workers.shares(len(x), -(-len(x) // backend.workers.count))))
