"""What is resampled: whole groups of rows, or single rows. Weights of rows are the draws of a bootstrap."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from solvers.scoring.predictions import Predictions

__all__ = ["DRAWS", "FEW_UNITS", "MOST_UNITS", "Units"]

DRAWS = 2_000
"""Draws of a bootstrap."""
FEW_UNITS = 30
"""Below so many units each is left out in turn, in place of a bootstrap."""
MOST_UNITS = 10_000
"""More units than these are put together at random: means of blocks of independent units are independent, too."""
_BLOCK_ELEMENTS = 1 << 18  # weights of a block of draws, which the cache holds
_SEED = 0


class Units:
    """Rows that are drawn together, and how often each is drawn.

    Args:
        rows: how many there are.
        group: (rows,) equal for rows that belong together; None: each row by itself.
        draws: of the bootstrap.
        seed: of the draws; the same seed draws the same units, so that two probes of the same rows are paired.
    """

    def __init__(
        self, rows: int, group: NDArray[np.int64] | None = None, draws: int = DRAWS, seed: int = _SEED
    ) -> None:
        generator = np.random.default_rng(seed)
        self.rows = rows
        self.of_row = np.arange(rows) if group is None else np.unique(group, return_inverse=True)[1].reshape(-1)
        self.groups = int(self.of_row.max(initial=-1)) + 1
        """How many groups there are, of one row each without groups."""
        self.grouped = self.groups < rows
        """Whether some rows belong together."""
        self.count = min(self.groups, MOST_UNITS)
        if self.groups > MOST_UNITS:
            self.of_row = (generator.permutation(self.groups) % MOST_UNITS)[self.of_row]
        self._draws, self._seed = draws, seed

    @classmethod
    def of(cls, predictions: Predictions, draws: int = DRAWS, seed: int = _SEED) -> Units:
        """Return the units of predictions."""
        return cls(len(predictions), predictions.group, draws, seed)

    @property
    def few(self) -> bool:
        """Whether there are too few for a bootstrap."""
        return self.count < FEW_UNITS

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """(draws, units) how often each is drawn; of few units, a draw without each."""
        if self.few:
            return 1 - np.eye(self.count, dtype=np.float32)
        generator = np.random.default_rng([self._seed, self.count])
        drawn = np.empty((self._draws, self.count), dtype=np.float32)
        for draw in drawn:  # a multinomial of equal chances
            draw[:] = np.bincount(generator.integers(0, self.count, self.count), minlength=self.count)
        return drawn

    def sums(self, columns: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the sum over the rows of each unit, (units, columns), of columns over the rows."""
        if self.count == self.rows:
            placed = np.empty_like(columns)
            placed[self.of_row] = columns
            return placed
        return np.column_stack([np.bincount(self.of_row, column, minlength=self.count) for column in columns.T])

    def products(self, columns: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the weighted sum over all rows, (draws, columns), of columns over the rows, for every draw."""
        return self.drawn_sums(self.sums(columns))

    def drawn_sums(self, of_units: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the same of the sums of each unit, (units, columns).

        Centred first, so that the single precision of the product is of the spread and not of the mean. A column that
        is not finite, as predictions of a damaged file can be, has sums that are not, and thus no interval.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            centre = of_units.mean(axis=0, dtype=np.float64)
            spread = (of_units - centre).astype(np.float32)
        total = self.count - 1 if self.few else self.count
        drawn = np.tile(total * centre, (len(self.weights), 1))
        varies = np.flatnonzero(spread.any(axis=0))
        drawn[:, varies] += self.weights @ spread[:, varies]
        return drawn

    def row_weights(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
        """Yield the weights of some rows, (draws of a block, rows), block by block."""
        of_row = self.of_row[rows]
        step = max(1, _BLOCK_ELEMENTS // max(1, len(rows)))
        for start in range(0, len(self.weights), step):
            yield self.weights[start : start + step][:, of_row]
