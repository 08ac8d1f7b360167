"""The objective, once, over ``xp``: softmax cross-entropy and its gradient, for many problems in one reading.

    f(W, b) = 1/S Σ s_i CE(softmax(W x_i + b), y_i) + λ/2 ‖W‖²

Coefficients are class-major, (classes, width + 1): a row per class, whose last entry is the intercept. Logits and
residuals are (classes, rows), so that sums over classes run along whole cache lines. A block of rows is used for the
logits and for the gradient while it is in the cache, so an evaluation reads the rows once and keeps nothing of their
number: logits of all rows are never there together.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.arrays import Backend
    from solvers.lbfgs.working import Blocks, WorkingRows
    from solvers.problem.problem import Problem

__all__ = ["Answer", "Ask", "Targets", "evaluate", "logits", "padded", "residual_block", "softmax"]

_NEGLIGIBLE = -60.0
"""Logits in float32 are not taken further below the largest: what exp makes of those multiplies 30 times as slowly."""
_LANES, _FEW = 16, 2
"""More than a few columns of a product are padded to a multiple of this: on a CPU ten take longer than sixteen, and
three longer than four times one."""


@dataclass(frozen=True)
class Targets:
    """Class codes (rows,) and weights (rows,) of mean 1, or None where all are 1, on the device."""

    codes: Any
    weights: Any
    classes: int

    @classmethod
    def of(cls, problem: Problem, backend: Backend, dtype: Any) -> Targets:
        """The targets of a problem, weights in ``dtype``."""
        weights = None if problem.weights is None else backend.xp.asarray(problem.weights.astype(dtype))
        return cls(backend.xp.asarray(problem.codes), weights, len(problem.classes))

    def weighted(self, part: Any, values: Any) -> Any:
        """Values (..., n) of a block of rows, times their weights."""
        return values if self.weights is None else values * self.weights[part]


@dataclass(frozen=True)
class Ask:
    """Coefficients (classes, width + 1), as they act on a block, to be evaluated for one problem's targets."""

    targets: Targets
    coefficients: Any


@dataclass(frozen=True)
class Answer:
    """Mean cross-entropy (nats) and its gradient (classes, width + 1), by the coefficients that act on a block."""

    cross_entropy: float
    gradient: Any


def evaluate(rows: WorkingRows, asks: Sequence[Ask]) -> list[Answer]:
    """Cross-entropy and gradient of every ask, in one reading of the rows; sums over blocks are float64."""
    xp, float64 = rows.backend.xp, rows.backend.float64
    weights, intercepts, ends = padded(xp, [ask.coefficients for ask in asks], rows.dtype)

    def work(blocks: Blocks) -> tuple[list[float], Any, Any]:
        losses = [0.0] * len(asks)
        slopes, shifts, lanes = 0.0, xp.zeros(ends[-1]), None
        for part, x in blocks:
            z = logits(xp, x, weights, intercepts)
            if lanes is None or len(lanes) != len(x):
                lanes = xp.zeros((len(x), weights.shape[1]), dtype=rows.dtype)
            for index, ask in enumerate(asks):
                mine = z[ends[index] : ends[index + 1]]
                mine[...], loss = residual_block(xp, ask.targets, part, mine, softmax(xp, mine))
                losses[index] += loss
            shifts += z.sum(axis=1, dtype=xp.float64)
            lanes[:, : ends[-1]] = z.T
            slopes = slopes + float64(lanes.T @ x)
        return losses, slopes, shifts

    results = rows.backend.workers.map(work, rows.shares(columns=ends[-1]))
    gradient = xp.empty((ends[-1], rows.width + 1))
    gradient[:, :-1] = sum(slopes for _, slopes, _ in results)[: ends[-1]]
    gradient[:, -1] = sum(shifts for _, _, shifts in results)
    gradient /= rows.rows
    return [
        Answer(sum(losses[index] for losses, _, _ in results) / rows.rows, gradient[first:last])
        for index, (first, last) in enumerate(pairwise(ends))
    ]


def padded(xp: Any, coefficients: Sequence[Any], dtype: Any) -> tuple[Any, Any, list[int]]:
    """Coefficients stacked for products: weights (width, lanes) with columns of zeros, intercepts, ends of each."""
    ends = [0]
    for each in coefficients:
        ends.append(ends[-1] + len(each))
    width = coefficients[0].shape[1] - 1
    lanes = ends[-1] if ends[-1] <= _FEW else -(-ends[-1] // _LANES) * _LANES
    weights = xp.zeros((width, lanes), dtype=dtype)
    intercepts = xp.empty((ends[-1], 1), dtype=dtype)
    for each, first, last in zip(coefficients, ends[:-1], ends[1:], strict=True):
        weights[:, first:last] = each[:, :-1].T
        intercepts[first:last, 0] = each[:, -1]
    return weights, intercepts, ends


def logits(xp: Any, x: Any, weights: Any, intercepts: Any) -> Any:
    """Logits (columns, n) of a block x (n, width), for what :func:`padded` gave."""
    z = xp.ascontiguousarray((x @ weights)[:, : len(intercepts)].T)
    z += intercepts
    return z


def softmax(xp: Any, z: Any) -> tuple[Any, Any]:
    """Probabilities of logits z (..., classes, n) and the logarithm of their normaliser (..., n)."""
    top = z.max(axis=-2)
    p = z - top[..., None, :]
    if p.dtype.itemsize < 8:
        p = xp.maximum(p, _NEGLIGIBLE)
    xp.exp(p, out=p)
    total = p.sum(axis=-2)
    p /= total[..., None, :]
    return p, top + xp.log(total)


def residual_block(xp: Any, targets: Targets, part: Any, z: Any, found: tuple[Any, Any]) -> tuple[Any, float]:
    """Residuals ``s_i (p_i - e_{y_i})`` of a block of logits z (classes, n), and its total cross-entropy.

    ``found`` is what :func:`softmax` made of z; its probabilities are overwritten.
    """
    p, normaliser = found
    codes, index = targets.codes[part], xp.arange(z.shape[1])
    losses = targets.weighted(part, normaliser - z[codes, index])
    p[codes, index] -= 1
    return targets.weighted(part, p), float(losses.sum(dtype=xp.float64))
