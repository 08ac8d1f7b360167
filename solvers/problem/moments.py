"""Moments of the columns of a source: where the rows are centred, and what they are divided by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from solvers.arrays import NUMPY
from solvers.errors import ProblemError
from solvers.rows import flat_width, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from solvers.arrays import Array
    from solvers.rows import RowSource

__all__ = ["Moments", "all_moments", "common_range", "not_finite", "spread"]

BLOCK_ELEMENTS = 1 << 17
_EXPONENTS = {4: 100, 8: 340}
"""Divisors lie within 2 to this power, by the bytes of an entry, so that their inverses do not overflow."""
_LARGEST = 1e100
"""Activations beyond this are refused, as the squares of their sums would overflow."""
_MEAN_ROUNDING = 64 * float(np.finfo(np.float64).eps)
"""Relative error that a mean over many blocks may carry."""

Moments: TypeAlias = "tuple[NDArray[np.float64], NDArray[np.float64]]"
"""Mean and standard deviation (width,)."""


def all_moments(source: RowSource, weights: Sequence[NDArray[np.float64]]) -> list[Moments]:
    """The moments of the columns under each weighting; a weighting that was there before costs no reading."""
    found: list[Moments] = []
    for index, mine in enumerate(weights):
        same = next((place for place in range(index) if np.array_equal(weights[place], mine)), None)
        found.append(_moments(source, mine) if same is None else found[same])
    return found


@dataclass(frozen=True)
class _Run:
    """Sums over a run of blocks: weight, mean and squared deviations from it (width,), rows that are not finite."""

    mass: float
    mean: Any
    squares: Any
    bad: int

    def joined(self, other: _Run) -> _Run:
        """The sums over both runs (Chan et al. 1983)."""
        mass = self.mass + other.mass
        if self.bad or other.bad or other.mass == 0:
            return _Run(self.mass, self.mean, self.squares, self.bad + other.bad)
        if self.mass == 0:
            return other
        shift = other.mean - self.mean
        squares = self.squares + other.squares + np.square(shift) * (self.mass * other.mass / mass)
        return _Run(mass, self.mean + shift * (other.mass / mass), squares, 0)


def _moments(source: RowSource, weights: NDArray[np.float64]) -> Moments:
    """Weighted mean and population standard deviation of each column."""
    width = flat_width(source)

    @np.errstate(over="ignore", invalid="ignore")  # told from what comes out of it
    def work(parts: list[slice]) -> _Run:
        run = _Run(0.0, np.zeros(width), np.zeros(width), 0)
        for part in parts:
            run = run.joined(_block_run(read(source, part), weights[part]))
        return run

    shares = NUMPY.workers.shares(source.shape[0], max(1, BLOCK_ELEMENTS // max(1, width)))
    runs = NUMPY.workers.map(work, shares)
    with np.errstate(over="ignore", invalid="ignore"):
        whole = reduce(_Run.joined, runs)
    if whole.bad:
        msg = (
            f"{whole.bad:,} of {len(weights):,} rows hold NaN or infinite activations; "
            "expected finite numbers: leave those rows out, or dump in a wider dtype"
        )
        raise ProblemError(msg)
    deviation = np.sqrt(whole.squares / whole.mass)
    size = np.maximum(np.abs(whole.mean), deviation)
    if not np.all(size <= _LARGEST):
        column = int(np.flatnonzero(~(size <= _LARGEST))[0])
        msg = (
            f"column {column} of the activations holds numbers beyond {_LARGEST:g}, whose squares overflow; "
            "divide the activations by a constant"
        )
        raise ProblemError(msg)
    return whole.mean, deviation


def _block_run(block: Array, weight: NDArray[np.float64]) -> _Run:
    mass = float(weight.sum())
    deviations = block.astype(np.float64)
    sums = weight @ deviations
    # Any number that is none is in the sum of its column: also where its row weighs nothing, as 0 times it is none.
    if not np.isfinite(sums).all() and (bad := not_finite(block)):
        return _Run(0.0, 0.0, 0.0, bad)
    if mass == 0:
        return _Run(0.0, 0.0, 0.0, 0)
    mean = sums / mass
    deviations -= mean
    # The rounding of that mean, which a constant column would show as spread.
    slip = weight @ deviations / mass
    np.square(deviations, out=deviations)
    squares = weight @ deviations - mass * np.square(slip)
    return _Run(mass, mean + slip, squares.clip(0, None), 0)


def common_range(
    moments: Sequence[Moments], dtype: np.dtype[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A center and a divisor of each column that keep products in range and can be applied without rounding twice."""
    center = moments[0][0]
    if dtype != np.float64:
        center = center.astype(np.float32).astype(np.float64)
    deviation = np.maximum.reduce([each for _, each in moments])
    limit = _EXPONENTS[8 if dtype == np.float64 else 4]
    exponent = np.log2(np.where(deviation > 0, deviation, 1.0)).round().clip(-limit, limit)
    return center, np.exp2(exponent)


def not_finite(block: Array) -> int:
    """Number of rows with an entry that is NaN or infinite."""
    if block.dtype.kind != "f":
        return 0
    return int(np.count_nonzero(~np.isfinite(block).all(axis=1)))


def spread(
    deviation: NDArray[np.float64], mean: NDArray[np.float64], dtype: np.dtype[Any]
) -> NDArray[np.float64]:
    """Standard deviations, inf where a column varies by no more than the rounding of its own dtype."""
    rounding = max(np.finfo(dtype if dtype.kind == "f" else np.float64).eps, _MEAN_ROUNDING)
    return np.where(deviation > rounding * np.abs(mean), deviation, np.inf)
