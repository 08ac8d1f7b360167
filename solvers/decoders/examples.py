"""The pictures that decoders learn to give back, and which rows are for what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from solvers.errors import ProblemError
from solvers.problem.moments import not_finite
from solvers.rows import as_source, take

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solvers.arrays import Array
    from solvers.decoders.images import ImageUnits
    from solvers.rows import RowSource

__all__ = ["Examples"]


@dataclass(frozen=True, eq=False)
class Examples:
    """Stored pictures, and what their rows are for.

    Args:
        images: (rows, ...) what the network was given.
        units: of the images.
        train: numbers of the rows to fit on.
        select: numbers of the rows that choose a penalty; none where there are none.
        labels: (rows,) the place of each row's label among the classifier's classes, -1 for none; None without.

    Raises:
        ProblemError: numbers of rows that there are not.
    """

    images: RowSource | Array
    units: ImageUnits
    train: NDArray[np.int64]
    select: NDArray[np.int64] | None = None
    labels: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        count = self.images.shape[0]
        for rows in (self.train, *([] if self.select is None else [self.select])):
            if len(rows) and (np.min(rows) < 0 or np.max(rows) >= count):
                msg = f"rows go from {np.min(rows)} to {np.max(rows)}; expected numbers from 0 to {count - 1:,}"
                raise ProblemError(msg)

    def stored(self, rows: NDArray[np.int64]) -> Array:
        """Return pictures as stored.

        Raises:
            ProblemError: some are not finite.
        """
        found = take(as_source(self.images), rows)
        if bad := not_finite(found):
            msg = f"{bad:,} rows of the pictures hold NaN or infinities; leave those rows out"
            raise ProblemError(msg)
        return found.reshape(len(rows), *self.units.stored)

    def pictures(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return pictures (rows, channels, height, width) in [0, 1]."""
        return self.units.to_unit(self.stored(rows))

    def refuse_others(self, codes: RowSource) -> None:
        """Refuse activations of another number of rows."""
        if codes.shape[0] != self.images.shape[0]:
            rows, pictures = codes.shape[0], self.images.shape[0]
            msg = f"{rows:,} rows of activations and {pictures:,} pictures; expected the same rows"
            raise ProblemError(msg)
