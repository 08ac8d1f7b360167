"""Rows in the coordinates a solver works in: centred, scaled, rotated, with a column of ones for the intercept.

Two kinds, which the mathematics can not tell apart: resident rows were transformed once and stay in memory;
streamed rows are read again on every pass, and there the coefficients are transformed instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from solvers.gram import Basis, eigenbasis
from solvers.rows import read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from solvers.backend import Backend
    from solvers.problem import Problem

__all__ = ["ResidentRows", "StreamedRows", "WorkingRows"]

_PRODUCT_ELEMENTS = 1 << 21
"""Entries of a block of rows that keep a CPU's cores busy in a matrix product; a backend may ask for more."""
DOUBLE_ELEMENTS = 1 << 22
"""Problems of up to this many entries, of rows or of logits, are worked in float64 from the start: at that size
halving the bytes buys nothing."""


class WorkingRows(Protocol):
    """Rows (rows, width + 1) in working coordinates, of a dtype, on a backend; ``passes`` counts full readings."""

    backend: Backend
    rows: int
    dtype: Any
    passes: int

    def blocks(self) -> Iterator[tuple[slice, Any]]:
        """Read every row once, in order: (rows, x), x (n, width + 1) with a last column of ones."""
        ...

    def to_rows(self, coefficients: Any) -> Any:
        """Coefficients (columns, width + 1) in working coordinates, as they act on a block."""
        ...

    def from_rows(self, gradient: Any) -> Any:
        """A gradient by the coefficients that act on a block, in working coordinates."""
        ...


class StreamedRows:
    """Rows read from the source in blocks, as float64, centred; scale and basis are applied to coefficients.

    A block is a view of one buffer: it holds until the next one is asked for.
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

    def blocks(self) -> Iterator[tuple[slice, Any]]:
        """Read every row once, in order: (rows, x), x (n, width + 1) with a last column of ones."""
        xp, step = self.backend.xp, _block_rows(self._problem, self.backend)
        buffer = xp.ones((min(step, self.rows), self._problem.width + 1), dtype=self.dtype)
        self.passes += 1
        for start in range(0, self.rows, step):
            part = slice(start, min(start + step, self.rows))
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
        self._step = _block_rows(problem, backend)
        self._x = self._standardised(problem)
        self.passes = 1
        self.basis = Basis()
        if problem.width <= backend.rotate_width:
            self.basis = self._rotate(problem)

    def blocks(self) -> Iterator[tuple[slice, Any]]:
        """Every row once, in order: (rows, x), x (n, width + 1) with a last column of ones."""
        self.passes += 1
        for start in range(0, self.rows, self._step):
            part = slice(start, min(start + self._step, self.rows))
            yield part, self._x[part]

    def to_rows(self, coefficients: Any) -> Any:
        """Coefficients in working coordinates, as they act on a block: the same, in its dtype."""
        return coefficients.astype(self.dtype)

    def from_rows(self, gradient: Any) -> Any:
        """A gradient by the coefficients that act on a block: the same."""
        return gradient

    def _standardised(self, problem: Problem) -> Any:
        xp = self.backend.xp
        x = xp.ones((self.rows, problem.width + 1), dtype=self.dtype)
        scale = self.backend.float64(1.0 / problem.scale)
        for part, block in StreamedRows(problem, self.backend).blocks():
            x[part, :-1] = block[:, :-1] * scale
        return x

    def _rotate(self, problem: Problem) -> Basis:
        xp = self.backend.xp
        weights = None if problem.weights is None else xp.asarray(problem.weights.astype(np.dtype(self.dtype)))
        basis = eigenbasis(self.backend, self._x[:, :-1], weights, self._step)
        vectors = basis.vectors.astype(self.dtype)
        for start in range(0, self.rows, self._step):
            part = slice(start, start + self._step)
            self._x[part, :-1] = self._x[part, :-1] @ vectors
        self.passes += 2
        return basis


def _block_rows(problem: Problem, backend: Backend) -> int:
    return max(1, max(_PRODUCT_ELEMENTS, backend.block_elements) // (problem.width + 1))
