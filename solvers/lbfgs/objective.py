"""The objective, once, over ``xp``: softmax cross-entropy and its gradient, for many problems in one reading.

    f(W, b) = 1/S Σ s_i CE(softmax(W x_i + b), y_i) + λ/2 ‖W‖²

Coefficients are class-major, (classes, width + 1): a row per class, whose last entry is the intercept. Logits and
residuals are (classes, rows), so that sums over classes run along whole cache lines. A block of rows is used for the
logits and for the gradient while it is in the cache, so an evaluation reads the rows once and keeps nothing of their
number: logits of all rows are never there together.

Two classes are one row v: W = (-v/2, v/2), the logit v x + b is that of the second class, and as ‖W‖² = ‖v‖² / 2, the
penalty on v is λ/2. That is half the products, and one column is a product of its own kind (``working.ALONE``).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.lbfgs.working import ALONE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from solvers.arrays import Backend
    from solvers.lbfgs.working import Blocks, WorkingRows
    from solvers.problem.problem import Problem

__all__ = [
    "Answer",
    "Ask",
    "Targets",
    "TwoClasses",
    "both_sides",
    "evaluate",
    "groups",
    "logits",
    "padded",
    "residual_block",
    "side_by_side",
    "sigmoid_block",
    "softmax",
    "targets_of",
]

_NEGLIGIBLE = -60.0
"""Logits in float32 are not taken further below the largest: what exp makes of those multiplies 30 times as slowly."""
_LANES = 16
"""More than a few columns of a product are padded to a multiple of this: on a CPU ten take longer than sixteen."""


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

    @property
    def columns(self) -> int:
        """Rows of the coefficients: one for each class."""
        return self.classes

    def weighted(self, part: Any, values: Any) -> Any:
        """Values (..., n) of a block of rows, times their weights."""
        return values if self.weights is None else values * self.weights[part]

    def doubts(self, xp: Any, part: Any, z: Any) -> Any:
        """``s p (1 - p)`` (columns, n) of a block of logits: what a row adds to the curvature of each column."""
        p, _ = softmax(xp, z)
        return self.weighted(part, p * (1 - p))

    def expanded(self, coefficients: Any) -> Any:
        """Coefficients of every class (classes, width + 1), of mean zero over the classes, as rounding puts it off."""
        return coefficients - coefficients.mean(axis=0)

    def compact(self, coefficients: Any) -> Any:
        """The rows (columns, width + 1) that stand for coefficients of every class."""
        return coefficients - coefficients.mean(axis=0)

    def penalty(self, penalty: float) -> float:
        """The penalty on the rows of the coefficients that λ on every class is."""
        return penalty


@dataclass(frozen=True)
class TwoClasses(Targets):
    """The targets of two classes; the one row of coefficients is what the second class has over the first.

    ``signs`` (rows,), in the dtype of the work, are 1 where a row is of the second class and -1 where of the first.
    """

    signs: Any = None

    @classmethod
    def of(cls, problem: Problem, backend: Backend, dtype: Any) -> TwoClasses:
        """The targets of a problem of two classes, weights and signs in ``dtype``."""
        plain = Targets.of(problem, backend, dtype)
        signs = backend.xp.asarray((2 * problem.codes - 1).astype(dtype))
        return cls(plain.codes, plain.weights, plain.classes, signs)

    @property
    def columns(self) -> int:
        """Rows of the coefficients: one."""
        return 1

    def doubts(self, xp: Any, part: Any, z: Any) -> Any:
        """``s p (1 - p)`` (1, n) of a block of logits."""
        p, _ = sigmoid_block(xp, z)
        return self.weighted(part, p * (1 - p))

    def expanded(self, coefficients: Any) -> Any:
        """Coefficients (2, width + 1) of both classes."""
        half = 0.5 * coefficients
        half = half.repeat(2, axis=0)
        half[0] *= -1
        return half

    def compact(self, coefficients: Any) -> Any:
        """The one row (1, width + 1) that stands for coefficients of both classes."""
        return coefficients[1:] - coefficients[:1]

    def penalty(self, penalty: float) -> float:
        """Half of λ, as ‖W‖² is half of ‖v‖²."""
        return 0.5 * penalty


def targets_of(problem: Problem, backend: Backend, dtype: Any) -> Targets:
    """The targets of a problem: one row of coefficients where it has two classes, else one for each class."""
    kind = TwoClasses if len(problem.classes) == 2 else Targets
    return kind.of(problem, backend, dtype)


@dataclass(frozen=True)
class Ask:
    """Coefficients (classes, width + 1), as they act on a block, to be evaluated for one problem's targets."""

    targets: Targets
    coefficients: Any


@dataclass(frozen=True)
class Answer:
    """Mean cross-entropy (nats) and its gradient (classes, width + 1), by the coefficients that act on a block.

    ``doubt`` is its second derivative by the one intercept that two classes have, the mean of ``s p (1 - p)``.
    """

    cross_entropy: float
    gradient: Any
    doubt: float | None = None


def evaluate(rows: WorkingRows, asks: Sequence[Ask]) -> list[Answer]:
    """Cross-entropy and gradient of every ask, in one reading of the rows; sums over blocks are float64."""
    xp = rows.backend.xp
    weights, intercepts, ends = padded(xp, [ask.coefficients for ask in asks], rows.dtype)
    count = ends[-1]
    together = list(groups([ask.targets for ask in asks], ends))

    def work(blocks: Blocks) -> tuple[Any, Any]:
        sums, slopes = xp.zeros((2, len(asks))), xp.zeros((count, rows.width + 1))
        for part, x in blocks:
            z = logits(xp, x, weights, intercepts)
            for targets, mine, first, last in together:
                z[first:last], losses, doubts = _residuals(xp, targets, part, z[first:last])
                sums[0, mine] += losses
                sums[1, mine] += doubts
            slopes[:, -1] += z.sum(axis=1, dtype=xp.float64)
            reached = slopes[:, : x.shape[1]]
            if count <= ALONE:
                for column in range(count):
                    reached[column] += z[column] @ x
            else:
                reached += z @ x
        return sums, slopes

    results = rows.backend.workers.map(work, rows.shares(columns=count))
    gradient = sum(slopes for _, slopes in results) / rows.rows
    losses, doubts = (rows.backend.to_host(sum(found for found, _ in results)) / rows.rows).tolist()
    return [
        Answer(loss, gradient[first:last], doubt if last - first == 1 else None)
        for loss, doubt, (first, last) in zip(losses, doubts, pairwise(ends), strict=True)
    ]


def groups(
    targets: Sequence[Targets], ends: Sequence[int]
) -> Iterator[tuple[Sequence[Targets], slice, int, int]]:
    """Yield what is worked on together: each run of targets of two classes, and each of more by itself.

    Each with the targets, their places among all, and where their columns begin and end.
    """
    start = 0
    for index, each in enumerate(targets):
        following = targets[index + 1] if index + 1 < len(targets) else None
        if isinstance(each, TwoClasses) and isinstance(following, TwoClasses):
            continue
        yield targets[start : index + 1], slice(start, index + 1), ends[start], ends[index + 1]
        start = index + 1


def _residuals(xp: Any, targets: Sequence[Targets], part: Any, z: Any) -> tuple[Any, Any, Any]:
    """Residuals of a block of logits z (columns, n) of a group; the total cross-entropy and doubt of each target."""
    if not isinstance(targets[0], TwoClasses):
        residuals, loss = residual_block(xp, targets[0], part, z, softmax(xp, z))
        return residuals, loss, 0.0
    signs, weights = side_by_side(xp, targets, part, z)
    p, losses = sigmoid_block(xp, -signs * z)
    right = 1 - p
    if weights is not None:
        p, losses = p * weights, losses * weights
    doubts = xp.einsum("ij,ij->i", p, right)
    p *= -signs
    return p, losses.sum(axis=1, dtype=xp.float64), doubts


def side_by_side(xp: Any, targets: Sequence[Any], part: Any, z: Any) -> tuple[Any, Any]:
    """Signs and weights of a block for several targets of two classes, each as z (columns, n); None where all are 1."""
    # Not stack, which takes three times as long for many short arrays.
    signs = xp.concatenate([each.signs[part] for each in targets]).reshape(z.shape)
    if all(each.weights is None for each in targets):
        return signs, None
    ones = xp.ones(z.shape[1], dtype=z.dtype)
    return signs, xp.concatenate(
        [ones if each.weights is None else each.weights[part] for each in targets]
    ).reshape(z.shape)


def padded(xp: Any, coefficients: Sequence[Any], dtype: Any) -> tuple[Any, Any, list[int]]:
    """Coefficients stacked for products: weights (width, lanes) with columns of zeros, intercepts, ends of each."""
    ends = [0]
    for each in coefficients:
        ends.append(ends[-1] + len(each))
    width = coefficients[0].shape[1] - 1
    lanes = ends[-1] if ends[-1] <= ALONE else -(-ends[-1] // _LANES) * _LANES
    weights = xp.zeros((width, lanes), dtype=dtype)
    intercepts = xp.empty((ends[-1], 1), dtype=dtype)
    for each, first, last in zip(coefficients, ends[:-1], ends[1:], strict=True):
        weights[:, first:last] = each[:, :-1].T
        intercepts[first:last, 0] = each[:, -1]
    return weights, intercepts, ends


def logits(xp: Any, x: Any, weights: Any, intercepts: Any) -> Any:
    """Logits (columns, n) of a block x (n, width, or fewer), for what :func:`padded` gave."""
    weights = weights[: x.shape[1]]
    if len(intercepts) <= ALONE:
        # OpenBLAS multiplies what lies behind short rows of float32, too, and throws that away: the flag it may raise
        # is not of the result (numpy/numpy#13173, #24067; one product in 100,000 of finite numbers).
        with np.errstate(invalid="ignore"):
            z = xp.stack([x @ xp.ascontiguousarray(weights[:, column]) for column in range(len(intercepts))])
    else:
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


def sigmoid_block(xp: Any, z: Any) -> tuple[Any, Any]:
    """The logistic function of z, and the logarithm of ``1 + exp(z)``, without overflow."""
    return _one_side(xp, z, *_tails(xp, z))


def both_sides(xp: Any, z: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """:func:`sigmoid_block` of z and of -z, whose exponentials are the same."""
    tails = _tails(xp, z)
    return _one_side(xp, z, *tails), _one_side(xp, -z, *tails)


def _tails(xp: Any, z: Any) -> tuple[Any, Any]:
    """``exp(-|z|)``, and the logarithm of as much and 1."""
    small = -xp.abs(z)
    if small.dtype.itemsize < 8:
        small = xp.maximum(small, _NEGLIGIBLE)
    xp.exp(small, out=small)
    return small, xp.log1p(small)


def _one_side(xp: Any, z: Any, small: Any, more: Any) -> tuple[Any, Any]:
    p = xp.where(z > 0, 1, small).astype(z.dtype)
    p /= 1 + small
    return p, xp.maximum(z, 0) + more


def residual_block(xp: Any, targets: Targets, part: Any, z: Any, found: tuple[Any, Any]) -> tuple[Any, float]:
    """Residuals ``s_i (p_i - e_{y_i})`` of a block of logits z (classes, n), and its total cross-entropy.

    ``found`` is what :func:`softmax` made of z; its probabilities are overwritten.
    """
    p, normaliser = found
    codes, index = targets.codes[part], xp.arange(z.shape[1])
    losses = targets.weighted(part, normaliser - z[codes, index])
    p[codes, index] -= 1
    return targets.weighted(part, p), float(losses.sum(dtype=xp.float64))
