"""The engine ``numpy``: batched L-BFGS on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from solvers.arrays import NUMPY
from solvers.lbfgs.sweep import ColumnSolver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.problem import Problem

__all__ = ["ENGINE", "NumpyEngine"]


class NumpyEngine:
    """Batched L-BFGS over NumPy arrays; works wherever the package is installed."""

    name = "numpy"

    def unavailable(self) -> str | None:
        """None: NumPy is always there."""
        return None

    def prepare(self, problems: Sequence[Problem], memory_bytes: int | None = None) -> ColumnSolver:
        """Keep the rows where they fit the memory, and stream them where they do not."""
        return ColumnSolver(problems, NUMPY, memory_bytes)


ENGINE = NumpyEngine()
