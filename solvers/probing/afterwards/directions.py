"""The direction of a two-class probe, and how it lies to the difference of class means, in raw and scaled columns.

A direction depends on coordinates: with one column 200 times the others the cosine of the two was .16 in raw columns
and .97 in scaled ones. So every number here names its space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from solvers.errors import ProblemError
from solvers.rows import as_source, blocks, flat_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from solvers.probing.probe import Probe
    from solvers.rows import RowSource

__all__ = ["RAW", "SCALED", "SPACES", "Direction", "direction", "directions"]

RAW, SCALED = "raw", "scaled"
SPACES = (RAW, SCALED)
_BLOCK_ELEMENTS = 1 << 21


@dataclass(frozen=True, eq=False)
class Direction:
    """The direction of a probe in one space, beside the difference of the means of its two classes.

    Args:
        space: ``raw``, the columns as they are stored, or ``scaled``, those that the penalty was taken in.
        vector: (width,), the gradient of log p(second class) − log p(first), features flattened in C order; 0 in
            columns that the probe does not look at.
        difference: (width,), the mean of the rows of the second class minus that of the first, in this space; 0 in
            columns that the probe does not look at.
        norm, difference_norm: their lengths.
        cosine: of the angle between the two; NaN where one of them is 0.
    """

    space: str
    vector: NDArray[np.float64]
    difference: NDArray[np.float64]

    @property
    def norm(self) -> float:
        """The length of the direction."""
        return float(np.linalg.norm(self.vector))

    @property
    def difference_norm(self) -> float:
        """The length of the difference of means."""
        return float(np.linalg.norm(self.difference))

    @property
    def cosine(self) -> float:
        """The cosine of the angle between the direction and the difference of means; NaN where one is 0."""
        lengths = self.norm * self.difference_norm
        return float(self.vector @ self.difference) / lengths if lengths else float("nan")


def direction(probe: Probe, space: str = RAW) -> NDArray[np.float64]:
    """Return the direction of a two-class probe, (width,): the gradient of log p(second) − log p(first) by a row.

    In ``raw`` space the row is as it is stored, in ``scaled`` space its columns are divided as the fit divided them, so
    that it is what was penalised. Without scaling the two are one.

    Raises:
        ProblemError: another space, another number of classes than two, or scaled space of a probe of random
            directions, whose penalty was taken in columns that the layer does not have.
    """
    if space not in SPACES:
        msg = f"space is {space!r}; expected 'raw' (columns as they are) or 'scaled' (what was penalised)"
        raise ProblemError(msg)
    if probe.classes is None or len(probe.classes) != 2:
        found = "is a regression" if probe.classes is None else f"has {len(probe.classes):,} classes"
        msg = (
            f"the probe of layer {probe.layer!r} for {probe.target!r} {found}; a direction leads from one class to "
            "another: expected two"
        )
        raise ProblemError(msg)
    if space == SCALED and probe.where.projection is not None:
        msg = (
            f"the probe of layer {probe.layer!r} was fitted on {probe.where.projection:,} random directions, which its "
            "penalty was taken in, so it has no direction in scaled columns of the layer; take 'raw'"
        )
        raise ProblemError(msg)
    return probe.direction(space)


def directions(
    probe: Probe, source: RowSource | ArrayLike, codes: NDArray[np.integer], spaces: Sequence[str] = SPACES
) -> list[Direction]:
    """Return the direction of a two-class probe in each space, beside the difference of the means of these rows.

    Args:
        probe: of two classes.
        source: (rows, *features), raw activations of its layer: its training rows, for the difference to be theirs.
        codes: (rows,) 0 or 1, the class of each row.
        spaces: which.

    Raises:
        ProblemError: as ``direction`` does, or a class has no rows.
    """
    vectors = {space: direction(probe, space) for space in spaces}
    raw = _difference_of_means(probe, as_source(source), np.asarray(codes))
    scale = np.where(np.isfinite(probe.scale) & (probe.scale != 0), probe.scale, np.inf)
    return [Direction(space, vector, raw if space == RAW else raw / scale) for space, vector in vectors.items()]


def _difference_of_means(probe: Probe, source: RowSource, codes: NDArray[np.integer]) -> NDArray[np.float64]:
    """The mean of the rows of class 1 minus that of class 0, (width,), summed about the probe's mean."""
    if flat_width(source) != probe.width or source.shape[0] != len(codes):
        msg = (
            f"rows have shape {tuple(source.shape)} and there are {len(codes):,} labels; expected {probe.width:,} "
            "features, and one label per row"
        )
        raise ProblemError(msg)
    sums, counts = np.zeros((2, probe.width)), np.bincount(codes, minlength=2)
    if len(counts) > 2 or not counts.all():
        msg = f"the two classes have {', '.join(map(str, counts.tolist()))} rows; expected rows of either, and no other"
        raise ProblemError(msg)
    for rows, block in blocks(source, max(1, _BLOCK_ELEMENTS // probe.width)):
        centred = np.asarray(block, dtype=np.float64) - probe.mean
        for code in (0, 1):
            sums[code] += centred[codes[rows] == code].sum(axis=0)
    difference = sums[1] / counts[1] - sums[0] / counts[0]
    if probe.columns is not None:
        looked_at = np.zeros(probe.width, dtype=bool)
        looked_at[probe.columns] = True
        difference[~looked_at] = 0.0
    return np.asarray(difference)
