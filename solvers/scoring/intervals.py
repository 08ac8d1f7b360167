"""Intervals of 95% in closed form: of a rate, of an AUROC, of a mean over few units. docs/decisions/0017 says why.

Quantiles are those of ``scipy.special``, to which ``scipy.stats`` goes too: importing that takes half a second, which
``probe show`` does not have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import betaincinv, expit, ndtri, stdtrit

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "LEVEL",
    "area",
    "area_by_placements",
    "exact",
    "leave_one_out_error",
    "paired_rates",
    "percentile",
    "t_bounds",
    "wilson",
]

LEVEL = 0.95
_TAIL = (1 - LEVEL) / 2
_Z = float(-ndtri(_TAIL))


def wilson(hits: ArrayLike, rows: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Wilson's interval of the rate hits / rows, low and high; NaN of no rows (Wilson 1927)."""
    hits, rows = np.asarray(hits, dtype=np.float64), np.asarray(rows, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = hits / rows
        middle = (rate + _Z**2 / (2 * rows)) / (1 + _Z**2 / rows)
        half = _Z / (1 + _Z**2 / rows) * np.sqrt(rate * (1 - rate) / rows + _Z**2 / (4 * rows**2))
    low = np.where(hits == 0, np.where(rows > 0, 0.0, np.nan), middle - half)
    return low, np.where((hits == rows) & (rows > 0), 1.0, middle + half)


def exact(hits: ArrayLike, rows: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the interval of Clopper and Pearson of the rate hits / rows, low and high; ``hits`` need not be whole."""
    hits, rows = np.asarray(hits, dtype=np.float64), np.asarray(rows, dtype=np.float64)
    missed = rows - hits
    low = np.where(hits > 0, betaincinv(np.where(hits > 0, hits, 1), missed + 1, _TAIL), 0.0)
    high = np.where(missed > 0, betaincinv(hits + 1, np.where(missed > 0, missed, 1), 1 - _TAIL), 1.0)
    return np.where(rows > 0, low, np.nan), np.where(rows > 0, high, np.nan)


def area(value: float, positives: int, negatives: int) -> tuple[float, float]:
    """Return the interval of an area under the ROC curve of independent rows, of Wilson's kind.

    The areas θ with (value − θ)² ≤ z² θ(1−θ)/(mn) (1 + N ((1−θ)/(2−θ) + θ/(1+θ))), N = (m+n)/2 − 1: Newcombe (2006),
    method 5. It is no point where the area is 0 or 1.
    """
    pairs, rest = positives * negatives, (positives + negatives) / 2 - 1

    def outside(area: float) -> bool:
        spread = area * (1 - area) / pairs * (1 + rest * ((1 - area) / (2 - area) + area / (1 + area)))
        return (value - area) ** 2 > _Z**2 * spread

    return _end(outside, value, 0.0), _end(outside, value, 1.0)


def area_by_placements(
    of_positives: NDArray[np.float64], of_negatives: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the interval of an area from the share of the other side that each row stands on the right side of.

    DeLong's variance, of the two means' (DeLong and others 1988), on the scale of log-odds, so that it stays within
    0 and 1; NaN where the area is 0 or 1, or a side has one row.
    """
    value = float(of_positives.mean())
    if not 0 < value < 1 or min(len(of_positives), len(of_negatives)) < 2:
        return np.nan, np.nan
    variance = sum(each.var(ddof=1) / len(each) for each in (of_positives, of_negatives))
    middle, half = np.log(value / (1 - value)), _Z * np.sqrt(variance) / (value * (1 - value))
    return float(expit(middle - half)), float(expit(middle + half))


def _end(outside: Callable[[float], bool], inside: float, limit: float) -> float:
    """Return where an interval ends on the way from a point of it to the end of the range, by halving."""
    if inside == limit:
        return limit
    beyond = limit
    for _ in range(60):
        middle = (inside + beyond) / 2
        if outside(middle):
            beyond = middle
        else:
            inside = middle
    return (inside + beyond) / 2


def percentile(drawn: NDArray[np.float64]) -> tuple[float, float]:
    """Return the interval between the quantiles of draws (draws,); those without a value are left out."""
    known = drawn[~np.isnan(drawn)]
    if 2 * len(known) < len(drawn) or not len(known):
        return np.nan, np.nan
    low, high = np.quantile(known, [_TAIL, 1 - _TAIL])
    return float(low), float(high)


def leave_one_out_error(without: NDArray[np.float64]) -> float:
    """Return the standard error of a number from its values without each unit (units,): the jackknife.

    Of a mean over units of one size it is their standard deviation over √units.
    """
    units = len(without)
    return float(np.sqrt((units - 1) / units * np.sum((without - without.mean()) ** 2)))


def t_bounds(value: float, error: float, units: int) -> tuple[float, float]:
    """Return value ± t · error, t of units − 1 degrees of freedom."""
    half = float(stdtrit(units - 1, 1 - _TAIL)) * error
    return value - half, value + half


def paired_rates(more: int, fewer: int, rows: int) -> tuple[float, float]:
    """Return the interval of the difference of two rates over the same rows: ``more`` minus ``fewer``, over ``rows``.

    ``more`` rows hit with the first alone, ``fewer`` with the second alone. Bonett and Price (2012): Wald's interval
    with one added to both and two to the rows, so that it is no point where both are 0.
    """
    first, second, total = (more + 1) / (rows + 2), (fewer + 1) / (rows + 2), rows + 2
    half = _Z * float(np.sqrt((first + second - (first - second) ** 2) / total))
    return max(-1.0, first - second - half), min(1.0, first - second + half)
