"""Probes against the best of them, found on the very rows that compare them: simultaneous intervals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from solvers.errors import ProblemError
from solvers.scoring import intervals
from solvers.scoring.comparisons import (
    NO_SPREAD,
    NO_VALUE,
    Comparison,
    Metric,
    alike,
    refuse_other_rows,
)
from solvers.scoring.interval_of import Interval
from solvers.scoring.units import Units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from solvers.scoring.answers import Answers

__all__ = ["against_the_best"]

_NO_ERROR = 1e-12
_NO_VALUE_DRAWN = "for some draws of the rows there is no value"


def against_the_best(metric: Metric, probes: Sequence[Answers], seed: int = 0) -> tuple[int, list[Comparison]]:
    """Compare every probe with the best, which is looked for on these very rows.

    The best of many is the best by luck, too. So the intervals are simultaneous over all pairs: as wide as the largest
    of their differences, in standard errors, is in 95% of the draws (max-t). The p-values are of that largest one.

    Returns:
        which probe is the best, and the comparisons, its own with itself among them.

    Raises:
        ProblemError: they were not scored on the same rows.
    """
    for probe in probes[1:]:
        refuse_other_rows(probe, probes[0])
    units = Units.of(probes[0].predictions, seed=seed)
    values = np.array([metric.value(each) if each.finite else np.nan for each in probes])
    if np.isnan(values).all():
        msg = f"no probe has a value of {metric.name} on these rows, so none is the best"
        raise ProblemError(msg)
    best = int(np.nanargmax(values if metric.higher_is_better else -values))
    unknown = np.full(len(units.weights), np.nan)
    drawn = np.column_stack([metric.drawn(each, units) if each.finite else unknown for each in probes])
    errors, widest = _widest(values, drawn, units, best)
    groups = units.groups if units.grouped else None
    found = []
    for number, value in enumerate(values.tolist()):
        other, same = values.tolist()[best], Interval(0.0, 0.0, "same")
        each = Comparison(value, other, value - other, same, 1.0, 1.0, units.rows, groups)
        if number != best and not alike(probes[number], probes[best]):
            freedom = _freedom(metric, probes[number], probes[best], units)
            each = _simultaneous(each, float(errors[number]), widest, freedom)
        found.append(each)
    return best, found


def _freedom(metric: Metric, probe: Answers, best: Answers, units: Units) -> int:
    """Return the degrees of freedom of a difference's standard error: of a mean, the units that differ tell of it."""
    if not metric.mean or units.few:
        return units.count - 1
    apart = np.nan_to_num(metric.of_rows(probe) - metric.of_rows(best))
    return max(1, int(np.count_nonzero(units.sums(apart[:, None]))) - 1)


@dataclass(frozen=True, eq=False)
class _Widest:
    """How far the largest of all differences of pairs is from its truth, in standard errors.

    ``draws`` (draws,) of a bootstrap, as if the standard errors were known; None of few units, where Bonferroni's bound
    over the ``pairs`` stands in for it.
    """

    draws: NDArray[np.float64] | None
    pairs: int

    def reach(self, freedom: int) -> float:
        """Return what 95% of the largest are within, of a standard error of these degrees of freedom."""
        if self.draws is None:
            return float(-stdtrit(freedom, (1 - intervals.LEVEL) / 2 / self.pairs))
        return float(-stdtrit(freedom, ndtr(-np.quantile(self.draws, intervals.LEVEL))))

    def p(self, t: float, freedom: int) -> tuple[float, float]:
        """Return the p-value of a difference of t standard errors, for itself and as the largest of all."""
        alone = 2 * float(stdtr(freedom, -t))
        if self.draws is None:
            return alone, min(1.0, alone * self.pairs)
        further = np.sum(self.draws >= -ndtri(alone / 2))
        return alone, float((1 + further) / (1 + len(self.draws)))


def _widest(
    values: NDArray[np.float64], drawn: NDArray[np.float64], units: Units, best: int
) -> tuple[NDArray[np.float64], _Widest]:
    """Return the standard error of each one's difference from the best (probes,), and the largest of all pairs."""
    count = len(values)
    centred, largest, errors = drawn - values, np.zeros(len(drawn)), np.zeros(count)
    for first in range(count):
        apart = centred[:, [first]] - centred
        error = np.sqrt(np.mean(apart**2, axis=0)) * (np.sqrt(units.count - 1) if units.few else 1.0)
        errors = error if first == best else errors
        useful = error > _NO_ERROR
        if useful.any():
            largest = np.fmax(largest, np.max(np.abs(apart[:, useful]) / error[useful], axis=1))
    pairs = max(1, count * (count - 1) // 2)
    return errors, _Widest(None if units.few else largest, pairs)


def _simultaneous(comparison: Comparison, error: float, widest: _Widest, freedom: int) -> Comparison:
    """Return a comparison with the best, with what the largest of all differences allows."""
    if np.isnan(comparison.difference):
        return comparison.unjudged(NO_VALUE)
    if not error > _NO_ERROR:
        return comparison.unjudged(_NO_VALUE_DRAWN if np.isnan(error) else NO_SPREAD)
    half = widest.reach(freedom) * error
    alone, family = widest.p(abs(comparison.difference) / error, freedom)
    interval = Interval(comparison.difference - half, comparison.difference + half, "max_t")
    return replace(comparison, interval=interval, p=alone, p_family=family)
