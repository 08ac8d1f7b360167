"""Means over scored rows with their intervals, and over seeds: two numbers that are never mixed.

The first interval is of the trained decoder on new rows of the same population; what another seed would change is the
second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Mean", "mean_over_rows", "mean_over_seeds"]

_DRAWS = 2000
_DRAWN_AT_ONCE = 100
_FEW_GROUPS = 30
_TWO = 2


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

    Groups are drawn anew, rows where there are none (percentiles of 2,000 draws, seeded); under 30: t over their means.
    A ``share`` of rows that are right or wrong, ungrouped or 0 or 1: Wilson. Values that are all the same have no
    interval: a point would say that it is known exactly.
    """
    known = ~np.isnan(values)
    values = values[known]
    groups = None if groups is None else np.unique(groups[known], return_inverse=True)[1]
    if not len(values):
        return Mean(math.nan, math.nan, math.nan, "", 0, None if groups is None else 0)
    count = None if groups is None else int(groups.max()) + 1
    value = float(values.mean())
    if share and (count is None or value in (0.0, 1.0)):
        low, high, how = (*_wilson(value, len(values) if count is None else count), "wilson")
    elif (len(values) if count is None else count) < _FEW_GROUPS:
        few = values if groups is None else np.bincount(groups, values) / np.bincount(groups)
        low, high, how = (*_t(few, value), "t_groups")
    else:
        low, high, how = (*_bootstrap(values, groups), "bootstrap" if groups is None else "groups")
    return Mean(value, *_unless_a_point(low, high, how), len(values), count)


def mean_over_seeds(values: list[float], rows: int, groups: int | None, share: bool = False) -> Mean:
    """Return the mean over seeds, with t over them; no interval of a single one, or where all agree exactly.

    The interval of a ``share`` stays within 0 and 1.
    """
    found = np.asarray(values, np.float64)
    low, high = _t(found, float(found.mean()))
    if share:
        low, high = max(0.0, low), min(1.0, high)
    return Mean(float(found.mean()), *_unless_a_point(low, high, "t_seeds"), rows, groups)


def _unless_a_point(low: float, high: float, how: str) -> tuple[float, float, str]:
    """An interval and how it was made; none of what is a point."""
    return (low, high, how) if low < high else (math.nan, math.nan, "")


def _wilson(share: float, count: int) -> tuple[float, float]:
    z = 1.959963984540054
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def _t(values: NDArray[np.float64], centre: float) -> tuple[float, float]:
    from scipy.stats import t

    if len(values) < _TWO:
        return math.nan, math.nan
    half = float(t.ppf(0.975, len(values) - 1)) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return centre - half, centre + half


def _bootstrap(values: NDArray[np.float64], groups: NDArray[np.int64] | None) -> tuple[float, float]:
    sums = values if groups is None else np.bincount(groups, values)
    sizes = np.ones(len(values)) if groups is None else np.bincount(groups).astype(np.float64)
    generator = np.random.default_rng(0)
    drawn: list[NDArray[np.float64]] = []
    for _ in range(0, _DRAWS, _DRAWN_AT_ONCE):
        weights = generator.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), _DRAWN_AT_ONCE)
        drawn.append(weights @ sums / (weights @ sizes))
    low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975])
    return float(low), float(high)
