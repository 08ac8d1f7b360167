"""When a column makes a metric, and how good a one: bought once as much was spent without it as it costs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING

from solvers.lbfgs.metric import NO_METRIC, Curvature, Point, bend, measure, measure_leading
from solvers.lbfgs.turned import mean_curvature

if TYPE_CHECKING:
    from solvers.arrays import Backend
    from solvers.lbfgs.direction import State
    from solvers.lbfgs.metric import Metric
    from solvers.lbfgs.objective import Targets
    from solvers.lbfgs.sampling import Sampler
    from solvers.lbfgs.working import Frame

__all__ = ["FitSubject", "Kind", "MetricSchedule"]

_AGE = 16
"""Steps after which a metric is made anew, or a better one."""


class Kind(IntEnum):
    """What a metric is made of, from cheap to good.

    Diagonals of the columns; blocks along the leading directions; diagonals in the Gram matrix's eigenbasis; whole
    blocks.
    """

    PLAIN = 0
    LEADING = 1
    TURNED = 2
    BLOCKS = 3


_LEVELS = (
    (8, Kind.PLAIN),
    (128, Kind.LEADING),
    (256, Kind.LEADING),
    (8, Kind.TURNED),
    (16, Kind.BLOCKS),
    (64, Kind.BLOCKS),
)
"""What metrics are made of, from cheap to good: rows per column of the layer (of leading directions, how many), and
their kind."""
_NARROW = 3
"""A layer less than so many times as wide as there are leading directions has its eigenbasis taken instead."""
_AGE_LEADING = 6
"""The same for one along leading directions, which costs less than a step."""
_SPEED = 14
"""Multiplications of large square products in the time of one of an evaluation, whose products are tall and thin, times
the four that an evaluation makes of every entry for every class."""
_EIGEN = 11
"""Eigenvectors take so many times width³ multiplications, at the speed of large products (measured)."""
_LEAST = 1 << 16
"""An evaluation takes the time of so many entries at least: what is called for it costs more than the products do."""
CHEAP = 5.0
"""A column begins with the best metric that costs no more evaluations than this: on narrow layers the best of all."""
CHEAP_TURNED = 30.0
"""The same for the eigenbasis, which is what most evaluations are saved by, and is shared by all columns of a layer."""
CHEAP_LEADING = 25.0
"""The same for leading directions, where a first step by the columns' own diagonal would have to be cut ..."""
_SHORT = 0.2
"""... to less than this share of it: rows that vary much together bend the loss far more than their columns say."""
_WEAK = 5.0
"""And only where the mean curvature is so many times the penalty: a stronger one is a few steps away."""


@dataclass(frozen=True)
class FitSubject:
    """One problem as a column sees it, and what it may use.

    ``blocks`` says whether whole blocks of the Hessian fit the memory; ``sample_rows`` bounds the rows of a metric;
    ``variance`` is the mean of the columns', in the problem's own coordinates; ``sharers`` counts the columns of the
    sweep, which share what is found once for a layer.
    """

    backend: Backend
    targets: Targets
    frame: Frame
    sampler: Sampler
    rounding: float
    blocks: bool
    sample_rows: int
    variance: float
    sharers: int = 1

    def level(self, number: int) -> tuple[int, Kind]:
        """Return the rows to sample, and the kind of metric, at a level."""
        per_column, kind = _LEVELS[number]
        if self.sampler.principal and kind is not Kind.BLOCKS:
            kind = Kind.PLAIN
        if kind is Kind.LEADING:
            few = min(len(self.frame.stretch), len(self.targets.codes)) < _NARROW * per_column
            if not few and self.sampler.leads(per_column, self.targets.columns):
                return per_column, kind
            kind = Kind.PLAIN
        rows = min(per_column * len(self.frame.stretch), self.sample_rows, len(self.targets.codes))
        if kind is Kind.BLOCKS and not self.blocks:
            kind = Kind.TURNED
        return rows, Kind.PLAIN if kind is Kind.TURNED and not self.sampler.turns else kind

    def price(self, number: int) -> float:
        """Return what a metric of a level costs, in evaluations of its column.

        Products of sampled rows with themselves or with a basis, factors, and where they are not there yet the Gram
        matrix and its eigenvectors: on layers of more columns than rows they cost hundreds of evaluations.
        """
        rows, kind = self.level(number)
        width, classes = len(self.frame.stretch), self.targets.columns
        if kind is Kind.PLAIN:
            multiplications = rows * width * classes
        elif kind is Kind.LEADING:
            multiplications = len(self.targets.codes) * rows * rows * classes
            if not self.sampler.has_leading(self.frame.stretch, rows):
                # Twice what it takes: at its price 256 directions would be bought, and save less (decision 0030).
                found = 2 * rows * width * (len(self.targets.codes) + 2 * rows)
                multiplications += found // self.sharers
        elif kind is Kind.TURNED:
            multiplications = rows * width**2
            if not self.sampler.has_basis(self.frame.stretch):
                multiplications += _EIGEN * width**3
        else:
            multiplications = classes * (rows * width**2 + width**3 // 3)
        if kind in (Kind.TURNED, Kind.BLOCKS):
            multiplications += width**3 // 3  # the factor that leverage is estimated by
            multiplications += self.sampler.gram_price
        evaluation = max(width * classes * len(self.targets.codes), _LEAST)
        return multiplications / (_SPEED * evaluation)


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

    @property
    def plain(self) -> bool:
        """Whether the metric is a diagonal of the columns."""
        return self.subject.level(self.level)[1] is Kind.PLAIN

    def due(self) -> bool:
        """Say whether it is time for a metric: a better one once as much was spent without it as it costs."""
        if self.curvature is None:
            self.level = max(number for number in self._levels() if number == 0 or self._begins_with(number))
            return True
        if self.age < (_AGE_LEADING if self.subject.level(self.level)[1] is Kind.LEADING else _AGE):
            return False
        better = next((number for number in self._levels() if number > self.level), None)
        if better is not None and self.spent >= self.subject.price(better):
            self.level, self.spent = better, 0
            return True
        return self.age >= self.subject.price(self.level)

    def _levels(self) -> list[int]:
        """The levels that there are here: those that come down to a plain diagonal are the first one."""
        return [number for number in range(len(_LEVELS)) if not number or self.subject.level(number)[1]]

    def _begins_with(self, number: int) -> bool:
        turned = self.subject.level(number)[1] is Kind.TURNED
        return self.subject.price(number) <= (CHEAP_TURNED if turned else CHEAP)

    def measured(self, state: State) -> State:
        """Return the state with a metric made at its coefficients.

        The first one of a column gives way to leading directions where its own step would be cut short.
        """
        first, made = self.curvature is None, self._made(state)
        if first and self.plain and (better := self._leading()) and self._cut_short(made):
            self.level = better
            return self._made(state)
        return made

    def _made(self, state: State) -> State:
        subject = self.subject
        count, kind = subject.level(self.level)
        here = Point(subject.targets, subject.frame, state.coefficients)
        if kind is Kind.LEADING:
            leading = subject.sampler.leading(subject.frame.stretch, count)
            self.curvature = measure_leading(subject.backend, leading, subject.sampler.all_rows(), here)
        else:
            squares = subject.backend.xp.square(subject.frame.stretch)
            penalties = min(state.penalty, 1e150) / squares.clip(1e-150, None)
            at = subject.frame.to_rows(state.coefficients)
            sample = subject.sampler.draw(subject.targets, at, penalties, count, whole=kind is not Kind.PLAIN)
            basis = subject.sampler.basis(subject.frame.stretch) if kind is Kind.TURNED else None
            blocks = kind is Kind.BLOCKS
            self.curvature = measure(subject.backend, sample, here, blocks=blocks, basis=basis)
        self.age = 0
        return replace(state, metric=self.under(state.penalty))

    def _leading(self) -> int:
        """The first level of leading directions that may be had at the beginning; 0 where there is none."""
        levels = [number for number in self._levels() if self.subject.level(number)[1] is Kind.LEADING]
        return next((number for number in levels if self.subject.price(number) <= CHEAP_LEADING), 0)

    def _cut_short(self, state: State) -> bool:
        """Whether the first step by the metric would have to be cut, by a few rows' curvature along it."""
        backend, subject = self.subject.backend, self.subject
        width, rows = len(subject.frame.stretch), len(subject.targets.codes)
        if mean_curvature(subject.variance * width, rows, width) < _WEAK * state.penalty:
            return False
        along = state.metric.solve(backend, state.gradient)
        here = Point(subject.targets, subject.frame, state.coefficients)
        curved = bend(backend, subject.sampler.few_rows(), here, along)
        curved += state.penalty * backend.inner(along[:, :-1], along[:, :-1])
        return backend.inner(state.gradient, along) < _SHORT * curved
