"""Paths over C, one per problem: from strong to weak penalty, each point certified, stopped by validation."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import EngineError
from solvers.fitting.result import FitProgress
from solvers.goals import Goal
from solvers.proof.certificate import MAX_PASSES, Certificate, Certifier, Claim

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from solvers.arrays import Array
    from solvers.fitting.validation import Validation
    from solvers.goals import Prepared, Solution
    from solvers.problem.problem import Problem

__all__ = ["PathPlan", "PathProblem", "Point", "SolvedPath", "follow"]

ROUGH_GAP_NATS = 1e-3
"""The gap that a point needs to be compared by validation; only the one chosen is taken further."""
_MARGIN = 0.7
"""Estimated gaps aim below what is asked for, as the certificate has the last word."""
_ENOUGH = 0.9
"""A round that leaves more than this share of the gap has got as far as it can."""
_RISES = 2
_LAST_PASSES = 3
"""Readings of the rows in which what an interrupt left is certified: the bound holds, if not as tightly as it could."""


@dataclass(frozen=True)
class PathProblem:
    """One problem, and what is particular to its path."""

    problem: Problem
    validation: Validation | None = None
    start: Array | None = None


@dataclass(frozen=True)
class PathPlan:
    """How paths are followed. ``finisher`` makes the solver that takes over where the first one misses the gap.

    ``began`` is when the clock of the points' ``seconds`` started, in :func:`time.perf_counter`'s terms.
    """

    solver: Prepared
    gap_nats: float
    began: float
    finisher: Callable[[], Prepared] | None = None
    full_path: bool = False
    progress: Callable[[FitProgress], None] | None = None


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
    interrupted: bool = False
    """Whether Ctrl-C came before all that could be done for its gap was."""

    @property
    def reached_nats(self) -> float:
        """The gap, or, where no penalty makes one, the gradient's norm, which is held to the same number."""
        return self.certificate.gradient_norm if np.isinf(self.C) else self.certificate.gap_nats

    @property
    def missed(self) -> bool:
        """Whether the certified gap is larger than the one needed."""
        return not self.reached_nats <= self.goal_nats


@dataclass(frozen=True)
class SolvedPath:
    """The points reached, in rising order of C, and the one validation chose, if there were rows to choose by."""

    points: list[Point]
    best: Point | None


def follow(
    tracks: Sequence[PathProblem], C: Sequence[float], plan: PathPlan
) -> tuple[list[SolvedPath], PathSolver]:
    """Solve problems for every C, in rising order (strong to weak penalty), side by side.

    With validation rows every point is taken to a rough gap, and the best of them to the one asked for. Returns what
    each path found, and the walk, which knows what was read for all of them. After Ctrl-C no path is returned, and
    the walk has the interrupt, and what it left.
    """
    walk = PathSolver(tracks, C, plan)
    goals = [walk.goal(index) for index in range(len(tracks))]
    try:
        for solutions in plan.solver.sweep(goals):
            walk.take(solutions)
        return [walk.ended(index) for index in range(len(tracks))], walk
    except KeyboardInterrupt as interrupt:
        walk.interrupted = interrupt
        return [], walk


def _risen(points: list[Point]) -> bool:
    """Whether validation has become worse at each of the last points."""
    last = [point.validation for point in points[-_RISES - 1 :]]
    return len(last) == _RISES + 1 and all(after > before for before, after in pairwise(last))


class PathSolver:
    """The steps of paths: from a solution to a certified point, and closer where it is not close enough."""

    def __init__(self, tracks: Sequence[PathProblem], C: Sequence[float], plan: PathPlan) -> None:
        self._tracks, self._C, self._plan = tracks, tuple(C), plan
        self._certifier = Certifier([track.problem for track in tracks], plan.solver.backend)
        self._solvers = [plan.solver]
        self._points: list[dict[float, Point]] = [{} for _ in tracks]
        self._landed: Sequence[Solution] = []  # the last that came, which may not be certified yet
        self.interrupted: KeyboardInterrupt | None = None

    @property
    def passes(self) -> int:
        """Readings of all rows so far, by solver, finisher and certificate."""
        return sum(rows.passes for rows in self._readings())

    @property
    def bytes_read(self) -> int:
        """Bytes of activations in those readings."""
        return sum(rows.bytes_read for rows in self._readings())

    def goal(self, index: int) -> Goal:
        """Return what the first solver is to do for one problem."""
        start = self._tracks[index].start
        aim = _MARGIN * self._rough(index)
        chooses = self._tracks[index].validation is not None and not self._plan.full_path
        return Goal(self._C, aim, index, start, stopped=(lambda: self._stopped(index)) if chooses else None)

    def take(self, solutions: Sequence[Solution]) -> None:
        """Certify solutions, and finish those that fall short."""
        rough = [self._rough(solution.problem) for solution in solutions]
        self._landed = solutions
        points = self._certified(solutions, rough)
        for solution, point in zip(solutions, points, strict=True):
            self._points[solution.problem][solution.C] = replace(point, interrupted=True)
        for solution, point in zip(solutions, points, strict=True):
            self._points[solution.problem][solution.C] = self._finished(solution.problem, point)
            self._report()

    def ended(self, index: int) -> SolvedPath:
        """The path of one problem, its best point taken to the gap asked for."""
        reached = self._reached(index)
        if len(reached) < len(self._C) and not self.goal(index).ended:
            msg = f"the engine left {len(self._C) - len(reached)} of {len(self._C)} penalties unsolved"
            raise EngineError(msg)
        best = None
        if self._tracks[index].validation is not None:
            chosen = int(np.argmin([point.validation for point in reached]))
            best = self._polished(index, replace(reached[chosen], goal_nats=self._plan.gap_nats))
            reached[chosen] = best
        return SolvedPath(reached, best)

    @property
    def finished(self) -> int:
        """How many points are as close as could be."""
        return sum(not point.interrupted for points in self._points for point in points.values())

    def left(self) -> list[SolvedPath]:
        """Return each path as an interrupt left it: the points certified, and those in flight, there, too.

        In few readings of the rows, as somebody waits for it.
        """
        unfinished = self._in_flight()
        goals_nats = [self._rough(one.problem) for one in unfinished]
        points = self._certified(unfinished, goals_nats, _LAST_PASSES)
        for solution, point in zip(unfinished, points, strict=True):
            self._points[solution.problem][solution.C] = replace(point, interrupted=True)
        return [self._left(index) for index in range(len(self._tracks))]

    @property
    def begun(self) -> bool:
        """Whether there is anything that an interrupt left."""
        return any(self._points) or bool(self._in_flight())

    def _in_flight(self) -> list[Solution]:
        found = [*self._landed, *self._plan.solver.in_flight()]
        return [one for one in found if one.C not in self._points[one.problem]]

    def _left(self, index: int) -> SolvedPath:
        reached = [point for _, point in sorted(self._points[index].items())]
        best = None
        if reached and self._tracks[index].validation is not None:
            chosen = int(np.argmin([point.validation for point in reached]))
            best = replace(reached[chosen], goal_nats=self._plan.gap_nats, interrupted=True)
            reached[chosen] = best
        return SolvedPath(reached, best)

    def _readings(self) -> list[Any]:
        return [self._certifier.rows, *(rows for solver in self._solvers for rows in solver.readings)]

    def _rough(self, index: int) -> float:
        gap = self._plan.gap_nats
        return gap if self._tracks[index].validation is None else max(gap, ROUGH_GAP_NATS)

    def _reached(self, index: int) -> list[Point]:
        points = self._points[index]
        return [points[each] for each in takewhile(points.__contains__, self._C)]

    def _stopped(self, index: int) -> bool:
        return _risen(self._reached(index))

    def _report(self) -> None:
        if self._plan.progress is None:
            return
        points = [point for mine in self._points for point in mine.values() if not point.interrupted]
        certified = [point.certificate.gap_nats for point in points]
        total = len(self._C) * len(self._tracks)
        self._plan.progress(FitProgress(len(certified), total, max(certified), self.passes))

    def _certified(
        self, solutions: Sequence[Solution], goals_nats: Sequence[float], most_passes: int = MAX_PASSES
    ) -> list[Point]:
        """Solutions with their certificates and validation cross-entropies."""
        before = self._certifier.rows.passes
        claims = [
            Claim(solution.problem, solution.coefficients, solution.C, goal_nats)
            for solution, goal_nats in zip(solutions, goals_nats, strict=True)
        ]
        certificates = self._certifier.certify(claims, most_passes)
        extra = self._certifier.rows.passes - before
        points = []
        for solution, certificate, goal_nats in zip(solutions, certificates, goals_nats, strict=True):
            track = self._tracks[solution.problem]
            validation = np.nan
            if track.validation is not None:
                validation = track.validation.cross_entropy(track.problem, certificate.coefficients)
            seconds = time.perf_counter() - self._plan.began
            passes = solution.passes + extra
            points.append(
                Point(solution.C, certificate, goal_nats, solution.evaluations, passes, seconds, validation)
            )
        return points

    def _polished(self, index: int, point: Point) -> Point:
        """The point, solved on by the engine that found it, and finished where that is not enough."""
        if point.missed:
            point = self._further(index, point, self._plan.solver, _MARGIN * point.goal_nats, double=False)
        return self._finished(index, point)

    def _finished(self, index: int, point: Point) -> Point:
        """The point, taken closer in float64 until its gap is certified or rounding allows no more."""
        aim, last = _MARGIN * point.goal_nats, np.inf
        finisher = self._finisher() if point.missed else None
        while finisher is not None and point.missed and point.reached_nats <= _ENOUGH * last:
            last = point.reached_nats
            point = self._further(index, point, finisher, aim, double=True)
            point = replace(point, finished=finisher is not self._plan.solver)
            aim *= _MARGIN
        return point

    def _finisher(self) -> Prepared | None:
        """A solver that can work in float64, made when it is first needed; None where the plan has none."""
        if not self._solvers[-1].finishes and self._plan.finisher is not None:
            self._solvers.append(self._plan.finisher())
        return self._solvers[-1] if self._solvers[-1].finishes else None

    def _further(self, index: int, point: Point, solver: Prepared, aim_nats: float, *, double: bool) -> Point:
        goal = Goal((point.C,), aim_nats, index, point.certificate.coefficients, double)
        solutions = [solution for found in solver.sweep([goal]) for solution in found]
        (later,) = self._certified(solutions, [point.goal_nats])
        better = later if later.reached_nats < point.reached_nats else point
        return replace(
            better,
            evaluations=point.evaluations + later.evaluations,
            passes=point.passes + later.passes,
            seconds=later.seconds,
        )
