"""Which C is best by what was measured of each on rows to choose by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvers.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from solvers.arrays import Array

__all__ = ["METRICS", "area_under_curve", "best_strength", "measured_as"]

METRICS = ("cross_entropy", "error", "accuracy", "roc_auc")
"""What C may be chosen by."""
_LARGER = {"roc_auc"}


def measured_as(metric: str) -> str:
    """Return what a metric is kept as: the accuracy is 1 − ``error``, and chooses alike."""
    return "error" if metric == "accuracy" else metric


def best_strength(strengths: Sequence[float], values: Sequence[float], metric: str) -> int:
    """Return which C is best by a metric, ties to the smaller C; a C without a value (NaN) is not.

    Args:
        strengths: (C,), as they were given.
        values: (C,), what ``measured_as(metric)`` is for each, or a sum of it over layers.
        metric: one of ``METRICS``.

    Raises:
        ProblemError: none has a value.
    """
    found = np.asarray(values, np.float64)
    if np.isnan(found).all():
        msg = f"{metric} has no value for any C, so it cannot choose one; choose by another (select_by, --select-by)"
        raise ProblemError(msg)
    order = np.argsort(np.asarray(strengths, np.float64), kind="stable")
    cost = -found[order] if metric in _LARGER else found[order]
    return int(order[np.nanargmin(cost)])


def area_under_curve(scores: Array, positive: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve, ties counting half; NaN where a class has no row or a score is NaN."""
    count = int(positive.sum())
    others = len(positive) - count
    if not count or not others:
        return float("nan")
    if np.isnan(scores).any():
        return float("nan")
    negative = np.sort(scores[~positive])
    below = (np.searchsorted(negative, scores[positive], side) for side in ("left", "right"))
    return float(sum(int(found.sum()) for found in below) / (2 * count * others))
