"""Many columns at once: every C and every problem of a layer share each reading of the rows.

A problem's columns go from strong to weak penalty, the next begun from its stronger neighbour once that is close. As
many as pay are in flight together; a finished one drops out. Solutions come out as they finish, so whoever reads them
may stop a problem's sweep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.goals import Solution
from solvers.lbfgs.column import Column, cold_start
from solvers.lbfgs.ladder import ladder
from solvers.lbfgs.metric_schedule import FitSubject
from solvers.lbfgs.objective import evaluate, targets_of
from solvers.lbfgs.sampling import Sampler
from solvers.lbfgs.working import DOUBLE_ELEMENTS, Frame, WorkingRows
from solvers.workers.threads import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from solvers.arrays import Backend
    from solvers.goals import Goal
    from solvers.problem.problem import Problem

__all__ = ["ColumnSolver"]

COLUMNS = 160
"""Coefficient columns in flight: their products then run at the speed of the cores (docs/solving.md)."""
_COPIES = 3
"""Blocks of the Hessian of one column: as they are, factored, and the factors they take the place of."""
_BLOCK_BYTES = _COPIES << 29
"""At most so much memory is for the Hessians' blocks of all columns in flight."""
BLOCK_WIDTH = 4096
"""Layers wider than this have too large blocks to factor."""


class ColumnSolver:
    """Solves problems on the same rows on one backend, for any goals; the rows are made ready once, for all of them."""

    finishes = True

    def __init__(self, problems: Sequence[Problem], backend: Backend, memory_bytes: int | None = None) -> None:
        self.backend = backend
        self._problems = problems
        with backend.here():
            self._prepare(memory_bytes)

    def _prepare(self, memory_bytes: int | None) -> None:
        problems, backend = self._problems, self.backend
        first = problems[0]
        rows, width = len(first.codes), first.width
        classes = max(len(problem.classes) for problem in problems)
        columns = 1 if classes == 2 else classes
        budget = backend.free_bytes() if memory_bytes is None else memory_bytes
        small = rows * max(width, classes) <= DOUBLE_ELEMENTS
        dtype = backend.xp.float64 if small else backend.xp.float32
        itemsize = 8 if small else 4
        block_bytes = _COPIES * columns * width * width * itemsize
        resident = rows * width * itemsize <= budget // 2
        # A quarter is for the rows that the Hessian's blocks are made of, what other rows leave for the blocks.
        spare = min(_BLOCK_BYTES, budget // 4 if resident else budget // 2)
        self._blocks = width <= BLOCK_WIDTH and block_bytes <= spare
        self._capacity = max(1, min(COLUMNS // columns, spare // block_bytes if self._blocks else COLUMNS))
        self._sample_rows = max(64, budget // 4 // (3 * itemsize * width))
        self.rows = WorkingRows(first, backend, dtype, resident=resident)
        self._exact: WorkingRows | None = self.rows if small else None
        self._unfinished: list[tuple[list[_Chain], WorkingRows]] = []
        self._sampler = Sampler(self.rows, self._sample_rows, whole=4 * 8 * width * width <= spare)

    @property
    def readings(self) -> list[WorkingRows]:
        """The rows that were read, which count their passes and bytes."""
        return [self.rows] if self._exact in (None, self.rows) else [self.rows, self._exact]

    def sweep(self, goals: Sequence[Goal]) -> Iterator[list[Solution]]:
        """Solve goals side by side; yield solutions as they finish: their estimated gap met, or rounding in the way."""
        steps = self._sweep(goals)
        while True:
            with self.backend.here():  # not while a solution is out: the caller's device is the caller's
                found = next(steps, None)
            if found is None:
                return
            yield found

    def _sweep(self, goals: Sequence[Goal]) -> Iterator[list[Solution]]:
        rows = self._rows_for(goals)
        chains = [
            _Chain(goal, self._subject(goal.problem, rows), self._problems[goal.problem]) for goal in goals
        ]
        self._unfinished.append((chains, rows))
        while True:
            columns = self._columns(chains, rows)
            if not columns:
                self._unfinished.remove((chains, rows))
                return
            with one_blas_thread():
                answers = evaluate(rows, [column.ask() for column in columns])
                for column, answer in zip(columns, answers, strict=True):
                    column.tell(answer)
            finished = [solution for chain in chains for solution in chain.landed(rows)]
            if finished:
                yield finished

    def _rows_for(self, goals: Sequence[Goal]) -> WorkingRows:
        """The rows that goals are solved on: in float64 where one of them asks for it."""
        if not any(goal.double for goal in goals):
            return self.rows
        if self._exact is None:
            self._exact = WorkingRows(self._problems[0], self.backend, self.backend.xp.float64)
        return self._exact

    def _columns(self, chains: Sequence[_Chain], rows: WorkingRows) -> list[Column]:
        """Begin the columns that there is room for; all that are in flight then."""
        room = self._capacity - sum(len(chain.flying) for chain in chains)
        for chain in chains:
            room -= chain.join(rows, room)
        return [column for chain in chains for column in chain.flying]

    def in_flight(self) -> list[Solution]:
        """Return the columns of sweeps that were left, those that came as far as one evaluation."""
        with self.backend.here():
            return [
                solution
                for chains, rows in self._unfinished
                for chain in chains
                for solution in chain.unfinished(rows)
            ]

    def _subject(self, problem: int, rows: WorkingRows) -> FitSubject:
        mine = self._problems[problem]
        return FitSubject(
            self.backend,
            targets_of(mine, self.backend, rows.dtype),
            Frame.of(mine, rows),
            self._sampler,
            10 * float(self.backend.xp.finfo(rows.dtype).eps),
            self._blocks,
            self._sample_rows,
            float(np.square(mine.deviation / mine.scale).mean()),
        )


class _Chain:
    """One goal's columns, from strong to weak penalty."""

    def __init__(self, goal: Goal, subject: FitSubject, problem: Problem) -> None:
        self.goal, self._subject, self._problem = goal, subject, problem
        self.flying: list[Column] = []
        self._joined = 0
        self._front: Column | None = None

    def join(self, rows: WorkingRows, room: int) -> int:
        """Begin the next column if there is room, one is left, and its neighbour is close; how many were begun."""
        if self.goal.stopped():
            self.flying.clear()
            return 0
        waiting = self._front is not None and not self._front.close
        if room <= 0 or waiting or self._joined >= len(self.goal.C):
            return 0
        penalty = self._subject.targets.penalty(self._problem.penalty(self.goal.C[self._joined]))
        coefficients, penalties = self._beginning(penalty)
        before = self._front
        self._front = Column(
            self._subject, self._joined, coefficients, penalties, self.goal.gap_nats, self.goal.max_evaluations
        )
        self._front.since = rows.passes
        if before is not None:
            self._front.metrics = before.metrics.handed_on()
        self.flying.append(self._front)
        self._joined += 1
        return 1

    def landed(self, rows: WorkingRows) -> list[Solution]:
        """The solutions of the columns that are over, which are in flight no more."""
        over = [column for column in self.flying if column.done]
        self.flying = [column for column in self.flying if not column.done]
        return [self._solution(column, rows) for column in over]

    def unfinished(self, rows: WorkingRows) -> list[Solution]:
        """The columns in flight, as far as they have come."""
        return [self._solution(column, rows) for column in self.flying if column.evaluations]

    def _beginning(self, penalty: float) -> tuple[Any, list[float]]:
        """Where the next column starts from, and its ladder."""
        backend = self._subject.backend
        if self._front is not None:
            return self._front.coefficients, ladder(self._front.penalties[-1], penalty)
        if self.goal.start is not None:
            return self._subject.targets.compact(backend.float64(self.goal.start)), [penalty]
        return cold_start(self._subject, penalty)

    def _solution(self, column: Column, rows: WorkingRows) -> Solution:
        coefficients = self._subject.targets.expanded(column.coefficients)
        return Solution(
            problem=self.goal.problem,
            C=self.goal.C[column.index],
            coefficients=self._subject.backend.to_host(coefficients),
            evaluations=column.evaluations,
            passes=rows.passes - column.since,
        )
