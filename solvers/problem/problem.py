"""The problem that a fit solves: rows, class codes, weights, and the coordinates of the penalty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from solvers.errors import ProblemError
from solvers.given import numbers
from solvers.labels import encode
from solvers.problem.moments import all_moments, common_range, spread
from solvers.rows import Rows, as_source, at_hand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from solvers.arrays import Array
    from solvers.rows import RowSource

__all__ = ["Problem", "check_strength", "pose", "pose_together", "read_strengths"]

_WEAKEST = 1e-300
"""Penalties lie within this and its inverse, which no loss can tell from what lies beyond."""
_NO_STRENGTH = (bool, np.bool_, complex, np.complexfloating, type(None))
"""Of what NumPy makes floats of, and what is no number of a strength."""


@dataclass(frozen=True)
class Problem:
    """Rows to train on, in coordinates ``x = (h - mean) / scale`` in which the penalty is taken.

    ``codes`` (rows,) int64 index ``classes``. ``weights`` (rows,) have mean 1, 0 where a row is not this problem's,
    or are None where all rows weigh the same; ``total_weight`` is the S of ``solvers.fit``. ``scale`` is 1 without
    scaling, inf where a column is constant and so gets weight 0. Problems posed together share ``source``, and
    ``center`` and ``divisor``, which keep products of its rows in range whatever each of them scales by.
    """

    source: RowSource
    codes: NDArray[np.int64]
    classes: Array
    weights: NDArray[np.float64] | None
    total_weight: float
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    deviation: NDArray[np.float64]
    center: NDArray[np.float64]
    divisor: NDArray[np.float64]
    unlabelled: int

    @property
    def rows(self) -> int:
        """Number of rows trained on."""
        return len(self.codes) if self.weights is None else int(np.count_nonzero(self.weights))

    @property
    def width(self) -> int:
        """Number of features of one row, flattened."""
        return len(self.mean)

    def coefficients(self, weights: Array, bias: Array, mean: Array | float = 0.0) -> NDArray[np.float64]:
        """Coefficients (classes, width + 1) in these coordinates of a probe (h - mean) W + bias for raw activations."""
        scale = np.where(np.isfinite(self.scale), self.scale, 0.0)
        return np.column_stack([weights.T * scale, bias + (self.mean - mean) @ weights])

    def penalty(self, C: float) -> float:
        """The factor λ of ``λ/2 ‖W‖²``: 1/(C S), and for two classes that of C/2; 0 where C is infinite.

        scikit-learn fits two classes with one vector v, which is W = (-v/2, v/2): ``‖v‖² = 2 ‖W‖²``.
        """
        if math.isinf(C):
            return 0.0
        strength = (C / 2 if len(self.classes) == 2 else C) * self.total_weight
        return 1.0 / min(max(strength, _WEAKEST), 1.0 / _WEAKEST)


def pose(
    activations: RowSource | ArrayLike,
    labels: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    scale: bool = False,
) -> Problem:
    """Check what a user gave and make a :class:`Problem` of it.

    Rows without a label (masked) and rows of weight 0 are left out; the former are counted.

    Args:
        activations: (rows, *features), anything :func:`solvers.rows.as_source` takes.
        labels: (rows,) of any type that sorts; masked, NaN, NaT or None where a row has none.
        sample_weight: (rows,), finite and not negative.
        scale: take the penalty in columns of unit (weighted, population) standard deviation.

    Raises:
        ProblemError: no rows, fewer than two classes, lengths that differ, weights or activations that
            are not finite.
    """
    (problem,) = pose_together(activations, [labels], [sample_weight], scale=scale)
    return problem


def pose_together(
    activations: RowSource | ArrayLike,
    labels: Sequence[ArrayLike],
    sample_weights: Sequence[ArrayLike | None],
    *,
    scale: bool = False,
    memory_bytes: int = 0,
) -> list[Problem]:
    """:func:`pose`, for several labels of the same rows; rows that none of them uses are left out of the source.

    Rows that take few of ``memory_bytes`` are read once, to be at hand.
    """
    source = as_source(activations)
    posed = [_pose_labels(*each, source.shape[0]) for each in zip(labels, sample_weights, strict=True)]
    used = np.logical_or.reduce([one.weights > 0 for one in posed])
    if not used.all():
        source = Rows(source, np.flatnonzero(used))
    source = at_hand(source, memory_bytes)
    weights = [one.weights[used] for one in posed]
    moments = all_moments(source, weights)
    center, divisor = common_range(moments, source.dtype)
    return [
        Problem(
            source=source,
            codes=np.maximum(one.codes[used], 0),
            classes=one.classes,
            weights=None if np.all(mine == mine[0]) else mine / mine.mean(),
            total_weight=float(mine.sum()),
            mean=mean,
            scale=spread(deviation, mean, source.dtype) if scale else np.ones_like(mean),
            deviation=deviation,
            center=center,
            divisor=divisor,
            unlabelled=one.unlabelled,
        )
        for one, mine, (mean, deviation) in zip(posed, weights, moments, strict=True)
    ]


@dataclass(frozen=True)
class _PosedLabels:
    """Codes (rows,), -1 where there is none, of the classes trained on; weights (rows,), 0 where a row is left out."""

    codes: NDArray[np.int64]
    classes: Array
    weights: NDArray[np.float64]
    unlabelled: int


def _pose_labels(labels: ArrayLike, sample_weight: ArrayLike | None, rows: int) -> _PosedLabels:
    codes, classes = encode(labels, rows)
    weights = np.where(codes >= 0, _check_weights(sample_weight, rows), 0.0)
    used = weights > 0
    unlabelled = int(np.count_nonzero(codes < 0))
    classes, codes_used = _present(classes, codes[used])
    codes = np.full(rows, -1, dtype=np.int64)
    codes[used] = codes_used
    return _PosedLabels(codes, classes, weights, unlabelled)


def read_strengths(C: object) -> NDArray[np.float64]:
    """Return C, or several, as floats in an array of at least one axis; whether they are positive is not looked at.

    Raises:
        ProblemError: None, truth values, complex numbers, or what is no number.
    """
    try:
        values = np.atleast_1d(np.asarray(C, dtype=object))
        if any(isinstance(value, _NO_STRENGTH) for value in values.flat):
            msg = "NumPy would make floats of them"
            raise TypeError(msg)
        return values.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        given = " ".join(repr(C).split())
        msg = f"C is {given}; expected a positive number (the inverse of the penalty's strength), or several"
        raise ProblemError(msg) from None


def check_strength(C: float) -> float:
    """Return C as a float.

    Raises:
        ProblemError: C is not a positive number.
    """
    try:
        value = math.nan if isinstance(C, _NO_STRENGTH) else float(C)
    except (TypeError, ValueError):
        value = math.nan
    if not value > 0:
        given = C if math.isnan(value) else f"{value:g}"
        msg = (
            f"C is {given}; expected a positive number (the inverse of the penalty's strength), or inf for none"
        )
        raise ProblemError(msg)
    return value


def _check_weights(sample_weight: ArrayLike | None, rows: int) -> NDArray[np.float64]:
    if sample_weight is None:
        return np.ones(rows)
    weights = numbers(sample_weight)
    if weights.shape != (rows,):
        msg = f"sample weights have shape {weights.shape} for {rows:,} rows; expected one weight per row"
        raise ProblemError(msg)
    bad = int(np.count_nonzero(~(np.isfinite(weights) & (weights >= 0))))
    if bad:
        msg = f"{bad:,} of {rows:,} sample weights are negative or not finite; expected weights of 0 or more"
        raise ProblemError(msg)
    with np.errstate(over="ignore"):
        total = weights.sum()
    if not np.isfinite(total):
        msg = f"sample weights add up to {total}, beyond what a float holds; divide them all by a constant"
        raise ProblemError(msg)
    if rows and not weights.any():
        msg = "all sample weights are zero, so no row is left to train on; give some rows a positive weight"
        raise ProblemError(msg)
    return weights


def _present(classes: Array, codes: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
    """Keep the classes that occur among the rows trained on."""
    if not len(codes):
        msg = "there are no labelled rows to train on; expected at least one row of each of two classes"
        raise ProblemError(msg)
    present, codes = np.unique(codes, return_inverse=True)
    if len(present) < 2:
        (only,) = classes[present].tolist()
        msg = f"all labels are {only!r}; a probe needs rows of at least two classes"
        raise ProblemError(msg)
    return classes[present], codes.astype(np.int64)
