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
from solvers.lbfgs.ladder import rungs_from_zero
from solvers.lbfgs.metric_schedule import FitSubject, MetricSchedule
from solvers.lbfgs.objective import Ask
from solvers.lbfgs.search import StepTrial, step_length

if TYPE_CHECKING:
    from collections.abc import Generator

    from solvers.lbfgs.direction import State
    from solvers.lbfgs.objective import Answer

__all__ = ["Column", "cold_start"]

_RUNG_GAP = 0.1
"""A rung is left once its estimated gap is this share of the loss."""
_LONGER = 1.5
"""A step is first tried at this many times the last one's length, but no more than whole."""
CUT = 0.2
"""A column that is on its way straight to its goal goes back and takes the ladder after a step shorter than this."""
_TAUGHT = 2
"""So many pairs are not yet enough of them."""
_PATIENCE = 25
"""Steps without a better estimate of the gap after which rounding is taken to have stopped a column."""
_WORTH = 1e-4
"""A step is worth taking where it gains this share of the gap asked for: by less, the goal is 10,000 steps away. One
row of 1e30 among rows of order 1 made a column creep on by 1e-14 nats a step."""
_FAR = 0.1
"""Nats that an intercept may be off by for its own Newton step to lead nearly to its best."""
_SHALLOW = 0.01
"""A slope by the intercept below this share of the gap asked for costs a certificate next to nothing."""
_BETTER = 0.9
"""An estimate counts as better when it is below this share of the best so far."""


def cold_start(subject: FitSubject, penalty: float) -> tuple[Any, list[float]]:
    """Return coefficients of zero, and the ladder from where they are nearly optimal to a penalty."""
    coefficients = subject.backend.xp.zeros((subject.targets.columns, len(subject.frame.stretch) + 1))
    return coefficients, rungs_from_zero(subject.variance, penalty)


@dataclass
class _Headway:
    """Whether a descent still gets anywhere: the best estimate, the lowest loss, the steps since either improved.

    A fall of the loss counts where it is more than ``least``.
    """

    least: float
    best: float = math.inf
    lowest: float = math.inf
    idle: int = 0

    def note(self, gap: float, loss: float) -> None:
        """Count a step with its estimate of the gap and its loss."""
        improved = gap < _BETTER * self.best or loss < self.lowest - self.least
        self.idle = 0 if improved else self.idle + 1
        self.best, self.lowest = min(self.best, gap), min(self.lowest, loss)


@dataclass
class Column:
    """A column in flight. ``close`` says that it is near enough for the next C to start from; ``done`` that it is over.

    ``since`` is the count of readings when it was begun. ``coefficients`` are the last ones reached; once it is over,
    the best of those at its own penalty. ``gap_estimate`` is what the certificate is expected to say of them.
    """

    subject: FitSubject
    index: int
    coefficients: Any
    penalties: list[float]
    gap_nats: float
    max_evaluations: int
    since: int = 0
    metrics: MetricSchedule = field(init=False, repr=False)
    close: bool = False
    done: bool = False
    evaluations: int = 0
    gap_estimate: float = math.inf
    _steps: Generator[Any, Answer, None] | None = field(default=None, repr=False)
    _length: float = 1.0
    _best: tuple[float, Any, float] = field(default=(math.inf, None, 0.0), repr=False)
    _shift: float = 0.0

    def __post_init__(self) -> None:
        self.metrics = MetricSchedule(self.subject)

    def ask(self) -> Ask:
        """Return what the column wants to have evaluated next."""
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
            if self._best[0] < self.gap_estimate:
                self.gap_estimate, self.coefficients, self._shift = self._best
            if self._shift:
                self.coefficients = self.coefficients.copy()
                self.coefficients[:, -1] += self._shift

    @property
    def _spent(self) -> bool:
        return self.evaluations >= self.max_evaluations

    def _run(self) -> Generator[Any, Answer, None]:
        answer = yield self.coefficients
        start = self._state(self.penalties[0], self.coefficients, answer)
        if self._misled(start) and not self._spent:
            self.coefficients, self.penalties = cold_start(self.subject, self.penalties[-1])
            answer = yield self.coefficients
            start = self._state(self.penalties[0], self.coefficients, answer)
        goal = self.penalties[-1]
        if len(self.penalties) > 1:
            yield from self._descend(self._moved_to(goal, start), last=True, bold=True)
            if self.close or self._spent:
                return
            self.metrics, self._length = MetricSchedule(self.subject), 1.0
        state = start
        for penalty in self.penalties:
            state = self._moved_to(penalty, state)
            state = yield from self._descend(state, last=penalty == goal)
            if self._spent:
                return

    def _misled(self, state: State) -> bool:
        """Say whether a start is worse than none: where it is sure and wrong, no row has any curvature left."""
        return not state.loss <= math.log(self.subject.targets.classes) * (1 + self.subject.rounding)

    def _state(self, penalty: float, coefficients: Any, answer: Answer) -> State:
        gradient = self.subject.frame.from_rows(answer.gradient)
        state = direction.penalised(self.subject.backend, penalty, coefficients, answer.cross_entropy, gradient)
        return replace(state, doubt=answer.doubt)

    def _moved_to(self, penalty: float, state: State) -> State:
        """Return the state under another penalty; the pairs belong to the old one."""
        weights, gradient = state.coefficients[:, :-1], state.gradient.copy()
        gradient[:, :-1] += (penalty - state.penalty) * weights
        loss = state.loss + 0.5 * (penalty - state.penalty) * self.subject.backend.inner(weights, weights)
        metric = self.metrics.under(penalty)
        return replace(state, penalty=penalty, loss=loss, gradient=gradient, metric=metric, pairs=())

    def _descend(self, state: State, *, last: bool, bold: bool = False) -> Generator[Any, Answer, State]:
        """Take steps at one penalty, until its goal is met or nothing leads further.

        Whether to stop is asked before anything is bought, since a metric costs more than a step. A metric comes
        before the step that needs it. A step that fails may be the fault of old pairs or of an old metric, so both are
        thrown away first; only a plain descent along a fresh metric that fails is rounding's doing. A ``bold``
        descent, far from where it began, gives up as soon as the model was seen to mislead: the ladder is the safer
        way, and the shorter one from there.
        """
        # Without a penalty the goal is a gradient's norm, of which no share is a fall of the loss.
        worth = _WORTH * self.gap_nats if state.penalty > 0 else 0.0
        headway = _Headway(max(self.subject.rounding, worth))
        while True:
            self._look(state, headway, last=last)
            if self._arrived(state, last=last) or self._gives_up(state, headway, bold=bold):
                return state
            if self.metrics.due():
                state = self.metrics.measured(state)
                continue
            moved = yield from self._step(state)
            if moved is not None:
                state = moved
                self.metrics.stepped()
            elif state.pairs or self.metrics.age > 0:
                state = self.metrics.measured(replace(state, pairs=()))
            else:
                return state

    def _look(self, state: State, headway: _Headway, *, last: bool) -> None:
        """Note where the descent stands: what to give out should it end here, and whether a neighbour may begin."""
        gap = direction.gap_estimate(self.subject.backend, state)
        headway.note(gap, state.loss)
        self.coefficients, self.gap_estimate, self._shift = state.coefficients, gap, self._last_shift(state)
        if last and gap < self._best[0] and self.metrics.curvature is not None:
            self._best = gap, state.coefficients, self._shift
        self.close = self.close or (last and self._near(state))

    def _last_shift(self, state: State) -> float:
        """A Newton step of the one intercept that two classes have, for a column that ends here.

        What is left of its slope costs a certificate far more than the loss: it would read the rows once more. A
        slope that costs nothing is left alone, so that what is alike stays alike: ties go to the smaller C.
        """
        if not state.doubt:
            return 0.0
        slope = float(state.gradient[0, -1])
        near = abs(slope) <= _FAR * state.doubt
        return -slope / state.doubt if near and abs(slope) > _SHALLOW * self.gap_nats else 0.0

    def _near(self, state: State) -> bool:
        # An intercept off its optimum hides part of the gap until there is a metric.
        known = self.metrics.curvature is not None
        return known and self.gap_estimate <= max(self.gap_nats, _RUNG_GAP * state.loss)

    def _arrived(self, state: State, *, last: bool) -> bool:
        """Say whether a rung may be left, or, on the ``last``, whether the goal is met."""
        return self._near(state) and (not last or self.gap_estimate <= self.gap_nats)

    def _gives_up(self, state: State, headway: _Headway, *, bold: bool) -> bool:
        # A plain diagonal knows nothing of how rows vary together: the first pairs teach it, whatever these steps are.
        taught = not self.metrics.plain or len(state.pairs) > _TAUGHT
        astray = bold and taught and not self.close and self._length < CUT
        return astray or headway.idle > _PATIENCE or self._spent

    def _step(self, state: State) -> Generator[Any, Answer, State | None]:
        """Take one step along the quasi-Newton direction; None where none could be found."""
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
            if self._spent:
                return None
