"""The objective, once, over ``xp``: softmax cross-entropy of class-major logits, and its derivatives.

    f(W, b) = 1/S Σ s_i CE(softmax(W x_i + b), y_i) + λ/2 ‖W‖²                       (DESIGN section 5)

Coefficients are class-major, (classes, width + 1): a row per class, whose last entry is the intercept, since every
block of rows ends in a column of ones. Logits and residuals are (classes, rows), so that sums over classes run
along whole cache lines. Several problems on the same rows stack their classes into (columns, ...).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from solvers.backend import Backend
    from solvers.problem import Problem
    from solvers.working import WorkingRows

__all__ = [
    "Targets",
    "curvature",
    "gradient",
    "logits",
    "residual_block",
    "residuals",
    "residuals_along",
    "softmax",
]


@dataclass(frozen=True)
class Targets:
    """Class codes (rows,) and weights (rows,) of mean 1, or None, on the device."""

    codes: Any
    weights: Any
    classes: int

    @classmethod
    def of(cls, problem: Problem, backend: Backend, dtype: Any) -> Targets:
        """The targets of a problem, weights in ``dtype``."""
        weights = None if problem.weights is None else backend.xp.asarray(problem.weights.astype(dtype))
        return cls(backend.xp.asarray(problem.codes), weights, len(problem.classes))

    def weighted(self, part: slice, values: Any) -> Any:
        """Values (..., n) of a block of rows, times their weights."""
        return values if self.weights is None else values * self.weights[part]


def softmax(xp: Any, z: Any) -> tuple[Any, Any]:
    """Probabilities of logits z (..., classes, n) and the logarithm of their normaliser (..., n)."""
    top = z.max(axis=-2)
    p = xp.exp(z - top[..., None, :])
    total = p.sum(axis=-2)
    p /= total[..., None, :]
    return p, top + xp.log(total)


def residuals(rows: WorkingRows, targets: Targets, z: Any, out: Any) -> float:
    """Fill ``out`` (classes, rows) with ``s_i (p_i - e_{y_i})``; return the mean cross-entropy (nats).

    These are the derivatives of the cross-entropy by the logits z (classes, rows) of one problem, times rows.
    """
    total = 0.0
    for part in _parts(rows, len(z)):
        total += residual_block(rows.backend.xp, targets, part, z[:, part], out[:, part])
    return total / rows.rows


def residuals_along(
    rows: WorkingRows, targets: Targets, line: tuple[Any, Any, float], out: Any
) -> tuple[float, float]:
    """:func:`residuals` at the logits z + t Δ of ``line`` (z, Δ, t), and the slope of the cross-entropy by t."""
    xp = rows.backend.xp
    z, delta, step = line
    total, slope = 0.0, 0.0
    for part in _parts(rows, len(z)):
        moved = z[:, part] + step * delta[:, part]
        total += residual_block(xp, targets, part, moved, out[:, part])
        slope += float(xp.einsum("kn,kn->", out[:, part], delta[:, part]))
    return total / rows.rows, slope / rows.rows


def residual_block(xp: Any, targets: Targets, part: slice, z: Any, out: Any) -> float:
    """Fill ``out`` with the residuals of a block of logits z (classes, n); return its summed cross-entropy."""
    codes, index = targets.codes[part], xp.arange(z.shape[1])
    p, normaliser = softmax(xp, z)
    losses = targets.weighted(part, normaliser - z[codes, index])
    p[codes, index] -= 1
    out[...] = targets.weighted(part, p)
    return float(losses.sum(dtype=xp.float64))


def logits(rows: WorkingRows, coefficients: Any) -> Any:
    """Logits (columns, rows) of coefficients (columns, width + 1), in the dtype of the rows."""
    a = rows.to_rows(coefficients)
    z = rows.backend.xp.empty((len(a), rows.rows), dtype=rows.dtype)
    for part, x in rows.blocks():
        z[:, part] = a @ x.T
    return z


def gradient(rows: WorkingRows, residuals: Any) -> Any:
    """Mean over rows of residuals ⊗ x: (columns, width + 1), summed over blocks in float64."""
    total: Any = 0.0
    for part, x in rows.blocks():
        total = total + rows.backend.float64(residuals[:, part] @ x)
    return rows.from_rows(total / rows.rows)


def curvature(rows: WorkingRows, targets: Targets, z: Any) -> tuple[Any, Any]:
    """Means of v ⊗ x and of v ⊗ x², each (columns, width + 1), where v = s p (1 - p) at the logits z (columns, rows).

    The last column of both is the mean of v. This is all of the Hessian that :class:`solvers.lbfgs.Metric` models.
    """
    xp, float64 = rows.backend.xp, rows.backend.float64
    first: Any = 0.0
    second: Any = 0.0
    for part, x in rows.blocks():
        p, _ = softmax(xp, z[:, part].reshape(-1, targets.classes, len(x)))
        v = targets.weighted(part, p * (1 - p)).reshape(-1, len(x))
        first = first + float64(v @ x)
        second = second + float64(v @ xp.square(x))
    return first / rows.rows, second / rows.rows


def _parts(rows: WorkingRows, classes: int) -> Iterator[slice]:
    """Blocks of rows whose logits fit the cache."""
    step = max(1, rows.backend.block_elements // classes)
    for start in range(0, rows.rows, step):
        yield slice(start, min(start + step, rows.rows))
