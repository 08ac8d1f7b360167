"""What a probe's outputs say of each row, over NumPy or CuPy: the likeliest class, and what the truth costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["RowOutputs", "fit_temperature"]

_LEAST = float(np.finfo(np.float32).tiny)
_BETAS = (1e-2, 1e2)
"""Between these 1 / T is looked for: rows that a probe tells apart without an error have no best one."""


@dataclass(frozen=True)
class RowOutputs:
    """A block of rows: all arrays of the module that computed the outputs.

    Args:
        shifted: (rows, outputs) float64, logits minus the largest of the row, which so is 0.
        predicted: (rows,), the likeliest class, the lower one in a tie.
        total: (rows,), the logarithm of the sum of ``exp(shifted)``.
        own: (rows,), ``shifted`` of the truth; of output 0 where ``seen`` is false.
        seen: (rows,) bool, whether the truth is one of the outputs.
    """

    shifted: Any
    predicted: Any
    total: Any
    own: Any
    seen: Any
    xp: Any

    @classmethod
    def of(cls, logits: Any, truth: Any, xp: Any = np) -> RowOutputs:
        """Look at logits (rows, outputs), which are overwritten, beside the truth (rows,), negative where unseen."""
        rows = xp.arange(len(logits))
        with np.errstate(
            invalid="ignore", over="ignore", under="ignore"
        ):  # rows that are not finite are counted
            predicted = logits.argmax(axis=1)
            logits -= logits[rows, predicted][:, None]
            total = xp.log(xp.exp(logits).sum(axis=1))
        seen = truth >= 0
        own = logits[rows, xp.where(seen, truth, 0)]
        return cls(logits, predicted, total, own, seen, xp)

    @property
    def nats(self) -> Any:
        """−log of the probability of the truth (rows,); infinite where it is unseen."""
        return self.xp.where(self.seen, self.total - self.own, np.inf)

    @property
    def rank(self) -> Any:
        """How many classes are likelier than the truth (rows,); all of them where it is unseen."""
        likelier = (self.shifted > self.own[:, None]).sum(axis=1)
        return self.xp.where(self.seen, likelier, self.shifted.shape[1])

    @property
    def confidence(self) -> Any:
        """The probability of the likeliest class (rows,)."""
        return self.xp.exp(-self.total)

    def kept_logits(self) -> Any:
        """Return the logits in float32, in which the likeliest class is the same.

        Rounding to float32 would make a tie of what is less likely by very little: it stays below 0.
        """
        below = self.xp.minimum(self.shifted, -_LEAST)
        return self.xp.where(self.shifted < 0, below, 0.0).astype(np.float32)


def fit_temperature(logits: Any, truth: Any) -> float | None:
    """Return the T that rows are likeliest by, under softmax(logits / T), between 0.01 and 100.

    The mean of −log p is convex in 1 / T, whose Newton steps are kept within where the slope changes sign.

    Args:
        logits: (rows, outputs), up to a constant a row.
        truth: (rows,) the output that is right, negative where none is: those rows say nothing.

    Returns:
        None where no row says anything.
    """
    seen = truth >= 0
    if not np.any(seen):
        return None
    z = np.array(logits if np.all(seen) else logits[seen], np.float64)
    z -= z.max(axis=1, keepdims=True)  # so that what underflows leaves the slope its sign
    own = z[np.arange(len(z)), truth[seen]]
    low, high = _BETAS
    beta = 1.0
    for _ in range(60):
        slope, curvature = _slope(z, own, beta)
        low, high = (beta, high) if slope <= 0 else (low, beta)
        step = beta - slope / curvature if curvature > 0 else np.nan
        if low == _BETAS[0]:  # in a tail Newton's steps are short: until both ends are known, at least twofold
            step = min(step, beta / 2)
        elif high == _BETAS[1]:
            step = max(step, 2 * beta)
        following = step if low < step < high else float(np.sqrt(low * high))
        if abs(following - beta) <= 1e-9 * beta:
            break
        beta = following
    return 1 / beta


def _slope(z: Any, own: Any, beta: float) -> tuple[float, float]:
    """The first and second derivative by beta of the mean of log Σ exp(beta z) − beta z_truth; the largest z is 0."""
    p = np.exp(beta * z)
    p /= p.sum(axis=1, keepdims=True)
    mean = np.einsum("ij,ij->i", p, z)
    square = np.einsum("ij,ij,ij->i", p, z, z)
    return float(np.mean(mean - own)), float(np.mean(np.maximum(square - mean * mean, 0)))
