"""The Gram matrix of a layer and its eigenbasis, shared by every C, target and fold of that layer.

In the eigenbasis of ``G = 1/S Σ s_i x_i x_iᵀ`` the Hessian of every class is nearly diagonal, whatever C is: exactly at
the start, where p = 1/K everywhere, and nearly later, as the weights p(1 - p) change its diagonal far more than its
eigenvectors. docs/solving.md has the figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from solvers.working import Blocks, WorkingRows

__all__ = ["Basis", "eigenbasis"]


@dataclass(frozen=True)
class Basis:
    """Orthonormal coordinates of the columns: ``x' = x V``; the intercept stays as it is.

    ``vectors`` is V (width, width) in float64, or None for the columns themselves.
    """

    vectors: Any = None

    def inward(self, coefficients: Any) -> Any:
        """Coefficients (columns, width + 1) over x, in these coordinates: W V."""
        return _turned(coefficients, self.vectors)

    def outward(self, coefficients: Any) -> Any:
        """Coefficients (columns, width + 1) in these coordinates, over x: W' Vᵀ."""
        return _turned(coefficients, None if self.vectors is None else self.vectors.T)


def eigenbasis(rows: WorkingRows, weights: Any) -> Basis:
    """Eigenbasis of the Gram matrix of rows, weighted by ``weights`` (rows,) or None, summed over blocks in float64.

    Rounding in the Gram matrix costs iterations, never exactness: any orthonormal V is a valid choice.
    """
    xp = rows.backend.xp

    def work(blocks: Blocks) -> Any:
        gram: Any = 0.0
        for part, x in blocks:
            block = x[:, :-1] if weights is None else x[:, :-1] * xp.sqrt(weights[part])[:, None]
            gram = gram + rows.backend.float64(block.T @ block)
        return gram

    _, vectors = xp.linalg.eigh(sum(rows.backend.map(work, rows.shares())) / rows.rows)
    return Basis(vectors)


def _turned(coefficients: Any, matrix: Any) -> Any:
    if matrix is None:
        return coefficients
    turned = coefficients.copy()
    turned[..., :-1] = coefficients[..., :-1] @ matrix
    return turned
