"""One column: one problem at one C, solved along a ladder of penalties from wherever it starts.

Far from the optimum a model of the Hessian misleads: rows that are certain at the iterate have no curvature there, and
much of it a step away. Near it the model is nearly exact. So a column goes down a ladder of penalties, each rung a few
steps from the last, and is always near (docs/decisions/0006). Written as a generator that yields coefficients and is
sent the evaluation there, so that any number of columns share one reading of the rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from solvers.lbfgs import direction
from solvers.lbfgs.metric import NO_METRIC, Curvature, measure
from solvers.lbfgs.objective import Ask
from solvers.lbfgs.search import StepTrial, step_length

if TYPE_CHECKING:
    from collections.abc import Generator

    from solvers.arrays import Backend
    from solvers.lbfgs.direction import State
    from solvers.lbfgs.metric import Metric
    from solvers.lbfgs.objective import Answer, Targets
    from solvers.lbfgs.sampling import Sampler
    from solvers.lbfgs.working import Frame

__all__ = ["Column", "FitSubject", "cold_start", "ladder"]

_RUNG = math.sqrt(10)
"""Ratio of one penalty of a ladder to the next."""
_FIRST = 0.1
"""A cold start begins at this share of the mean variance of the columns."""
_LAST = 1e-10
"""The ladder goes down to this share of where it began; a weaker penalty, or none, is the next rung."""
_RUNG_GAP = 0.1
"""A rung is left once its estimated gap is this share of the loss."""
_AGE = 16
"""Steps after which a metric is made anew, or a better one."""
_LEVELS = ((8, False), (16, True), (64, True))
"""What metrics are made of, from cheap to good: rows per column of the layer, and whether whole blocks are made."""
_BLOCK_SPEED = 14
"""A block of b rows costs as much as b · width / (14 · rows) evaluations: large products run faster than tall ones."""
_CHEAP = 5.0
"""A column begins with the best metric that costs no more evaluations than this: on narrow layers the best of all."""
_LONGER = 1.5
"""A step is first tried at this many times the last one's length, but no more than whole."""
_CUT = 0.2
"""A column that is on its way straight to its goal goes back and takes the ladder after a step shorter than this."""
_PATIENCE = 25
"""Steps without a better estimate of the gap after which rounding is taken to have stopped a column."""


@dataclass(frozen=True)
class FitSubject:
    """One problem as a column sees it, and what it may use.

    ``blocks`` says whether whole blocks of the Hessian fit the memory; ``sample_rows`` bounds the rows of a metric;
    ``variance`` is the mean of the columns', in the problem's own coordinates.
    """

    backend: Backend
    targets: Targets
    frame: Frame
    sampler: Sampler
    rounding: float
    blocks: bool
    sample_rows: int
    variance: float

    def level(self, number: int) -> tuple[int, bool]:
        """Rows to sample, and whether to make blocks, at a level."""
        per_column, blocks = _LEVELS[number]
        rows = min(per_column * len(self.frame.stretch), self.sample_rows, len(self.targets.codes))
        return rows, blocks and self.blocks

    def price(self, number: int) -> float:
        """What a metric of a level costs, in evaluations of its column."""
        rows, blocks = self.level(number)
        classes = 1 if blocks else self.targets.classes
        return rows * len(self.frame.stretch) / (_BLOCK_SPEED * classes * len(self.targets.codes))


def ladder(start: float, end: float) -> list[float]:
    """Penalties after ``start`` down (or up) to ``end``, in ratios of at most √10; an end below 1e-10 comes after that.

    Rounding hides a penalty that weak, so rungs further down would differ in nothing.
    """
    if end < _LAST * start * (1 - 1e-9):
        return [*ladder(start, _LAST * start), end]
    first, last = math.log(start), math.log(end)
    rungs = max(1, math.ceil(abs(last - first) / math.log(_RUNG) - 1e-9))
    return [*(math.exp(first + (last - first) * rung / rungs) for rung in range(1, rungs)), end]


def cold_start(subject: FitSubject, penalty: float) -> tuple[Any, list[float]]:
    """Coefficients of zero, and the ladder from where they are nearly optimal to a penalty."""
    coefficients = subject.backend.xp.zeros((subject.targets.classes, len(subject.frame.stretch) + 1))
    strong = _FIRST * subject.variance
    return coefficients, [penalty] if penalty >= strong else [strong, *ladder(strong, penalty)]


@dataclass
class Column:
    """A column in flight. ``close`` says that it is near enough for the next C to start from; ``done`` that it is over.

    ``since`` is the count of readings when it was begun; ``level`` that of its metric, ``spent`` the steps taken with
    metrics of that level, and ``curvature`` what it is made of: a neighbour's will do to begin with.
    """

    subject: FitSubject
    index: int
    coefficients: Any
    penalties: list[float]
    gap_nats: float
    max_evaluations: int
    since: int = 0
    close: bool = False
    done: bool = False
    evaluations: int = 0
    gap_estimate: float = math.inf
    _steps: Generator[Any, Answer, None] | None = field(default=None, repr=False)
    level: int = 0
    spent: int = 0
    curvature: Curvature | None = field(default=None, repr=False)
    _age: int = 0
    _length: float = 1.0

    def ask(self) -> Ask:
        """What the column wants to have evaluated next."""
        if self._steps is None:
            self._steps = self._run()
            self._wanted = next(self._steps)
        return Ask(self.subject.targets, self.subject.frame.to_rows(self._wanted))

    def tell(self, answer: Answer) -> None:
        """Take the evaluation that was asked for, and think about the next."""
        self.evaluations += 1
        try:
            self._wanted = self._steps.send(answer)  # type: ignore[union-attr]
        except StopIteration:
            self.close = self.done = True

    def _run(self) -> Generator[Any, Answer, None]:
        answer = yield self.coefficients
        start = self._state(self.penalties[0], self.coefficients, answer)
        if self._misled(start) and self.evaluations < self.max_evaluations:
            self.coefficients, self.penalties = cold_start(self.subject, self.penalties[-1])
            answer = yield self.coefficients
            start = self._state(self.penalties[0], self.coefficients, answer)
        goal = self.penalties[-1]
        if len(self.penalties) > 1:
            yield from self._descend(self._moved_to(goal, start), last=True, bold=True)
            if self.close or self.evaluations >= self.max_evaluations:
                return
            self.level, self.spent, self.curvature, self._age, self._length = 0, 0, None, 0, 1.0
        state = start
        for penalty in self.penalties:
            state = self._moved_to(penalty, state)
            state = yield from self._descend(state, last=penalty == goal)
            if self.evaluations >= self.max_evaluations:
                return

    def _misled(self, state: State) -> bool:
        """Whether a start is worse than none: of one that is sure and wrong no row has any curvature left."""
        return not state.loss <= math.log(self.subject.targets.classes) * (1 + self.subject.rounding)

    def _state(self, penalty: float, coefficients: Any, answer: Answer) -> State:
        gradient = self.subject.frame.from_rows(answer.gradient)
        return direction.penalised(self.subject.backend, penalty, coefficients, answer.cross_entropy, gradient)

    def _moved_to(self, penalty: float, state: State) -> State:
        """The state under another penalty; the pairs belong to the old one."""
        weights, gradient = state.coefficients[:, :-1], state.gradient.copy()
        gradient[:, :-1] += (penalty - state.penalty) * weights
        loss = state.loss + 0.5 * (penalty - state.penalty) * self.subject.backend.inner(weights, weights)
        return replace(
            state, penalty=penalty, loss=loss, gradient=gradient, metric=self._metric(penalty), pairs=()
        )

    def _metric(self, penalty: float) -> Metric:
        if self.curvature is None:
            return NO_METRIC
        return self.curvature.under(self.subject.backend, penalty)

    def _descend(self, state: State, *, last: bool, bold: bool = False) -> Generator[Any, Answer, State]:
        """Steps at one penalty, until its goal is met or rounding stops them.

        A ``bold`` descent, far from where it began, gives up as soon as the model was seen to mislead.
        """
        best, lowest, idle = math.inf, math.inf, 0
        while True:
            gap = direction.gap_estimate(self.subject.backend, state)
            idle = 0 if gap < 0.9 * best or state.loss < lowest - self.subject.rounding else idle + 1
            best, lowest = min(best, gap), min(lowest, state.loss)
            self.coefficients, self.gap_estimate = state.coefficients, gap
            # An intercept off its optimum hides part of the gap until there is a metric.
            known = self.curvature is not None
            near = known and gap <= max(self.gap_nats, _RUNG_GAP * state.loss)
            self.close = self.close or (last and near)
            if near and (not last or gap <= self.gap_nats):
                return state
            if bold and not self.close and self._length < _CUT:
                return state
            if idle > _PATIENCE or self.evaluations >= self.max_evaluations:
                return state
            if self._due():
                state = self._measured(state)
                continue
            moved = yield from self._step(state)
            if moved is not None:
                state, self._age, self.spent = moved, self._age + 1, self.spent + 1
            elif self._age == 0 and not state.pairs:
                return state  # a plain descent that fails with everything made anew
            else:
                state = self._measured(replace(state, pairs=()))

    def _due(self) -> bool:
        """Whether it is time for a metric: a better one once as much was spent without it as it costs."""
        if self.curvature is None:
            cheap = [number for number in range(len(_LEVELS)) if self.subject.price(number) <= _CHEAP]
            self.level = max(cheap, default=0)
            return True
        if self._age < _AGE:
            return False
        if self.level + 1 < len(_LEVELS) and self.spent >= self.subject.price(self.level + 1):
            self.level, self.spent = self.level + 1, 0
            return True
        return self._age >= self.subject.price(self.level)

    def _measured(self, state: State) -> State:
        """The state with a metric made at its coefficients."""
        subject = self.subject
        count, blocks = subject.level(self.level)
        squares = subject.backend.xp.square(subject.frame.stretch)
        penalties = min(state.penalty, 1e150) / squares.clip(1e-150, None)
        at = subject.frame.to_rows(state.coefficients)
        sample = subject.sampler.draw(subject.targets, at, penalties, count)
        here = (subject.targets, subject.frame, state.coefficients)
        basis = None if blocks else subject.sampler.basis(subject.frame.stretch)
        self.curvature = measure(subject.backend, sample, here, blocks=blocks, basis=basis)
        self._age = 0
        return replace(state, metric=self._metric(state.penalty))

    def _step(self, state: State) -> Generator[Any, Answer, State | None]:
        """One step along the quasi-Newton direction; None where none could be found."""
        backend = self.subject.backend
        along = direction.direction(backend, state)
        start = StepTrial(0.0, state.loss, backend.inner(state.gradient, along))
        if not start.slope < 0:
            return None
        search = step_length(start, self.subject.rounding, min(1.0, _LONGER * self._length))
        step = next(search)
        while True:
            coefficients = state.coefficients + step * along
            there = self._state(state.penalty, coefficients, (yield coefficients))
            try:
                step = search.send(StepTrial(step, there.loss, backend.inner(there.gradient, along)))
            except StopIteration as end:
                if end.value is None:
                    return None
                self._length = end.value.step
                return direction.advance(backend, state, there)
            if self.evaluations >= self.max_evaluations:
                return None
