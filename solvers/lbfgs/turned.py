"""Rows in other coordinates, kept: the same problems, cheaper to read, or with a Hessian that is nearly diagonal.

A turn is exact, it is done once for every C and every target, and it is bought where it takes less than it saves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.lbfgs.turns import along_axes, spanned_by_axes, spanned_by_factor
from solvers.lbfgs.working import DOUBLE_ELEMENTS, LEAST_ROWS, Frame, WorkingRows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from solvers.lbfgs.turns import Turn
    from solvers.lbfgs.working import Blocks
    from solvers.problem.problem import Problem

__all__ = ["TurnedRows", "cheapest_turn", "expected_steps", "holds", "mean_curvature", "shared_stretch"]

_STEPS = 16
"""Evaluations that a column takes where the curvature is about its penalty."""
_GROWTH = 0.15
"""With this power of their ratio, more (measured: 14, 25 and 46 where it is 2, 20 and 2,000)."""
_HARDEST = 1e6
"""A larger ratio of curvature to penalty is taken for this one."""
_SPEED = 14
"""Multiplications of a large product in float64 in the time of one of an evaluation's (measured, one column)."""
_EIGEN, _EIGEN_SPEED = 11, 24
"""Eigenvectors take so many times width³ multiplications, so many in the time of one of an evaluation's (measured)."""
_SPARED = 0.25
"""The share of a column's work that is spared along principal axes (measured; docs/decisions/0037)."""
_NARROW = 4
"""Rows of which there are more than a quarter of the square of their width have whole blocks of the Hessian at once."""
_STAIRS = 8
"""Blocks that each worker reads a triangle in: the more, the fewer zeros are multiplied."""
_LEAST = 1e-300
_FAINTEST = 1e12
"""Up to so many penalties in the variance of all columns together, what rounding adds to L changes no logit that
counts. One column of 1e10 among columns of order 1 leaves nothing of those in X Xᵀ."""
LEAST_ELEMENTS = 1 << 12
"""Rows of fewer entries are not turned: nothing is saved, and a weight of two acts as a row that is there twice."""
_COPIES = 6
"""Matrices in float64, as wide and as high as the turned rows are wide, that turning makes; of more rows than that, the
turned ones and their squares come on top."""
_COPIES_MORE = 3
"""And as many more for every other worker: columns, their product and the sum of those."""


def mean_curvature(variance: float, rows: int, width: int) -> float:
    """Return the curvature of a direction that rows span, on average, where every row is in doubt.

    ``variance`` is that of all columns together.
    """
    return variance / (4 * min(rows, width))


def expected_steps(problem: Problem, C: float) -> float:
    """Estimate the evaluations that a problem takes at one C, by the curvature of a direction over the penalty."""
    variance = float(np.square(problem.deviation / problem.scale).sum())
    curvature = mean_curvature(variance, problem.rows, problem.width)
    ratio = min(curvature / max(problem.penalty(C) / 2, _LEAST), _HARDEST)
    return _STEPS * max(1.0, ratio) ** _GROWTH


def holds(problem: Problem, C: float) -> bool:
    """Say whether rounding leaves enough of the turned rows at one C."""
    variance = float(np.square(problem.deviation / problem.scale).sum())
    return variance <= _FAINTEST * problem.penalty(C)


def cheapest_turn(
    rows: WorkingRows, steps: float, room: int, *, two: bool
) -> Callable[..., Turn | None] | None:
    """Return the turn of resident rows that so many evaluations of one column are cheapest with; None to leave them.

    ``room`` is for what turning makes, in bytes; ``two`` says that every problem has two classes: where they are more,
    principal axes spare too little.
    """
    count, width = rows.rows, rows.width
    fewer = min(count, width)
    squares = _COPIES + _COPIES_MORE * (rows.backend.workers.count - 1)
    bytes_made = 8 * squares * fewer**2 + (2 * rows.dtype.itemsize * count * width if count >= width else 0)
    if rows.kept is None or count * width < LEAST_ELEMENTS or bytes_made > room:
        return None
    axes = _EIGEN * fewer**3 / _EIGEN_SPEED
    costs: dict[Callable[..., Turn | None] | None, float] = {None: steps * 2 * count * width}
    if count < width:
        gram, reading = count * count * width / 2 / _SPEED, 2 * count * count
        costs[spanned_by_factor] = gram + count**3 / 3 / _SPEED + steps * reading
        if two:
            costs[spanned_by_axes] = gram + axes + (1 - _SPARED) * steps * reading
    elif two and _NARROW * count < width**2:
        made = 0.75 * count * width**2 / _SPEED  # the Gram matrix and the product, both in float32
        costs[along_axes] = made + axes + (1 - _SPARED) * steps * 2 * count * width
    return min(costs, key=lambda kind: costs[kind])


def shared_stretch(problems: Sequence[Problem], rows: WorkingRows) -> Any:
    """Return the stretch (width,) of all problems, where it is one; None where they scale each their own way."""
    first = rows.frame(problems[0]).stretch
    same = all((problem.scale == problems[0].scale).all() for problem in problems[1:])
    return first if same else None


class TurnedRows(WorkingRows):
    """Rows in the coordinates of a :class:`~solvers.lbfgs.turns.Turn`, kept; the intercept is that of the rows."""

    def __init__(self, base: WorkingRows, turn: Turn) -> None:
        xp = base.backend.xp
        self.backend, self.rows, self.width = base.backend, base.rows, turn.turned.shape[1]
        self.dtype = np.dtype(np.float64) if self.rows * self.width <= DOUBLE_ELEMENTS else base.dtype
        self.passes = 0
        self.bytes_read = 0
        self.principal = turn.principal
        self._base, self._turn = base, turn
        self.kept = xp.ascontiguousarray(turn.turned.astype(self.dtype, copy=False))
        self.squares = xp.square(self.kept) if turn.principal else None

    @property
    def share(self) -> float:
        """How many readings of these rows take as long as one of the rows that they were turned from."""
        return self._base.entries / self.entries

    def shares(self, columns: int = 1) -> list[Blocks]:
        """Every row once; of a triangle about half the entries, short rows and long ones dealt to every worker."""
        if not self._turn.lower:
            return super().shares(columns)
        self._count()
        kept, workers = self.kept, self.backend.workers
        step = max(LEAST_ROWS, min(self.block_rows(columns), self.rows // (_STAIRS * workers.count)))
        dealt = self._dealt(step, columns)
        parts, count = [part for mine in dealt for part in mine], len(dealt)
        return [((part, kept[part, : part.stop]) for part in parts[first::count]) for first in range(count)]

    @property
    def entries(self) -> int:
        """How many entries a reading takes, about."""
        return super().entries // (2 if self._turn.lower else 1)

    def frame(self, problem: Problem) -> Frame:
        """Return a frame that changes nothing: these rows are in the coordinates of every problem."""
        xp = self.backend.xp
        return Frame(xp.ones(self.width), xp.zeros(self.width), same=True)

    def entered(self, problem: Problem, coefficients: Any) -> Any:
        """Return coefficients (columns, width + 1) of the problem's columns as those of these rows."""
        weights = coefficients[:, :-1]
        found = self.backend.xp.empty((len(coefficients), self.width + 1))
        found[:, :-1] = self._turn.entered(weights)
        found[:, -1] = coefficients[:, -1] + weights @ self._base.frame(problem).offset
        return found

    def left(self, found: Sequence[tuple[Problem, Any]]) -> list[Any]:
        """Return coefficients (columns, rows + 1) as those of the problems' columns, in one reading, in float64."""
        xp = self.backend.xp
        weights = self._turn.left(xp.concatenate([coefficients[:, :-1] for _, coefficients in found]))
        moved, first = [], 0
        for problem, coefficients in found:
            mine = weights[first : first + len(coefficients)]
            intercept = coefficients[:, -1] - mine @ self._base.frame(problem).offset
            moved.append(xp.concatenate([mine, intercept[:, None]], axis=1))
            first += len(coefficients)
        return moved
