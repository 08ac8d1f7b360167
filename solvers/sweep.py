"""Many C at once: L-BFGS columns that share every pass over the rows.

Columns go from strong to weak penalty. A few are in flight together; a finished one drops out and the next joins,
started from its stronger neighbour. Solutions come out as they finish, so whoever reads them may stop the sweep.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from solvers import lbfgs, objective
from solvers.backend import one_blas_thread
from solvers.engines.base import Solution
from solvers.lbfgs import Metric, Products, State
from solvers.search import Trial, step_length
from solvers.working import ResidentRows, StreamedRows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from solvers.backend import Backend
    from solvers.engines.base import Goal
    from solvers.problem import Problem
    from solvers.working import WorkingRows

__all__ = ["ColumnSolver", "sweep"]

_COLUMNS = 40
"""Coefficient columns in flight: on two cores 40 cost half as much again as 10 (docs/solving.md)."""
_REFRESH = 30
"""Steps between refreshes of logits and curvature."""
_DRIFT = 0.5
"""A cached gradient this far (relative) from the one made anew is rounding, not information."""


@dataclass(frozen=True)
class _Column:
    """One C in flight. ``age`` counts steps since everything was made anew; ``done`` says it goes no further."""

    index: int
    state: State
    since: int
    age: int = _REFRESH
    done: bool = False


class ColumnSolver:
    """Solves one problem on one backend, for any goal: the rows are made resident once and shared by all."""

    finishes = True

    def __init__(self, problem: Problem, backend: Backend) -> None:
        self.backend = backend
        self._problem = problem
        self._resident = ResidentRows(problem, backend)
        self._streamed = StreamedRows(problem, backend, self._resident.basis)

    @property
    def passes(self) -> int:
        """Readings of all rows so far."""
        return self._resident.passes + self._streamed.passes

    def sweep(self, goal: Goal) -> Iterator[Solution]:
        """Solve a goal on the resident rows, or on the rows as they are stored where float32 is not enough."""
        enough = not goal.double or self._resident.dtype == self.backend.xp.float64
        return sweep(self._resident if enough else self._streamed, self._resident, self._problem, goal)


def sweep(rows: WorkingRows, resident: ResidentRows, problem: Problem, goal: Goal) -> Iterator[Solution]:
    """Solve every C of a goal; yield each :class:`Solution` when its estimated gap is met or rounding stops it.

    Args:
        rows: what products are made with.
        resident: rows in the same basis, whose squares give the curvature.
        problem: targets and penalty.
        goal: which C, and how far.
    """
    run = _Sweep(rows, resident, problem, goal)
    flying: list[_Column] = []
    reached: dict[int, Any] = {-1: run.start()}
    joined = 0
    while flying or joined < len(goal.C):
        with one_blas_thread():
            flying = run.stepped(flying)
            reached |= {column.index: column.state.coefficients for column in flying}
            while joined < len(goal.C) and len(flying) < run.capacity:
                reached[joined] = reached[joined - 1]
                flying.append(run.join(joined, reached[joined]))
                joined += 1
            flying = [run.settled(column) for column in run.refreshed(flying)]
            finished = [run.solution(column) for column in flying if column.done]
            flying = [column for column in flying if not column.done]
        yield from finished


class _Sweep:
    """The steps of a sweep, each for all its columns at once; keeps nothing of its own between them."""

    def __init__(self, rows: WorkingRows, resident: ResidentRows, problem: Problem, goal: Goal) -> None:
        self.rows, self.resident, self.problem, self.goal = rows, resident, problem, goal
        self.backend = rows.backend
        self.classes = len(problem.classes)
        self.capacity = max(1, _COLUMNS // self.classes)
        self.targets = objective.Targets.of(problem, rows.backend, rows.dtype)
        self.rounding = 10 * float(self.backend.xp.finfo(rows.dtype).eps)

    def start(self) -> Any:
        """Coefficients of the first column, in working coordinates, of sum zero over classes like every step."""
        shape = (self.classes, self.problem.width + 1)
        start = self.goal.start
        coefficients = self.backend.xp.zeros(shape) if start is None else self.backend.float64(start)
        return self.resident.basis.inward(coefficients - coefficients.mean(axis=0))

    def join(self, index: int, coefficients: Any) -> _Column:
        """A new column, started from its stronger neighbour."""
        state = lbfgs.init(self.backend, coefficients, self.problem.penalty(self.goal.C[index]))
        return _Column(index, state, since=self.rows.passes)

    def refreshed(self, columns: list[_Column]) -> list[_Column]:
        """The columns, with those that are due made anew: logits, gradient, curvature."""
        due = [column for column in columns if column.age >= _REFRESH]
        if not due:
            return columns
        z = objective.logits(self.rows, self._stack([column.state.coefficients for column in due]))
        residuals = self.backend.xp.empty_like(z)
        losses = [
            objective.residuals(self.rows, self.targets, mine, out)
            + lbfgs.penalty_value(self.backend, column.state)
            for column, mine, out in zip(due, self._split(z), self._split(residuals), strict=True)
        ]
        gradients = self._split(objective.gradient(self.rows, residuals))
        first, second = map(self._split, objective.curvature(self.resident, self.targets, z))
        products = map(Products, self._split(z), losses, gradients)
        renewed = {
            c.index: self._renewed(c, *made) for c, *made in zip(due, products, first, second, strict=True)
        }
        return [renewed.get(column.index, column) for column in columns]

    def settled(self, column: _Column) -> _Column:
        """The column, marked done where its estimated gap is met or its evaluations are spent."""
        met = lbfgs.gap_estimate(self.backend, column.state) <= self.goal.gap_nats
        return replace(column, done=column.done or met or column.state.evaluations >= self.goal.max_evaluations)

    def stepped(self, columns: list[_Column]) -> list[_Column]:
        """The columns, each a step further along its own direction."""
        if not columns:
            return columns
        directions = [lbfgs.direction(self.backend, column.state) for column in columns]
        delta = objective.logits(self.rows, self._stack(directions))
        residuals = self.backend.xp.zeros_like(delta)
        trials = [
            self._search(column.state, *line)
            for column, *line in zip(
                columns, directions, self._split(delta), self._split(residuals), strict=True
            )
        ]
        gradients = self._split(objective.gradient(self.rows, residuals))
        made = zip(columns, trials, directions, self._split(delta), gradients, strict=True)
        return [self._moved(*each) for each in made]

    def solution(self, column: _Column) -> Solution:
        """The column's coefficients, in scaled coordinates."""
        coefficients = self.resident.basis.outward(column.state.coefficients)
        return Solution(
            C=self.goal.C[column.index],
            coefficients=self.backend.to_host(
                coefficients - coefficients.mean(axis=0)
            ),  # rounding put it off zero
            evaluations=column.state.evaluations,
            passes=self.rows.passes - column.since,
        )

    def _search(self, state: State, along: Any, delta: Any, residuals: Any) -> Trial | None:
        """How far to go along a direction; ``residuals`` receives those of the last trial."""
        inner = self.backend.inner
        pull, stretch = inner(state.penalty * state.coefficients, along), inner(state.penalty * along, along)
        value = lbfgs.penalty_value(self.backend, state)

        def evaluate(step: float) -> Trial:
            line = (state.logits, delta, step)
            entropy, slope = objective.residuals_along(self.rows, self.targets, line, residuals)
            loss = entropy + value + step * pull + 0.5 * step * step * stretch
            return Trial(step, loss, slope + pull + step * stretch)

        start = Trial(0.0, state.loss, inner(state.gradient, along))
        return step_length(evaluate, start, self.rounding) if start.slope < 0 else None

    def _moved(self, column: _Column, trial: Trial | None, along: Any, delta: Any, gradient: Any) -> _Column:
        state = column.state
        if trial is None:
            # Without pairs and with everything made anew the direction is a plain descent: failing there is final.
            return replace(column, state=replace(state, pairs=()), age=_REFRESH, done=not state.pairs)
        products = Products(state.logits + trial.step * delta, trial.loss, gradient)
        moved = lbfgs.advance(self.backend, state, trial.step * along, products)
        return replace(column, state=moved, age=column.age + 1)

    def _renewed(self, column: _Column, products: Products, first: Any, second: Any) -> _Column:
        metric = Metric.of(first, second, column.state.penalty)
        state = lbfgs.refresh(column.state, products, metric)
        return replace(column, state=state, age=0, done=column.done or self._drifted(column.state, state))

    def _drifted(self, cached: State, anew: State) -> bool:
        """Whether the gradient carried along has lost to rounding what the one made anew still holds."""
        if cached.gradient is None:
            return False
        drift, inner = anew.gradient - cached.gradient, self.backend.inner
        return inner(drift, drift) > _DRIFT**2 * inner(anew.gradient, anew.gradient)

    def _stack(self, arrays: list[Any]) -> Any:
        return arrays[0] if len(arrays) == 1 else self.backend.xp.concatenate(arrays)

    def _split(self, stacked: Any) -> list[Any]:
        return [stacked[first : first + self.classes] for first in range(0, len(stacked), self.classes)]
