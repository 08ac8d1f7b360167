"""The engine ``numpy``: batched L-BFGS on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from solvers.arrays import NUMPY
from solvers.goals import Bid
from solvers.lbfgs.sweep import ColumnSolver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.problem.problem import Problem

__all__ = ["ENGINE", "NumpyEngine"]


class NumpyEngine:
    """Batched L-BFGS over NumPy arrays; works wherever the package is installed."""

    name = "numpy"
    finishes = True

    def unavailable(self) -> str | None:
        """Return None: NumPy is always there."""
        return None

    def devices(self) -> Sequence[str]:
        """Return the one device it knows."""
        return ("cpu",)

    def bid(self, problem: Problem, fits: int, memory_bytes: int | None = None) -> Bid:
        """Bid as much as what the others are measured by."""
        return Bid(1.0, f"{fits:,} columns on {problem.rows * problem.width:,} entries")

    def prepare(
        self, problems: Sequence[Problem], memory_bytes: int | None = None, device: str | None = None
    ) -> ColumnSolver:
        """Keep the rows where they fit the memory, and stream them where they do not."""
        return ColumnSolver(problems, NUMPY, memory_bytes)


ENGINE = NumpyEngine()
