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
    from solvers.backend import Backend
    from solvers.problem import Problem
    from solvers.working import Blocks, WorkingRows

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

    def work(parts: list[slice]) -> float:
        return sum(residual_block(rows.backend.xp, targets, part, z[:, part], out[:, part]) for part in parts)

    return sum(rows.backend.map(work, _parts(rows, len(z)))) / rows.rows


def residuals_along(
    rows: WorkingRows, targets: Targets, line: tuple[Any, Any, float], out: Any
) -> tuple[float, float]:
    """:func:`residuals` at the logits z + t Δ of ``line`` (z, Δ, t), and the slope of the cross-entropy by t."""
    xp = rows.backend.xp
    z, delta, step = line

    def work(parts: list[slice]) -> tuple[float, float]:
        entropy, slope = 0.0, 0.0
        for part in parts:
            moved = z[:, part] + step * delta[:, part]
            entropy += residual_block(xp, targets, part, moved, out[:, part])
            slope += float(xp.einsum("kn,kn->", out[:, part], delta[:, part]))
        return entropy, slope

    entropies, slopes = zip(*rows.backend.map(work, _parts(rows, len(z))), strict=True)
    return sum(entropies) / rows.rows, sum(slopes) / rows.rows


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

    def work(blocks: Blocks) -> None:
        for part, x in blocks:
            z[:, part] = a @ x.T

    rows.backend.map(work, rows.shares())
    return z


def gradient(rows: WorkingRows, residuals: Any) -> Any:
    """Mean over rows of residuals ⊗ x: (columns, width + 1), summed over blocks in float64."""

    def work(blocks: Blocks) -> Any:
        return sum(rows.backend.float64(residuals[:, part] @ x) for part, x in blocks)

    return rows.from_rows(sum(rows.backend.map(work, rows.shares())) / rows.rows)


def curvature(rows: WorkingRows, targets: Targets, z: Any) -> tuple[Any, Any]:
    """Means of v ⊗ x and of v ⊗ x², each (columns, width + 1), where v = s p (1 - p) at the logits z (columns, rows).

    The last column of both is the mean of v. This is all of the Hessian that :class:`solvers.lbfgs.Metric` models.
    """
    xp, float64 = rows.backend.xp, rows.backend.float64

    def work(blocks: Blocks) -> tuple[Any, Any]:
        first: Any = 0.0
        second: Any = 0.0
        for part, x in blocks:
            p, _ = softmax(xp, z[:, part].reshape(-1, targets.classes, len(x)))
            v = targets.weighted(part, p * (1 - p)).reshape(-1, len(x))
            first = first + float64(v @ x)
            second = second + float64(v @ xp.square(x))
        return first, second

    firsts, seconds = zip(*rows.backend.map(work, rows.shares()), strict=True)
    return sum(firsts) / rows.rows, sum(seconds) / rows.rows


def _parts(rows: WorkingRows, classes: int) -> list[list[slice]]:
    """Blocks of rows whose logits fit the cache, dealt to the workers."""
    return rows.backend.shares(rows.rows, max(1, rows.backend.block_elements // classes))
