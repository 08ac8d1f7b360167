"""The interval of one score: which way it is made, by what the metric is and what the rows are.

docs/decisions/0017 has what was measured; docs/metrics.md the same as a table for readers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from solvers.scoring import intervals
from solvers.scoring.units import FEW_UNITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solvers.scoring.answers import Answers
    from solvers.scoring.units import Units

__all__ = ["FEW_HITS", "NO_INTERVAL", "Interval", "Measured", "interval_of", "mean_interval", "rate_interval"]

FEW_HITS = 5
"""Where fewer rows than this are wrong, or right, the interval of a rate is exact."""
_NO_ERROR = 1e-12


@dataclass(frozen=True)
class Interval:
    """Low and high, and how they were made: a word of ``Score.interval``; NaN and "" where there is none."""

    low: float
    high: float
    how: str


NO_INTERVAL = Interval(np.nan, np.nan, "")


class Measured(Protocol):
    """What an interval needs to know of a metric; see ``solvers.metrics.base.Metric``."""

    @property
    def lowest(self) -> float:
        """The lowest value it can have."""
        ...

    @property
    def highest(self) -> float:
        """The highest."""
        ...

    @property
    def rate(self) -> bool:
        """Whether it is a mean of zeros and ones."""
        ...

    @property
    def resampled(self) -> bool:
        """Whether resampled rows show how far it may be off."""
        ...

    def limiting(self, answers: Answers) -> NDArray[np.bool_]:
        """Return the rows that limit what is known at the end of the range."""
        ...

    def drawn(self, answers: Answers, units: Units) -> NDArray[np.float64]:
        """Return the number over the rows of every draw."""
        ...

    def pairs(self, answers: Answers) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Return how each row of two sides stands to the other side, where the number is the mean of either."""
        ...

    def hits(self, answers: Answers) -> NDArray[np.bool_]:
        """Return which rows a rate counts."""
        ...


def interval_of(metric: Measured, answers: Answers, units: Units, value: float) -> Interval:
    """Return the interval of a metric's value over all rows of the answers, whose units these are."""
    if np.isnan(value) or not units.rows or not metric.resampled:
        return NO_INTERVAL
    if metric.rate:
        return rate_interval(metric.hits(answers), np.ones(units.rows, dtype=bool), units)
    if value in (metric.lowest, metric.highest):
        limiting = np.unique(units.of_row[metric.limiting(answers)])
        return _exact(len(limiting) * (value == metric.highest), len(limiting), metric, units)
    sides = None if units.grouped else metric.pairs(answers)
    if sides is not None:
        return _of_pairs(*sides)
    return _resampled(value, metric.drawn(answers, units), units, (metric.lowest, metric.highest))


def rate_interval(hit: NDArray[np.bool_], of: NDArray[np.bool_], units: Units) -> Interval:
    """Return the interval of the share of the rows ``of`` that ``hit``, both (rows,).

    Wilson's for rows by themselves, exact where few are hit, or few missed. Of groups: the groups are resampled; where
    the rows hit, or missed, lie in fewer than 30 of them, it is exact for as many independent rows as the spread
    between groups says. Of few groups: t, or the same where the rows hit, or missed, lie in fewer than five.
    """
    hits, rows = int(np.sum(hit & of)), int(np.sum(of))
    if not rows:
        return NO_INTERVAL
    if not units.grouped:
        few = min(hits, rows - hits) < FEW_HITS
        low, high = (intervals.exact if few else intervals.wilson)(hits, rows)
        return Interval(float(low), float(high), "exact" if few else "wilson")
    sums = units.sums(np.column_stack([hit & of, of]).astype(np.float64))
    sums = sums[sums[:, 1] > 0]
    hit_in, missed_in = int(np.sum(sums[:, 0] > 0)), int(np.sum(sums[:, 0] < sums[:, 1]))
    error = _error_of_ratio(sums)
    if min(hit_in, missed_in) < (FEW_HITS if units.few else FEW_UNITS) or error < _NO_ERROR:
        effective = _effective_rows(hits / rows, error, len(sums), rows)
        low, high = intervals.exact(hits / rows * effective, effective)
        return Interval(float(low), float(high), "exact_groups")
    drawn = units.products(np.column_stack([hit & of, of]).astype(np.float64))
    with np.errstate(invalid="ignore"):
        shares = drawn[:, 0] / np.where(drawn[:, 1] > 0, drawn[:, 1], np.nan)
    return _resampled(hits / rows, shares, units, (0.0, 1.0))


def mean_interval(values: NDArray[np.float64], units: Units) -> Interval:
    """Return the interval of the mean of values of rows, (rows,), by resampling; of few units, t."""
    drawn = units.products(np.column_stack([values, np.ones(len(values))]))
    return _resampled(float(values.mean()), drawn[:, 0] / drawn[:, 1], units, (-np.inf, np.inf))


def _error_of_ratio(sums: NDArray[np.float64]) -> float:
    """Return the standard error of the share of hits, of the hits and rows of each group, (groups, 2)."""
    if len(sums) < 2:
        return 0.0
    total = sums.sum(axis=0)
    rest = total - sums
    return intervals.leave_one_out_error(rest[:, 0] / rest[:, 1])


def _effective_rows(rate: float, error: float, groups: int, rows: int) -> float:
    """Return how many independent rows would know as much (Korn and Graubard 1998); the groups if nothing varies."""
    if error < _NO_ERROR:
        return float(groups)
    return float(np.clip(rate * (1 - rate) / error**2, min(groups, rows), rows))


def _exact(hits: int, count: int, metric: Measured, units: Units) -> Interval:
    """Return the exact interval at an end of the range of a metric, scaled to that range."""
    span = metric.highest - metric.lowest
    if not count or not np.isfinite(span):
        return NO_INTERVAL
    low, high = (metric.lowest + span * float(each) for each in intervals.exact(hits, count))
    return Interval(low, high, "exact_groups" if units.grouped else "exact")


def _of_pairs(first: NDArray[np.float64], second: NDArray[np.float64]) -> Interval:
    """Return the interval of an area under the ROC curve of rows by themselves.

    The wider of two: one of them is right where the two sides are alike, the other where they are not. Where fewer
    than ``FEW_HITS`` rows of a side stand on the wrong side of any other, or on the right one, it is exact for as many
    rows as the smaller side has, which is the most that such a number can vary (Birnbaum and Klose 1957).
    """
    value, smaller = float(first.mean()), min(len(first), len(second))
    few = min(int(np.sum(side != end)) for side in (first, second) for end in (0.0, 1.0))
    if few < FEW_HITS:
        low, high = intervals.exact(value * smaller, smaller)
        return Interval(float(low), float(high), "exact")
    wilson, delong = intervals.area(value, len(first), len(second)), intervals.area_by_placements(first, second)
    return Interval(min(wilson[0], delong[0]), max(wilson[1], delong[1]), "area")


def _resampled(value: float, drawn: NDArray[np.float64], units: Units, limits: tuple[float, float]) -> Interval:
    """Return the interval of a number's draws: quantiles of a bootstrap, or t where few units were left out in turn."""
    if not units.few:
        low, high = intervals.percentile(drawn)
        how = "groups" if units.grouped else "bootstrap"
    elif units.count < 2 or np.isnan(drawn).any():
        return NO_INTERVAL
    else:
        low, high = intervals.t_bounds(value, intervals.leave_one_out_error(drawn), units.count)
        how = "t_groups" if units.grouped else "t_rows"
    if not high > low:
        return NO_INTERVAL
    return Interval(max(low, limits[0]), min(high, limits[1]), how)
