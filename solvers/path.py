"""A path over C: from strong to weak penalty, each point certified, stopped where validation stops improving."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.certificate import Certificate, Certifier
from solvers.engines.base import Goal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from solvers.engines.base import Prepared, Solution
    from solvers.problem import Problem
    from solvers.validation import Validation

__all__ = ["Followed", "Plan", "Point", "follow"]

ROUGH_GAP_NATS = 1e-3
"""The gap that a point needs to be compared by validation; only the one chosen is taken further."""
_MARGIN = 0.7
"""Estimated gaps aim below what is asked for, as the certificate has the last word."""
_ENOUGH = 0.9
"""A round that leaves more than this share of the gap has got as far as it can."""
_RISES = 2


@dataclass(frozen=True)
class Plan:
    """How a path is followed. ``finisher`` makes the solver that takes over where the first one misses the gap.

    ``began`` is when the clock of the points' ``seconds`` started, in :func:`time.perf_counter`'s terms.
    """

    solver: Prepared
    gap_nats: float
    began: float
    finisher: Callable[[], Prepared] | None = None
    validation: Validation | None = None
    full_path: bool = False
    start: NDArray[Any] | None = None


@dataclass(frozen=True)
class Point:
    """One C of a path as far as it got; ``goal_nats`` is the gap that it needed."""

    C: float
    certificate: Certificate
    goal_nats: float
    evaluations: int
    passes: int
    seconds: float
    validation: float = np.nan
    finished: bool = False
    """Whether the finisher had to take over."""

    @property
    def missed(self) -> bool:
        """Whether the certified gap is larger than the one needed."""
        return not self.certificate.gap_nats <= self.goal_nats


@dataclass(frozen=True)
class Followed:
    """The points reached, in rising order of C, and the one validation chose, if there were rows to choose by."""

    points: list[Point]
    best: Point | None
    passes: int


def follow(problem: Problem, C: Sequence[float], plan: Plan) -> Followed:
    """Solve a problem for every C, in rising order (strong to weak penalty).

    With validation rows every point is taken to a rough gap, and the best of them to the one asked for.
    """
    rough = plan.gap_nats if plan.validation is None else max(plan.gap_nats, ROUGH_GAP_NATS)
    walk = _Walk(problem, plan)
    points: dict[float, Point] = {}
    reached: list[Point] = []
    for solution in plan.solver.sweep(Goal(tuple(C), _MARGIN * rough, plan.start)):
        point = walk.point(solution, rough)
        points[solution.C] = walk.finished(point) if point.missed else point
        reached = [points[each] for each in takewhile(points.__contains__, C)]
        if plan.validation is not None and not plan.full_path and _risen(reached):
            break
    best = None
    if plan.validation is not None:
        chosen = int(np.argmin([point.validation for point in reached]))
        best = reached[chosen] = walk.polished(replace(reached[chosen], goal_nats=plan.gap_nats))
    return Followed(reached, best, walk.passes)


def _risen(points: list[Point]) -> bool:
    """Whether validation has become worse at each of the last points."""
    last = [point.validation for point in points[-_RISES - 1 :]]
    return len(last) == _RISES + 1 and all(after > before for before, after in pairwise(last))


class _Walk:
    """The steps of a path: from a solution to a certified point, and closer where it is not close enough."""

    def __init__(self, problem: Problem, plan: Plan) -> None:
        self._problem, self._plan = problem, plan
        self._certifier = Certifier(problem, plan.solver.backend)
        self._solvers = [plan.solver]

    @property
    def passes(self) -> int:
        """Readings of all rows so far, by solver, finisher and certificate."""
        return self._certifier.passes + sum(solver.passes for solver in self._solvers)

    def point(self, solution: Solution, goal_nats: float) -> Point:
        """A solution with its certificate and its validation cross-entropy."""
        before = self._certifier.passes
        (certificate,) = self._certifier.certify([solution.coefficients], [solution.C])
        passes = solution.passes + self._certifier.passes - before
        validation = np.nan
        if self._plan.validation is not None:
            validation = self._plan.validation.cross_entropy(self._problem, certificate.coefficients)
        seconds = time.perf_counter() - self._plan.began
        return Point(solution.C, certificate, goal_nats, solution.evaluations, passes, seconds, validation)

    def polished(self, point: Point) -> Point:
        """The point, solved on by the engine that found it, and finished where that is not enough."""
        if point.missed:
            point = self._further(point, self._plan.solver, _MARGIN * point.goal_nats, double=False)
        return self.finished(point)

    def finished(self, point: Point) -> Point:
        """The point, taken closer in float64 until its gap is certified or rounding allows no more."""
        aim, last = _MARGIN * point.goal_nats, np.inf
        finisher = self._finisher() if point.missed else None
        while finisher is not None and point.missed and point.certificate.gap_nats <= _ENOUGH * last:
            last = point.certificate.gap_nats
            point = self._further(point, finisher, aim, double=True)
            point = replace(point, finished=finisher is not self._plan.solver)
            aim *= _MARGIN
        return point

    def _finisher(self) -> Prepared | None:
        """A solver that can work in float64, made when it is first needed; None where the plan has none."""
        if not self._solvers[-1].finishes and self._plan.finisher is not None:
            self._solvers.append(self._plan.finisher())
        return self._solvers[-1] if self._solvers[-1].finishes else None

    def _further(self, point: Point, solver: Prepared, aim_nats: float, *, double: bool) -> Point:
        goal = Goal((point.C,), aim_nats, point.certificate.coefficients, double)
        (solution,) = solver.sweep(goal)
        later = self.point(solution, point.goal_nats)
        better = later if later.certificate.gap_nats < point.certificate.gap_nats else point
        return replace(
            better,
            evaluations=point.evaluations + later.evaluations,
            passes=point.passes + later.passes,
            seconds=later.seconds,
        )
