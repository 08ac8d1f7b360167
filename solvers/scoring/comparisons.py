"""Two probes on the same rows: the difference of a metric, its interval, a p-value, and Holm's of a family."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.special import bdtr, ndtr, stdtr

from solvers.errors import ProblemError
from solvers.scoring import intervals
from solvers.scoring.interval_of import FEW_HITS, Interval, Measured
from solvers.scoring.units import DRAWS, Units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from solvers.scoring.answers import Answers

__all__ = ["Comparison", "alike", "compare", "holm", "refuse_other_rows", "sign_flips"]

EXACT_FLIPS = 12
"""Up to so many units every way of flipping signs is counted."""
DRAWS_PER_COMPARISON = 100
_NO_ERROR = 1e-12


class Metric(Measured, Protocol):
    """What a comparison needs to know of a metric; see ``solvers.metrics.base.Metric``."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def mean(self) -> bool:
        """Whether it is a mean over rows."""
        ...

    @property
    def higher_is_better(self) -> bool:
        """Whether the best is the highest."""
        ...

    def value(self, answers: Answers) -> float:
        """Return the number of all rows."""
        ...

    def of_rows(self, answers: Answers) -> NDArray[np.float64]:
        """Return what a mean is over."""
        ...


@dataclass(frozen=True)
class Comparison:
    """One probe against another on the same rows.

    ``difference`` is ``value`` − ``reference``, within ``interval`` (95%). ``p`` is of no difference between the two;
    ``p_family`` of none in the whole family: Holm's, or of the largest difference where the reference is the best that
    was found on the same rows, whose interval is simultaneous then. ``why`` there is no p and no interval, where there
    is none (NaN); such a comparison counts in the family all the same.
    """

    value: float
    reference: float
    difference: float
    interval: Interval
    p: float
    p_family: float
    rows: int
    groups: int | None
    why: str = ""

    def unjudged(self, why: str) -> Comparison:
        """Return this comparison without an interval and p-values, and ``why``."""
        return replace(self, interval=Interval(np.nan, np.nan, ""), p=np.nan, p_family=np.nan, why=why)


NO_VALUE = "one of the two has no value on these rows"
NO_SPREAD = "the difference is the same whichever rows are drawn, so its error is not known"
_ONE_UNIT = "the rows are of one group, which tells no error"
_NO_VALUE_WITHOUT = "without one of the few groups or rows there is no value"


def compare(
    metric: Metric, probes: Sequence[Answers], references: Sequence[Answers], same_labels: bool = True
) -> list[Comparison]:
    """Compare each probe with the reference at its place; all of these are one family.

    The rows must be the same, and their labels, unless two targets of the same rows are compared.

    Raises:
        ProblemError: two that are compared were not scored on the same rows.
    """
    for probe, reference in zip(probes, references, strict=True):
        refuse_other_rows(probe, reference, same_labels)
    one = _Family(metric, max(DRAWS, DRAWS_PER_COMPARISON * len(probes)))
    found = [one.pair(probe, reference) for probe, reference in zip(probes, references, strict=True)]
    adjusted = holm(np.array([each.p for each in found]))
    return [replace(each, p_family=float(p)) for each, p in zip(found, adjusted, strict=True)]


class _Family:
    """Comparisons of one metric, which share what is resampled and what was drawn of a probe last."""

    def __init__(self, metric: Metric, draws: int) -> None:
        self.metric, self._draws = metric, draws
        self._units: tuple[NDArray[np.int64] | None, Units] | None = None
        self._drawn: dict[int, tuple[Answers, NDArray[np.float64]]] = {}

    def pair(self, probe: Answers, reference: Answers) -> Comparison:
        """Compare two probes of the same rows."""
        metric, units = self.metric, self._units_of(probe)
        value, other = (metric.value(each) if each.finite else np.nan for each in (probe, reference))
        groups = units.groups if units.grouped else None
        same = Interval(0.0, 0.0, "same")
        found = Comparison(value, other, value - other, same, 1.0, 1.0, units.rows, groups)
        if np.isnan(value - other):
            return found.unjudged(NO_VALUE)
        if alike(probe, reference):
            return found
        if metric.mean:
            interval, p = _of_means(metric, probe, reference, units, self._draws)
        else:
            drawn = self._draws_of(probe, units) - self._draws_of(reference, units)
            interval, p = _of_draws(value - other, drawn, units)
            if not interval.how:
                return found.unjudged(_why_unknown(drawn, units))
        span = metric.highest - metric.lowest
        interval = replace(interval, low=max(interval.low, -span), high=min(interval.high, span))
        return replace(found, interval=interval, p=p)

    def _units_of(self, answers: Answers) -> Units:
        group = answers.predictions.group
        if self._units is not None and self._units[1].rows == len(answers):
            known = self._units[0]
            if known is group or (known is not None and group is not None and np.array_equal(known, group)):
                return self._units[1]
        self._units, self._drawn = (group, Units.of(answers.predictions)), {}
        return self._units[1]

    def _draws_of(self, answers: Answers, units: Units) -> NDArray[np.float64]:
        kept = self._drawn.get(id(answers))
        if kept is None:
            kept = self._drawn[id(answers)] = (answers, self.metric.drawn(answers, units))
        return kept[1]


def refuse_other_rows(first: Answers, second: Answers, same_labels: bool = True) -> None:
    """Refuse answers that are not of the same rows, groups and, if ``same_labels``, labels.

    Raises:
        ProblemError: they are not.
    """
    one, two = first.predictions, second.predictions
    if len(one) != len(two) or not np.array_equal(one.index, two.index):
        why = f"the first has {len(one):,} rows, the second {len(two):,}"
        why += "" if len(one) != len(two) else ", but not the same ones"
    elif same_labels and not _same_labels(first, second):
        why = "their labels differ"
    elif (one.group is None) != (two.group is None) or not _same_groups(first, second):
        why = "their groups differ"
    else:
        return
    msg = f"the two probes were not scored on the same rows: {why}; fit both on the same rows with the same --seed"
    raise ProblemError(msg)


def _same_labels(first: Answers, second: Answers) -> bool:
    one, two = first.predictions.classes, second.predictions.classes
    if one is two or np.array_equal(one, two):
        return bool(np.array_equal(first.truth, second.truth))
    return bool(np.array_equal(one[first.truth].astype(str), two[second.truth].astype(str)))


def _same_groups(first: Answers, second: Answers) -> bool:
    one, two = first.predictions.group, second.predictions.group
    if one is None or two is None:
        return True
    return bool(np.array_equal(np.unique(one, return_inverse=True)[1], np.unique(two, return_inverse=True)[1]))


def alike(first: Answers, second: Answers) -> bool:
    """Whether two probes say the same of every row, to the bit: a probe with itself."""
    if not np.array_equal(first.truth, second.truth):
        return False
    names = ("logits",) if first.predictions.logits is not None else ("predicted", "rank", "nats", "confidence")
    pairs = [[getattr(each.predictions, name) for each in (first, second)] for name in names]
    return all(one is two or (two is not None and np.array_equal(one, two)) for one, two in pairs)


# differences of means


def _of_means(
    metric: Metric, probe: Answers, reference: Answers, units: Units, draws: int
) -> tuple[Interval, float]:
    """Return the interval of a difference of means over rows, and its p-value by flipped signs."""
    apart = metric.of_rows(probe) - metric.of_rows(reference)
    counted = ~np.isnan(apart)
    columns = np.column_stack([np.where(counted, apart, 0.0), counted])
    sums = units.sums(columns)
    p = sign_flips(sums[:, 0], draws)
    if metric.rate and not units.grouped:
        low, high = intervals.paired_rates(int(np.sum(apart > 0)), int(np.sum(apart < 0)), units.rows)
        return Interval(low, high, "bonett_price"), p
    value = float(sums[:, 0].sum() / sums[:, 1].sum())
    drawn = units.drawn_sums(sums)
    interval, _ = _of_draws(value, drawn[:, 0] / np.where(drawn[:, 1] > 0, drawn[:, 1], np.nan), units)
    if metric.rate and int(np.sum(sums[:, 0] != 0)) < FEW_HITS:
        low, high = intervals.paired_rates(int(np.sum(sums[:, 0] > 0)), int(np.sum(sums[:, 0] < 0)), len(sums))
        interval = Interval(low, high, "bonett_price_groups")
    return interval, p


def sign_flips(differences: NDArray[np.float64], draws: int = DRAWS, seed: int = 0) -> float:
    """Return how often the sum of differences of units (units,), of random signs, is as far from 0 as it is: p.

    Of units that differ: every way of flipping up to 12; where all are of one size, which they are for a rate of single
    rows, the binomial distribution that they have, exactly (McNemar's exact test); otherwise ``draws`` ways, with the
    one that was observed among them, so that p is never 0.
    """
    differences = np.asarray(differences, dtype=np.float64)
    differences = differences[differences != 0]
    count, observed = len(differences), abs(float(differences.sum()))
    if not count:
        return 1.0
    sizes = np.abs(differences)
    as_far = observed - 1e-9 * float(sizes.sum())
    if np.ptp(sizes) <= 1e-12 * sizes.max():
        fewer = min(int(np.sum(differences > 0)), int(np.sum(differences < 0)))
        return float(min(1.0, 2 * bdtr(fewer, count, 0.5)))
    if count <= EXACT_FLIPS:
        bits = (np.arange(1 << count)[:, None] >> np.arange(count)) & 1
        return float(np.mean(np.abs((2 * bits - 1) @ differences) >= as_far))
    generator, further, block = np.random.default_rng(seed), 0, max(1, (1 << 22) // count)
    for start in range(0, draws, block):
        signs = generator.integers(0, 2, (min(block, draws - start), count), dtype=np.int8)
        further += int(np.sum(np.abs(2 * (signs @ sizes) - sizes.sum()) >= as_far))
    return (1 + further) / (1 + draws)


def _of_draws(value: float, drawn: NDArray[np.float64], units: Units) -> tuple[Interval, float]:
    """Return the interval of a difference by its draws, and the p-value of its size in their standard errors."""
    unknown = Interval(np.nan, np.nan, ""), np.nan
    if units.few:
        if units.count < 2 or np.isnan(drawn).any():
            return unknown
        error = intervals.leave_one_out_error(drawn)
        if error < _NO_ERROR:
            return unknown
        low, high = intervals.t_bounds(value, error, units.count)
        p = 2 * float(stdtr(units.count - 1, -abs(value) / error))
        return Interval(low, high, "t_groups" if units.grouped else "t_rows"), p
    low, high = intervals.percentile(drawn)
    error = float(np.nanstd(drawn)) if high > low else 0.0
    if error < _NO_ERROR:
        return unknown
    p = 2 * float(ndtr(-abs(value) / error))
    return Interval(low, high, "groups" if units.grouped else "bootstrap"), p


def _why_unknown(drawn: NDArray[np.float64], units: Units) -> str:
    """Return why ``_of_draws`` knows nothing of these draws."""
    if units.few and units.count < 2:
        return _ONE_UNIT
    return _NO_VALUE_WITHOUT if units.few and np.isnan(drawn).any() else NO_SPREAD


# families


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Holm's adjusted p-values (comparisons,): below 0.05 is a chance of 5% in the family.

    NaN stays, and counts: a comparison that cannot be judged was made, and stands last, as if its p were 1.
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")  # NaN last
    steps = np.where(np.isnan(p), 1.0, p)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return np.where(np.isnan(p), np.nan, adjusted)
