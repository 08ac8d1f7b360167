"""The best intercepts of probes of two classes, on logits that were kept: no rows are read for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.lbfgs.objective import side_by_side, sigmoid_block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from solvers.arrays import Backend
    from solvers.lbfgs.objective import Targets

__all__ = ["best_shifts"]

_MOST_STEPS = 60
_LONGEST = 4.0
"""Nats that the first step may move an intercept by, each later one twice as many: the model says nothing beyond."""
_STILL = 1e-14
"""A step below this share of an intercept, or of one nat, is rounding's."""


def best_shifts(backend: Backend, logits: Sequence[Any], targets: Sequence[Targets]) -> NDArray[np.float64]:
    """Return what to add to logits (rows,) of each probe, so that no other constant makes its cross-entropy less.

    Newton's method on a convex function of one variable, kept within the bracket that the slopes seen so far make.
    """
    xp, host = backend.xp, backend.to_host
    z = xp.stack(list(logits))
    signs, weights = side_by_side(xp, targets, slice(None), z)
    shift, low, high = (np.full(len(z), value) for value in (0.0, -np.inf, np.inf))
    for count in range(_MOST_STEPS):
        moved = z + backend.float64(shift)[:, None]
        p, _ = sigmoid_block(xp, -signs * moved)
        slopes, curved = -signs * p, p * (1 - p)
        if weights is not None:
            slopes, curved = slopes * weights, curved * weights
        slope, curvature = host(slopes.sum(axis=1)), host(curved.sum(axis=1))
        low, high = np.where(slope < 0, shift, low), np.where(slope > 0, shift, high)
        with np.errstate(over="ignore"):  # without a row in doubt a step is as long as it may be
            step = -slope / np.maximum(curvature, np.finfo(np.float64).tiny)
        longest = _LONGEST * 2.0**count
        step = np.where(slope == 0, 0.0, step.clip(-longest, longest))
        tried = shift + step
        outside = (tried <= low) | (tried >= high)
        closed = np.isfinite(low) & np.isfinite(high)
        middle = (np.where(closed, low, shift) + np.where(closed, high, shift)) / 2
        tried = np.where(outside & (step != 0), middle, tried)
        still = np.abs(tried - shift) <= _STILL * np.maximum(1.0, np.abs(tried))
        shift = tried
        if still.all():
            break
    return shift
