"""Rows in the coordinates a solver works in: centred, scaled, rotated, with a column of ones for the intercept.

Two kinds, which the mathematics can not tell apart: resident rows were transformed once and stay in memory;
streamed rows are read again on every pass, and there the coefficients are transformed instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from solvers.gram import Basis, eigenbasis
from solvers.objective import Targets
from solvers.rows import read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from solvers.backend import Backend
    from solvers.problem import Problem

__all__ = ["DOUBLE_ELEMENTS", "ResidentRows", "StreamedRows", "WorkingRows"]

_PRODUCT_ELEMENTS = 1 << 19
"""Entries of a block of rows that keep a CPU's cores busy in a matrix product; a backend may ask for more."""
DOUBLE_ELEMENTS = 1 << 22
"""Problems of up to this many entries, of rows or of logits, are worked in float64 from the start: at that size
halving the bytes buys nothing."""


Blocks: TypeAlias = "Iterator[tuple[slice, Any]]"
"""Blocks in order: (rows, x), x (n, width + 1) with a last column of ones."""


class WorkingRows(Protocol):
    """Rows (rows, width + 1) in working coordinates, of a dtype, on a backend; ``passes`` counts full readings."""

    backend: Backend
    rows: int
    dtype: Any
    passes: int

    def shares(self) -> list[Blocks]:
        """Every row once: a run of blocks for each of the backend's workers."""
        ...

    def to_rows(self, coefficients: Any) -> Any:
        """Coefficients (columns, width + 1) in working coordinates, as they act on a block."""
        ...

    def from_rows(self, gradient: Any) -> Any:
        """A gradient by the coefficients that act on a block, in working coordinates."""
        ...


class StreamedRows:
    """Rows read from the source in blocks, as float64, centred; scale and basis are applied to coefficients.

    A block is a view of one buffer for each worker: it holds until that worker asks for the next.
    """

    def __init__(self, problem: Problem, backend: Backend, basis: Basis | None = None) -> None:
        self.backend = backend
        self.rows = problem.rows
        self.dtype = backend.xp.float64
        self.passes = 0
        self.basis = basis or Basis()
        self._problem = problem
        self._mean = backend.float64(problem.mean)
        self._inverse_scale = backend.float64(1.0 / problem.scale)

    def shares(self) -> list[Blocks]:
        """Every row once: a run of blocks for each worker, to be read side by side."""
        self.passes += 1
        step = _block_rows(self._problem, self.backend)
        return [self._read(parts) for parts in self.backend.shares(self.rows, step)]

    def _read(self, parts: list[slice]) -> Blocks:
        xp = self.backend.xp
        longest = max(part.stop - part.start for part in parts)
        buffer = xp.ones((longest, self._problem.width + 1), dtype=self.dtype)
        for part in parts:
            x = buffer[: part.stop - part.start]
            xp.subtract(xp.asarray(read(self._problem.source, part)), self._mean, out=x[:, :-1])
            yield part, x

    def to_rows(self, coefficients: Any) -> Any:
        """Coefficients in working coordinates, as they act on a block."""
        return self._scaled(self.basis.outward(coefficients))

    def from_rows(self, gradient: Any) -> Any:
        """A gradient by the coefficients that act on a block, in working coordinates."""
        return self.basis.inward(self._scaled(gradient))

    def _scaled(self, array: Any) -> Any:
        scaled = array.copy()
        scaled[..., :-1] *= self._inverse_scale
        return scaled


class ResidentRows:
    """Rows transformed once into their Gram's eigenbasis and kept on the device.

    float32, or float64 where the problem is small. Where the layer is too wide for a Gram matrix to pay, the
    basis is that of the columns.
    """

    def __init__(self, problem: Problem, backend: Backend) -> None:
        xp = backend.xp
        small = problem.rows * max(problem.width, len(problem.classes)) <= DOUBLE_ELEMENTS
        self.backend = backend
        self.rows = problem.rows
        self.dtype = xp.float64 if small else xp.float32
        self._parts = backend.shares(problem.rows, _block_rows(problem, backend))
        self._x = self._standardised(problem)
        self.passes = 1
        self.basis = Basis()
        if problem.width <= backend.rotate_width:
            self.basis = self._rotate(problem)

    def shares(self) -> list[Blocks]:
        """Every row once: a run of blocks for each worker."""
        self.passes += 1
        return [((part, self._x[part]) for part in parts) for parts in self._parts]

    def to_rows(self, coefficients: Any) -> Any:
        """Coefficients in working coordinates, as they act on a block: the same, in its dtype."""
        return coefficients.astype(self.dtype)

    def from_rows(self, gradient: Any) -> Any:
        """A gradient by the coefficients that act on a block: the same."""
        return gradient

    def _standardised(self, problem: Problem) -> Any:
        rows = StreamedRows(problem, self.backend)
        scale = self.backend.float64(1.0 / problem.scale)
        whole = self.backend.xp.ones((self.rows, problem.width + 1), dtype=self.dtype)

        def work(blocks: Blocks) -> None:
            for part, x in blocks:
                whole[part, :-1] = x[:, :-1] * scale

        self.backend.map(work, rows.shares())
        return whole

    def _rotate(self, problem: Problem) -> Basis:
        weights = Targets.of(problem, self.backend, self.dtype).weights
        basis = eigenbasis(self, weights)
        vectors = basis.vectors.astype(self.dtype)

        def work(blocks: Blocks) -> None:
            for _, x in blocks:
                x[:, :-1] = x[:, :-1] @ vectors

        self.backend.map(work, self.shares())
        return basis


def _block_rows(problem: Problem, backend: Backend) -> int:
    return max(1, max(_PRODUCT_ELEMENTS, backend.block_elements) // (problem.width + 1))
