"""Means over scored rows with their intervals, and over seeds: two numbers that are never mixed.

The first interval is of the trained decoder on new rows of the same population, made as those of probes are
(docs/metrics.md); what another seed would change is the second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from solvers.scoring.interval_of import NO_INTERVAL, Interval, mean_interval, rate_interval
from solvers.scoring.intervals import t_bounds
from solvers.scoring.units import Units

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Mean", "mean_over_rows", "mean_over_seeds"]


@dataclass(frozen=True)
class Mean:
    """A mean, its interval of 95% (NaN where there is none), and how that was made."""

    value: float
    low: float
    high: float
    interval: str
    rows: int
    groups: int | None


def mean_over_rows(values: NDArray[np.float64], groups: NDArray[np.int64] | None, share: bool = False) -> Mean:
    """Return the mean of what is known of rows, NaN where it is not.

    Args:
        values: (rows,).
        groups: (rows,) equal for rows that belong together; None: each row by itself.
        share: whether values are 0 or 1, and the mean is a rate.
    """
    known = ~np.isnan(values)
    values = values[known]
    units = Units(len(values), None if groups is None else groups[known])
    value, found = math.nan, NO_INTERVAL
    if len(values):
        value = float(values.mean())
        found = (
            rate_interval(values == 1, np.ones(len(values), dtype=bool), units)
            if share
            else mean_interval(values, units)
        )
    return Mean(value, found.low, found.high, found.how, len(values), None if groups is None else units.groups)


def mean_over_seeds(values: list[float], rows: int, groups: int | None, share: bool = False) -> Mean:
    """Return the mean over seeds, with t over them; no interval of a single one, or where all agree exactly.

    The interval of a ``share`` stays within 0 and 1.
    """
    found = np.asarray(values, np.float64)
    value, interval = float(found.mean()), NO_INTERVAL
    if len(found) > 1 and found.std() > 0:
        low, high = t_bounds(value, float(found.std(ddof=1)) / math.sqrt(len(found)), len(found))
        interval = (
            Interval(max(0.0, low), min(1.0, high), "t_seeds") if share else Interval(low, high, "t_seeds")
        )
    return Mean(value, interval.low, interval.high, interval.how, rows, groups)
