"""Many columns at once: every C and every problem of a layer share each reading of the rows.

A problem's columns go from strong to weak penalty, the next begun from its stronger neighbour once that is close. As
many as pay are in flight together; a finished one drops out. Solutions come out as they finish, so whoever reads them
may stop a problem's sweep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import EngineError
from solvers.goals import Solution
from solvers.lbfgs.column import Column, cold_start
from solvers.lbfgs.ladder import ladder
from solvers.lbfgs.metric_schedule import FitSubject
from solvers.lbfgs.objective import evaluate, targets_of
from solvers.lbfgs.sampling import IN_FLIGHT, Sampler
from solvers.lbfgs.turned import TurnedRows, cheapest_turn, expected_steps, holds, shared_stretch
from solvers.lbfgs.working import DOUBLE_ELEMENTS, LEAST_ROWS, WorkingRows
from solvers.workers.threads import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from solvers.arrays import Backend
    from solvers.goals import Goal
    from solvers.problem.problem import Problem

__all__ = ["ColumnSolver"]

COLUMNS = IN_FLIGHT
"""Coefficient columns in flight: their products then run at the speed of the cores (docs/solving.md)."""
_COPIES = 3
"""Blocks of the Hessian of one column: as they are, factored, and the factors they take the place of."""
_BLOCK_BYTES = _COPIES << 29
"""At most so much memory is for the Hessians' blocks of all columns in flight."""
_VECTORS = 40
"""Vectors of all coefficients that a column has: its pairs, where it is and was, and what they are worked out with."""
_BLOCK_SLACK = 32 << 20
"""What blocks of rows may take beside the memory that was allowed; wider rows need more, as a block has 64 at least."""
_TOGETHER = 8
"""Readings of all rows that a solution waits for others, to be certified in one pass with them: about what such a pass
takes, in float64 over rows as they are stored."""
_PATIENT = 4
"""So many times as long where nothing is to be stopped by what comes out."""
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
        self._wide = 1 if classes == 2 else classes
        self._budget = backend.free_bytes() if memory_bytes is None else memory_bytes
        needed = _least_bytes(rows, width, classes, backend)
        if memory_bytes is not None and needed > memory_bytes:
            shape = f"{classes:,} classes on {width:,} columns"
            msg = f"a probe of {shape} needs {needed:,} bytes beside its rows but may take {memory_bytes:,}; allow more"
            raise EngineError(msg)
        small = rows * max(width, classes) <= DOUBLE_ELEMENTS
        dtype = backend.xp.float64 if small else backend.xp.float32
        self._resident = rows * width * (8 if small else 4) <= min(self._budget // 2, self._budget - needed)
        self.rows = WorkingRows(first, backend, dtype, resident=self._resident)
        self._exact: WorkingRows | None = self.rows if small else None
        self._turned: TurnedRows | None = None
        self._unfinished: list[_Flight] = []
        self._rooms: dict[int, _Room] = {}

    def _room(self, rows: WorkingRows) -> _Room:
        """What the columns on rows may use; those in float64 have their curvature from the others."""
        near = self.rows if rows is self._exact else rows
        if id(near) not in self._rooms:
            self._rooms[id(near)] = _Room.of(near, self._wide, self._budget, self._resident)
        return self._rooms[id(near)]

    @property
    def readings(self) -> list[WorkingRows]:
        """The rows that were read, which count their passes and bytes."""
        found = [self.rows, self._turned, self._exact if self._exact is not self.rows else None]
        return [rows for rows in found if rows is not None]

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
        rows, sharers = self._rows_for(goals), sum(len(goal.C) for goal in goals)
        chains = [
            _Chain(goal, self._subject(goal.problem, rows, sharers), self._problems[goal.problem], rows)
            for goal in goals
        ]
        flight = _Flight(chains, rows)
        self._unfinished.append(flight)
        while True:
            columns = self._columns(chains)
            if columns:
                with one_blas_thread():
                    answers = evaluate(rows, [column.ask() for column in columns])
                    for column, answer in zip(columns, answers, strict=True):
                        column.tell(answer)
            finished = flight.landed()
            if finished:
                yield finished
            elif not columns:
                self._unfinished.remove(flight)
                return

    def _rows_for(self, goals: Sequence[Goal]) -> WorkingRows:
        """The rows that goals are solved on: in float64 where one asks for it, in fewer dimensions where that pays."""
        if any(goal.double for goal in goals):
            if self._exact is None:
                self._exact = WorkingRows(self._problems[0], self.backend, self.backend.xp.float64)
            return self._exact
        if self._turned is None:
            self._turn(goals)
        return self.rows if self._turned is None else self._turned

    def _turn(self, goals: Sequence[Goal]) -> None:
        """Turn the rows where that pays for what is to be solved, and fits what is for other things than rows."""
        if self.rows.kept is None:
            return
        asked = [(self._problems[goal.problem], C) for goal in goals for C in goal.C]
        stretch = shared_stretch(self._problems, self.rows)
        if stretch is None or not all(holds(problem, C) for problem, C in asked):
            return
        steps = self._wide * sum(expected_steps(problem, C) for problem, C in asked)
        make = cheapest_turn(self.rows, steps, self._budget // 4, two=self._wide == 1)
        if make is None:
            return
        with one_blas_thread():
            turn = make(self.backend, self.rows.kept, stretch)
        self._turned = None if turn is None else TurnedRows(self.rows, turn)

    def _columns(self, chains: Sequence[_Chain]) -> list[Column]:
        """Begin the columns that there is room for; all that are in flight then."""
        for chain in chains:
            chain.leave()  # all of them first: what they leave is room for others
        room = self._room(chains[0].rows).capacity - sum(len(chain.flying) for chain in chains)
        for chain in chains:
            room -= chain.join(room)
        return [column for chain in chains for column in chain.flying]

    def in_flight(self) -> list[Solution]:
        """Return the columns of sweeps that were left, those that came as far as one evaluation."""
        with self.backend.here():
            return [solution for flight in self._unfinished for solution in flight.unfinished()]

    def _subject(self, problem: int, rows: WorkingRows, sharers: int) -> FitSubject:
        mine, room = self._problems[problem], self._room(rows)
        return FitSubject(
            self.backend,
            targets_of(mine, self.backend, rows.dtype),
            rows.frame(mine),
            room.sampler,
            10 * float(self.backend.xp.finfo(rows.dtype).eps),
            room.blocks,
            room.sample_rows,
            float(np.square(mine.deviation / mine.scale).mean()),
            sharers,
        )


def _column_bytes(columns: int, width: int) -> int:
    return _VECTORS * 8 * columns * (width + 1)


def _least_bytes(rows: int, width: int, classes: int, backend: Backend) -> int:
    """What one column, its certificate and blocks of rows take together, however little of the rows is kept."""
    workers = backend.workers.count
    blocks = 2 * 8 * min(rows, LEAST_ROWS * workers) * width - _BLOCK_SLACK
    if classes == 2:
        return _column_bytes(1, width) + max(0, blocks)
    return _column_bytes(classes, width) + (2 * workers + 3) * 8 * classes**2 + max(0, blocks)


@dataclass(frozen=True)
class _Room:
    """What memory leaves for columns on rows: whether for whole blocks, for how many columns, for rows to sample."""

    blocks: bool
    capacity: int
    sample_rows: int
    sampler: Sampler

    @classmethod
    def of(cls, rows: WorkingRows, columns: int, budget: int, resident: bool) -> _Room:
        """The room for columns of so many rows of coefficients each."""
        width, itemsize = rows.width, rows.dtype.itemsize
        block_bytes = _COPIES * columns * width * width * itemsize
        # A quarter is for the rows that the Hessian's blocks are made of, what other rows leave for the blocks.
        spare = min(_BLOCK_BYTES, budget // 4 if resident else budget // 2)
        most = COLUMNS // columns
        # Rows that are no more than the columns can be told apart, in fewer steps than wide blocks cost: there these
        # are not to take the room of columns.
        crowded = rows.rows <= width and most * block_bytes > spare
        blocks = not crowded and width <= BLOCK_WIDTH and block_bytes <= spare
        held = budget // 4 // _column_bytes(columns, width)
        capacity = max(1, min(most, held, spare // block_bytes if blocks else COLUMNS))
        sample_rows = max(64, budget // 4 // (3 * itemsize * width))
        sampler = Sampler(rows, sample_rows, whole=4 * 8 * width * width <= spare)
        return cls(blocks, capacity, sample_rows, sampler)


class _Flight:
    """The chains of one sweep, and the columns that landed and wait for others to be certified with."""

    def __init__(self, chains: Sequence[_Chain], rows: WorkingRows) -> None:
        self._chains, self._rows = chains, rows
        self._waiting: list[tuple[_Chain, Column]] = []
        self._since = 0
        self._patient = all(chain.goal.stopped is None for chain in chains)

    def landed(self) -> list[Solution]:
        """Return what is over, once some of it waited for a few readings or nothing else is on its way."""
        over = [(chain, column) for chain in self._chains for column in chain.over()]
        if over and not self._waiting:
            self._since = self._rows.passes
        self._waiting += over
        alone = not any(chain.flying for chain in self._chains)
        wait = _TOGETHER * self._rows.share * (_PATIENT if self._patient else 1)
        if not alone and self._rows.passes - self._since < wait:
            return []
        found, self._waiting = self._waiting, []
        return self._solutions(found)

    def unfinished(self) -> list[Solution]:
        """Return what is in flight, as far as it has come, and what waits."""
        flying = [(chain, column) for chain in self._chains for column in chain.flying if column.evaluations]
        return self._solutions([*self._waiting, *flying])

    def _solutions(self, found: Sequence[tuple[_Chain, Column]]) -> list[Solution]:
        if not found:
            return []
        left = self._rows.left([(chain.problem, column.coefficients) for chain, column in found])
        return [
            chain.solution(column, coefficients)
            for (chain, column), coefficients in zip(found, left, strict=True)
        ]


class _Chain:
    """One goal's columns, from strong to weak penalty."""

    def __init__(self, goal: Goal, subject: FitSubject, problem: Problem, rows: WorkingRows) -> None:
        self.goal, self._subject, self.problem, self.rows = goal, subject, problem, rows
        self.flying: list[Column] = []
        self._joined = 0
        self._front: Column | None = None

    def leave(self) -> None:
        """Give up what is in flight once the goal wants no more."""
        if self.goal.ended:
            self.flying.clear()

    def join(self, room: int) -> int:
        """Begin the next column if there is room, one is left, and its neighbour is close; how many were begun."""
        if self.goal.ended:
            return 0
        waiting = self._front is not None and not self._front.close
        if room <= 0 or waiting or self._joined >= len(self.goal.C):
            return 0
        penalty = self._subject.targets.penalty(self.problem.penalty(self.goal.C[self._joined]))
        coefficients, penalties = self._beginning(penalty)
        before = self._front
        self._front = Column(
            self._subject, self._joined, coefficients, penalties, self.goal.gap_nats, self.goal.max_evaluations
        )
        self._front.since = self.rows.passes
        if before is not None:
            self._front.metrics = before.metrics.handed_on()
        self.flying.append(self._front)
        self._joined += 1
        return 1

    def over(self) -> list[Column]:
        """The columns that are over, which are in flight no more."""
        over = [column for column in self.flying if column.done]
        self.flying = [column for column in self.flying if not column.done]
        return over

    def solution(self, column: Column, coefficients: Any) -> Solution:
        """What a column came to; ``coefficients`` are those of the problem."""
        expanded = self._subject.targets.expanded(coefficients)
        return Solution(
            problem=self.goal.problem,
            C=self.goal.C[column.index],
            coefficients=self._subject.backend.to_host(expanded),
            evaluations=column.evaluations,
            passes=self.rows.passes - column.since,
        )

    def _beginning(self, penalty: float) -> tuple[Any, list[float]]:
        """Where the next column starts from, and its ladder."""
        backend = self._subject.backend
        if self._front is not None:
            return self._front.coefficients, ladder(self._front.penalties[-1], penalty)
        if self.goal.start is not None:
            start = self._subject.targets.compact(backend.float64(self.goal.start))
            return self.rows.entered(self.problem, start), [penalty]
        return cold_start(self._subject, penalty)
