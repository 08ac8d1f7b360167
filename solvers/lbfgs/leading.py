"""The directions in which rows vary most: a metric that is exact along them, and one number for all the others.

Activations of a network have a spectrum that decays: a hundred directions of thousands hold most of the curvature, and
are what steps without a model of it are spent on. They are found by one product of the rows with random columns and one
back (Halko, Martinsson and Tropp 2011), shared by every C and target, and the rows along them are kept: a block of the
Hessian there costs a thousandth of the whole one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from solvers.arrays import Backend

__all__ = ["Leading", "LeadingFactors", "find_leading"]

_JITTER = 1e-7
"""What is added to the diagonal of a block, as a share of its mean, so that rows in float32 leave it positive."""
_MOST_JITTER = 1e4
"""A block that needs more is none: it holds no numbers."""

_ASKEW = 0.1
"""The second factor of a sketch is the identity, but for as much of it, where the first one was good."""


@dataclass(frozen=True)
class Leading:
    """Orthonormal ``directions`` (width, rank) of a problem's coordinates, and the rows along them (rows, rank).

    ``tail`` is the mean square of the rows along the median of them: what the others come to at most. Less, along the
    least of them, makes steps across that are too long.
    """

    directions: Any
    along: Any
    tail: float

    def blocks(self, backend: Backend, v: Any, mass: Any) -> list[Any]:
        """``Σ v (x - mean)(x - mean)ᵀ`` (rank, rank) along the directions, float64, for each v (columns, rows)."""
        xp, found = backend.xp, []
        for weights, total in zip(v, mass[:, 0], strict=True):
            mean = (weights @ self.along) / float(total)
            moved = self.along - mean.astype(self.along.dtype)
            moved *= xp.sqrt(weights)[:, None]
            found.append(backend.float64(moved.T @ moved))
        return found


@dataclass(frozen=True)
class LeadingFactors:
    """The inverse of a metric that is a factored block along the directions, and a number ``rest`` across them.

    ``rest`` is (classes, 1), the penalty included, as it is in the ``factors``.
    """

    directions: Any
    factors: tuple[Any, ...]
    rest: Any

    @classmethod
    def of(
        cls, backend: Backend, leading: Leading, blocks: list[Any], rest: Any, penalty: float
    ) -> LeadingFactors | None:
        """The metric of blocks under a penalty; None where one of them has no factor."""
        xp, factors = backend.xp, []
        for block in blocks:
            diagonal = xp.arange(len(block))
            size = float(block[diagonal, diagonal].mean()) + penalty
            factor, jitter = None, _JITTER if size < math.inf else math.inf
            while factor is None and jitter < _MOST_JITTER:
                moved = block.copy()
                moved[diagonal, diagonal] += penalty + jitter * size
                factor = backend.factor(moved)
                jitter *= 10
            if factor is None:
                return None
            factors.append(factor)
        return cls(leading.directions, tuple(factors), rest)

    def solve(self, backend: Backend, sides: Any) -> Any:
        """The inverse times sides (..., classes, width)."""
        along = backend.float64(sides.astype(self.directions.dtype) @ self.directions)
        across = sides / self.rest
        change = -along / self.rest
        for k, factor in enumerate(self.factors):
            mine = along[..., k, :]
            solved = backend.solve(factor, mine.reshape(-1, mine.shape[-1]).T).T
            change[..., k, :] += solved.reshape(mine.shape)
        across += change.astype(self.directions.dtype) @ self.directions.T
        return across


def _orthonormal(backend: Backend, sketch: Any) -> Any:
    """Orthonormal columns (width, rank) that span the rows of a sketch (rank, width), in its dtype.

    By the Cholesky factor of its Gram matrix, twice (Yamamoto et al. 2015), in a quarter of the time of Householder's
    reflections; by these where rounding leaves no factor, or one that does not make the rows orthonormal.
    """
    xp, found, diagonal = backend.xp, backend.float64(sketch), backend.xp.arange(len(sketch))
    for _ in range(2):
        factor = backend.factor(found @ found.T)
        if factor is None:
            return xp.linalg.qr(sketch.T)[0]
        found = xp.linalg.inv(xp.tril(factor)) @ found
    if not bool((xp.abs(factor[diagonal, diagonal] - 1) < _ASKEW).all()):
        return xp.linalg.qr(sketch.T)[0]
    return xp.ascontiguousarray(found.T.astype(sketch.dtype))


def find_leading(backend: Backend, x: Any, stretch: Any, draws: Any) -> Leading:
    """Return the leading directions of rows x (rows, width) in coordinates stretched by (width,).

    ``draws`` (rank, rows) are random, as many as directions are wanted.
    """
    xp, workers = backend.xp, backend.workers
    shares = workers.shares(len(x), -(-len(x) // workers.count))
    sketch = sum(workers.map(lambda parts: sum(draws[:, part] @ x[part] for part in parts), shares))
    directions = _orthonormal(backend, (sketch * stretch).astype(x.dtype))
    turn = (stretch[:, None] * directions).astype(x.dtype)
    along = xp.empty((len(x), len(draws)), dtype=x.dtype)

    def work(parts: list[slice]) -> None:
        for part in parts:
            along[part] = x[part] @ turn

    workers.map(work, shares)
    along -= along.mean(axis=0, dtype=xp.float64).astype(x.dtype)
    squares = xp.square(along).sum(axis=0, dtype=xp.float64) / len(x)
    return Leading(directions, along, float(xp.sort(squares)[len(squares) // 2]))
