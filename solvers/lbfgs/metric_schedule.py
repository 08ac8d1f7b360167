"""When a column makes a metric, and how good a one: bought once as much was spent without it as it costs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from solvers.lbfgs.metric import NO_METRIC, Curvature, Point, measure

if TYPE_CHECKING:
    from solvers.arrays import Backend
    from solvers.lbfgs.direction import State
    from solvers.lbfgs.metric import Metric
    from solvers.lbfgs.objective import Targets
    from solvers.lbfgs.sampling import Sampler
    from solvers.lbfgs.working import Frame

__all__ = ["FitSubject", "MetricSchedule"]

_AGE = 16
"""Steps after which a metric is made anew, or a better one."""
_LEVELS = ((8, False), (16, True), (64, True))
"""What metrics are made of, from cheap to good: rows per column of the layer, and whether whole blocks are made."""
_BLOCK_SPEED = 14
"""A block of b rows costs as much as b · width / (14 · rows) evaluations: large products run faster than tall ones."""
_CHEAP = 5.0
"""A column begins with the best metric that costs no more evaluations than this: on narrow layers the best of all."""


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
        """Return the rows to sample, and whether to make blocks, at a level."""
        per_column, blocks = _LEVELS[number]
        rows = min(per_column * len(self.frame.stretch), self.sample_rows, len(self.targets.codes))
        return rows, blocks and self.blocks

    def price(self, number: int) -> float:
        """Return what a metric of a level costs, in evaluations of its column."""
        rows, blocks = self.level(number)
        classes = 1 if blocks else self.targets.classes
        return rows * len(self.frame.stretch) / (_BLOCK_SPEED * classes * len(self.targets.codes))


@dataclass
class MetricSchedule:
    """The metric of one column.

    ``level`` is that of the metric, ``spent`` the steps taken with metrics of that level, ``age`` those with this very
    one, and ``curvature`` what it is made of.
    """

    subject: FitSubject
    level: int = 0
    spent: int = 0
    age: int = 0
    curvature: Curvature | None = field(default=None, repr=False)

    def handed_on(self) -> MetricSchedule:
        """Return the schedule of a neighbour: a metric of this column's will do for it to begin with."""
        return replace(self, age=0)

    def under(self, penalty: float) -> Metric:
        """Return the metric under a penalty; the identity until there is one."""
        return NO_METRIC if self.curvature is None else self.curvature.under(self.subject.backend, penalty)

    def stepped(self) -> None:
        """Count a step that was taken with the metric."""
        self.age += 1
        self.spent += 1

    def due(self) -> bool:
        """Say whether it is time for a metric: a better one once as much was spent without it as it costs."""
        if self.curvature is None:
            cheap = [number for number in range(len(_LEVELS)) if self.subject.price(number) <= _CHEAP]
            self.level = max(cheap, default=0)
            return True
        if self.age < _AGE:
            return False
        if self.level + 1 < len(_LEVELS) and self.spent >= self.subject.price(self.level + 1):
            self.level, self.spent = self.level + 1, 0
            return True
        return self.age >= self.subject.price(self.level)

    def measured(self, state: State) -> State:
        """Return the state with a metric made at its coefficients."""
        subject = self.subject
        count, blocks = subject.level(self.level)
        squares = subject.backend.xp.square(subject.frame.stretch)
        penalties = min(state.penalty, 1e150) / squares.clip(1e-150, None)
        at = subject.frame.to_rows(state.coefficients)
        sample = subject.sampler.draw(subject.targets, at, penalties, count)
        here = Point(subject.targets, subject.frame, state.coefficients)
        basis = None if blocks else subject.sampler.basis(subject.frame.stretch)
        self.curvature = measure(subject.backend, sample, here, blocks=blocks, basis=basis)
        self.age = 0
        return replace(state, metric=self.under(state.penalty))
