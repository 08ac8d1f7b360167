"""Rows in the space that they span: fewer rows than columns have no more dimensions than rows.

The best weights are a sum of rows, whatever the penalty (the representer theorem): W = A X. So with ``X Xᵀ = L Lᵀ``
the rows of L, as wide as they are many, make the same problem: the same logits, the same norm of the weights. That is
exact, it is done once for every C and every target, and each reading of the rows is then of rows x rows entries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.lbfgs.working import DOUBLE_ELEMENTS, Frame, WorkingRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.arrays import Backend
    from solvers.problem.problem import Problem

__all__ = ["SpannedRows", "expected_steps", "holds", "mean_curvature", "pays", "shared_stretch"]

_STEPS = 16
"""Evaluations that a column takes where the curvature is about its penalty."""
_GROWTH = 0.15
"""With this power of their ratio, more (measured: 14, 25 and 46 where it is 2, 20 and 2,000)."""
_HARDEST = 1e6
"""A larger ratio of curvature to penalty is taken for this one."""
_SPEED = 14
"""Multiplications of a large product in float64 in the time of one of an evaluation's (measured, one column)."""
_LEAST = 1e-300
_FAINTEST = 1e12
"""Up to so many penalties in the variance of all columns together, what rounding adds to L changes no logit that
counts. One column of 1e10 among columns of order 1 leaves nothing of those in X Xᵀ."""
_CHUNK = 1024
"""Columns of the rows that are turned to float64 at a time."""
_JITTER = 1e-15
"""What is added to the diagonal of X Xᵀ, as a share of its trace: rows that add up to zero span one dimension less."""
_TRIES = 6
LEAST_ELEMENTS = 1 << 12
"""Rows of fewer entries are not turned: nothing is saved, and a weight of two acts as a row that is there twice."""


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
    """Say whether rounding leaves enough of X Xᵀ at one C."""
    variance = float(np.square(problem.deviation / problem.scale).sum())
    return variance <= _FAINTEST * problem.penalty(C)


def pays(rows: WorkingRows, steps: float) -> bool:
    """Say whether turning resident rows takes less than it saves over so many evaluations of one column."""
    count, width = rows.rows, rows.width
    if rows.kept is None or count >= width or count * width < LEAST_ELEMENTS:
        return False
    price = (count * count * width / 2 + count**3 / 3) / _SPEED
    saved = steps * 2 * count * (width - count)
    return price <= saved


def shared_stretch(problems: Sequence[Problem], rows: WorkingRows) -> Any:
    """Return the stretch (width,) of all problems, where it is one; None where they scale each their own way."""
    first = rows.frame(problems[0]).stretch
    same = all((problem.scale == problems[0].scale).all() for problem in problems[1:])
    return first if same else None


class SpannedRows(WorkingRows):
    """The rows (rows, rows) of L, where ``(X stretch) (X stretch)ᵀ = L Lᵀ``, for rows X that are resident.

    Coefficients u of them are weights ``stretch Xᵀ L⁻ᵀ u`` of the problem's columns; the intercept is that of the rows.
    """

    def __init__(self, base: WorkingRows, stretch: Any, lower: Any) -> None:
        xp = base.backend.xp
        self.backend, self.rows, self.width = base.backend, base.rows, base.rows
        self.dtype = np.dtype(np.float64) if base.rows**2 <= DOUBLE_ELEMENTS else base.dtype
        self.passes = 0
        self.bytes_read = 0
        self._base, self._stretch, self._lower = base, stretch, lower
        self.kept = xp.ascontiguousarray(lower.astype(self.dtype))

    @classmethod
    def of(cls, base: WorkingRows, stretch: Any) -> SpannedRows | None:
        """Turn resident rows; None where rounding leaves no factor."""
        gram = _gram(base.backend, base.kept, stretch)
        diagonal = base.backend.xp.arange(len(gram))
        plain, jitter = gram[diagonal, diagonal].copy(), _JITTER * float(gram[diagonal, diagonal].sum())
        for _ in range(_TRIES):
            gram[diagonal, diagonal] = plain + jitter
            factor = base.backend.factor(gram)
            if factor is not None:
                return cls(base, stretch, base.backend.xp.tril(factor))
            jitter *= 10
        return None

    @property
    def share(self) -> float:
        """How many readings of these rows take as long as one of the rows that they were turned from."""
        return self._base.width / self.width

    def frame(self, problem: Problem) -> Frame:
        """Return a frame that changes nothing: these rows are in the coordinates of every problem."""
        xp = self.backend.xp
        return Frame(xp.ones(self.width), xp.zeros(self.width))

    def entered(self, problem: Problem, coefficients: Any) -> Any:
        """Return coefficients (columns, width + 1) of the problem's columns as those of these rows."""
        xp, backend = self.backend.xp, self.backend
        moved = coefficients[:, :-1] * self._stretch
        reached = xp.empty((self.rows, len(coefficients)))
        for part in self._parts():
            reached[part] = backend.float64(self._base.kept[part]) @ moved.T
        found = xp.empty((len(coefficients), self.width + 1))
        found[:, :-1] = (self._lower.T @ backend.solve(self._lower, reached)).T
        found[:, -1] = coefficients[:, -1] + coefficients[:, :-1] @ self._base.frame(problem).offset
        return found

    def left(self, found: Sequence[tuple[Problem, Any]]) -> list[Any]:
        """Return coefficients (columns, rows + 1) as those of the problems' columns, in one reading, in float64."""
        xp, backend = self.backend.xp, self.backend
        stacked = xp.concatenate([coefficients for _, coefficients in found])
        shares = backend.solve(self._lower, self._lower @ stacked[:, :-1].T).T
        weights = xp.zeros((len(stacked), self._base.width))
        for part in self._parts():
            weights += shares[:, part] @ backend.float64(self._base.kept[part])
        weights *= self._stretch
        moved, first = [], 0
        for problem, coefficients in found:
            mine = weights[first : first + len(coefficients)]
            intercept = coefficients[:, -1] - mine @ self._base.frame(problem).offset
            moved.append(xp.concatenate([mine, intercept[:, None]], axis=1))
            first += len(coefficients)
        return moved

    def _parts(self) -> list[slice]:
        step = max(1, self.backend.block_elements // self._base.width)
        return [slice(start, min(start + step, self.rows)) for start in range(0, self.rows, step)]


def _gram(backend: Backend, x: Any, stretch: Any) -> Any:
    """(X stretch) (X stretch)ᵀ (rows, rows) in float64, some columns at a time."""

    def work(parts: list[slice]) -> Any:
        found = backend.xp.zeros((len(x), len(x)))
        for part in parts:
            columns = x[:, part] * stretch[part]  # in float64, as the stretch is
            found += columns @ columns.T
        return found

    return sum(backend.workers.map(work, backend.workers.shares(x.shape[1], _CHUNK)))
