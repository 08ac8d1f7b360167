"""The problem that a fit solves: rows, class codes, weights, and the coordinates of the penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.backend import one_blas_thread
from solvers.errors import ProblemError
from solvers.rows import Rows, as_source, blocks, flat_width

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from solvers.rows import RowSource

__all__ = ["Problem", "check_strength", "encode", "not_finite", "pose"]

_BLOCK_ELEMENTS = 1 << 20
_MEAN_ROUNDING = 64 * float(np.finfo(np.float64).eps)
"""Relative error that a mean over many blocks may carry."""


@dataclass(frozen=True)
class Problem:
    """Rows to train on, in coordinates ``x = (h - mean) / scale`` in which the penalty is taken.

    ``codes`` (rows,) int64 index ``classes``. ``weights`` (rows,) have mean 1, or are None where all rows
    weigh the same; ``total_weight`` is the S of DESIGN section 5. Every row here is labelled and has a
    positive weight. ``scale`` is 1 without scaling, inf where a column is constant and so gets weight 0.
    """

    source: RowSource
    codes: NDArray[np.int64]
    classes: NDArray[Any]
    weights: NDArray[np.float64] | None
    total_weight: float
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    unlabelled: int

    @property
    def rows(self) -> int:
        """Number of rows trained on."""
        return len(self.codes)

    @property
    def width(self) -> int:
        """Number of features of one row, flattened."""
        return len(self.mean)

    def penalty(self, C: float) -> float:
        """The factor λ of ``λ/2 ‖W‖²``: 1/(C S), and for two classes that of C/2.

        scikit-learn fits two classes with one vector v, which is W = (-v/2, v/2): ``‖v‖² = 2 ‖W‖²``.
        """
        effective = C / 2 if len(self.classes) == 2 else C
        return 1.0 / (effective * self.total_weight)


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
        labels: (rows,) of any type that sorts; a NumPy masked array where rows lack a label.
        sample_weight: (rows,), finite and not negative.
        scale: take the penalty in columns of unit (weighted, population) standard deviation.

    Raises:
        ProblemError: no rows, fewer than two classes, lengths that differ, weights or activations that
            are not finite.
    """
    source = as_source(activations)
    rows = source.shape[0]
    codes, classes = encode(labels, rows)
    weights = _check_weights(sample_weight, rows)
    used = (codes >= 0) & (weights > 0)
    classes, codes_used = _present(classes, codes[used])
    if not used.all():
        source = Rows(source, np.flatnonzero(used))
    weights = weights[used]
    with one_blas_thread():
        mean, deviation = _moments(source, weights)
    alike = bool(np.all(weights == weights[0]))
    return Problem(
        source=source,
        codes=codes_used,
        classes=classes,
        weights=None if alike else weights / weights.mean(),
        total_weight=float(weights.sum()),
        mean=mean,
        scale=_scale(deviation, mean, source.dtype) if scale else np.ones_like(mean),
        unlabelled=int(np.count_nonzero(codes < 0)),
    )


def encode(labels: ArrayLike, rows: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Turn labels of any type into codes (rows,) of sorted classes, -1 where a label is masked.

    Raises:
        ProblemError: not one label per row, or labels that can not be sorted, or NaN among them.
    """
    masked = np.ma.getmaskarray(labels) if isinstance(labels, np.ma.MaskedArray) else None
    values = np.ma.getdata(labels) if masked is not None else np.asarray(labels)
    if values.ndim != 1 or len(values) != rows:
        msg = f"labels have shape {values.shape} for {rows:,} rows of activations; expected one label per row"
        raise ProblemError(msg)
    known = np.ones(rows, dtype=bool) if masked is None else ~masked
    if values.dtype.kind == "f" and np.isnan(values[known]).any():
        msg = "labels hold NaN; mask the rows that lack a label with numpy.ma.masked_invalid"
        raise ProblemError(msg)
    codes = np.full(rows, -1, dtype=np.int64)
    try:
        classes, codes[known] = np.unique(values[known], return_inverse=True)
    except TypeError as error:
        msg = f"labels can not be sorted ({error}); give labels of one type"
        raise ProblemError(msg) from error
    return codes, classes


def check_strength(C: float) -> float:
    """Return C as a float.

    Raises:
        ProblemError: C is not a positive finite number.
    """
    value = float(C)
    if not (np.isfinite(value) and value > 0):
        msg = f"C is {value:g}; expected a positive finite number (the inverse of the penalty's strength)"
        raise ProblemError(msg)
    return value


def _check_weights(sample_weight: ArrayLike | None, rows: int) -> NDArray[np.float64]:
    if sample_weight is None:
        return np.ones(rows)
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (rows,):
        msg = f"sample weights have shape {weights.shape} for {rows:,} rows; expected one weight per row"
        raise ProblemError(msg)
    bad = int(np.count_nonzero(~(np.isfinite(weights) & (weights >= 0))))
    if bad:
        msg = f"{bad:,} of {rows:,} sample weights are negative or not finite; expected weights of 0 or more"
        raise ProblemError(msg)
    if rows and not weights.any():
        msg = "all sample weights are zero, so no row is left to train on; give some rows a positive weight"
        raise ProblemError(msg)
    return weights


def _present(classes: NDArray[Any], codes: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
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


def _moments(
    source: RowSource, weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted mean and population standard deviation of each column, merged block by block (Chan et al. 1983)."""
    width = flat_width(source)
    mean, squares, total, bad = np.zeros(width), np.zeros(width), 0.0, 0
    for rows, block in blocks(source, max(1, _BLOCK_ELEMENTS // max(1, width))):
        wild = not_finite(block)
        bad += wild
        if bad:
            continue
        weight, mass = weights[rows], weights[rows].sum()
        deviations = block.astype(np.float64)
        block_mean = weight @ deviations / mass
        deviations -= block_mean
        slip = (
            weight @ deviations / mass
        )  # the rounding of that mean, which a constant column would show as spread
        block_mean += slip
        deviations -= slip
        shift = block_mean - mean
        squares += weight @ np.square(deviations) + np.square(shift) * (total * mass / (total + mass))
        total += mass
        mean += shift * (mass / total)
    if bad:
        msg = (
            f"{bad:,} of {len(weights):,} rows hold NaN or infinite activations; "
            "expected finite numbers: leave those rows out, or dump in a wider dtype"
        )
        raise ProblemError(msg)
    return mean, np.sqrt(squares / total)


def not_finite(block: NDArray[Any]) -> int:
    """Number of rows with an entry that is NaN or infinite."""
    if block.dtype.kind != "f":
        return 0
    return int(np.count_nonzero(~np.isfinite(block).all(axis=1)))


def _scale(
    deviation: NDArray[np.float64], mean: NDArray[np.float64], dtype: np.dtype[Any]
) -> NDArray[np.float64]:
    """Standard deviations, inf where a column varies by no more than the rounding of its own dtype."""
    rounding = max(np.finfo(dtype if dtype.kind == "f" else np.float64).eps, _MEAN_ROUNDING)
    return np.where(deviation > rounding * np.abs(mean), deviation, np.inf)
