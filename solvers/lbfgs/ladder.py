"""The penalties that a column goes through: from where zero is nearly optimal, in short steps, to its own."""

from __future__ import annotations

import math

__all__ = ["ladder", "rungs_from_zero"]

_RUNG = math.sqrt(10)
"""Ratio of one penalty of a ladder to the next."""
_FIRST = 0.1
"""A cold start begins at this share of the mean variance of the columns."""
_LAST = 1e-10
"""The ladder goes down to this share of where it began; a weaker penalty, or none, is the next rung."""


def ladder(start: float, end: float) -> list[float]:
    """Return penalties after ``start`` down (or up) to ``end``, in ratios of at most √10.

    An end below 1e-10 of the start comes right after that: rounding hides a penalty that weak, so rungs further down
    would differ in nothing.
    """
    if end < _LAST * start * (1 - 1e-9):
        return [*ladder(start, _LAST * start), end]
    first, last = math.log(start), math.log(end)
    rungs = max(1, math.ceil(abs(last - first) / math.log(_RUNG) - 1e-9))
    return [*(math.exp(first + (last - first) * rung / rungs) for rung in range(1, rungs)), end]


def rungs_from_zero(variance: float, penalty: float) -> list[float]:
    """Return the penalties from where coefficients of zero are nearly optimal to ``penalty``.

    ``variance`` is the mean of the columns'.
    """
    strong = _FIRST * variance
    return [penalty] if penalty >= strong else [strong, *ladder(strong, penalty)]
