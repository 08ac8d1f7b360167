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
    from collections.abc import Callable, Iterator, Sequence

    from solvers.arrays import Array
    from solvers.fitting.validation import Validation
    from solvers.goals import Prepared, Solution
    from solvers.problem.problem import Problem

__all__ = ["PathPlan", "PathProblem", "Point", "SolvedPath", "follow"]

ROUGH_GAP_NATS = 1e-3
"""The gap that a point needs to be compared by validation; only the one chosen is taken further."""
_BATCH_ENTRIES = 1 << 17
"""Coefficients of the points that are solved on side by side: what a certificate makes of them is some megabytes."""
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
        return walk.ended(), walk
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
            (finished,) = self._finished([(solution.problem, point)])
            self._points[solution.problem][solution.C] = finished
            self._report()

    def ended(self) -> list[SolvedPath]:
        """The path of every problem, its best point taken to the gap asked for."""
        paths = [self._reached(index) for index in range(len(self._tracks))]
        for index, reached in enumerate(paths):
            if len(reached) < len(self._C) and not self.goal(index).ended:
                msg = f"the engine left {len(self._C) - len(reached)} of {len(self._C)} penalties unsolved"
                raise EngineError(msg)
        choosing = [index for index, track in enumerate(self._tracks) if track.validation is not None]
        chosen = {index: int(np.argmin([point.validation for point in paths[index]])) for index in choosing}
        wanted = [
            (index, replace(paths[index][at], goal_nats=self._plan.gap_nats)) for index, at in chosen.items()
        ]
        best = {}
        for some in self._batches(wanted):
            for (index, _), point in zip(some, self._polished(some), strict=True):
                best[index] = paths[index][chosen[index]] = point
        return [SolvedPath(reached, best.get(index)) for index, reached in enumerate(paths)]

    def _batches(self, given: Sequence[tuple[int, Point]]) -> Iterator[list[tuple[int, Point]]]:
        """Points of problems in runs, as many as may be certified together in little memory."""
        some: list[tuple[int, Point]] = []
        entries = 0
        for each in given:
            mine = each[1].certificate.coefficients.size
            if some and entries + mine > _BATCH_ENTRIES:
                yield some
                some, entries = [], 0
            some.append(each)
            entries += mine
        if some:
            yield some

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

    def _polished(self, given: Sequence[tuple[int, Point]]) -> list[Point]:
        """Points of problems, solved on by the engine that found them, and finished where that is not enough."""
        missed = [place for place, (_, point) in enumerate(given) if point.missed]
        given = list(given)
        later = self._further([given[place] for place in missed], self._plan.solver, _MARGIN, double=False)
        for place, point in zip(missed, later, strict=True):
            given[place] = (given[place][0], point)
        return self._finished(given)

    def _finished(self, given: Sequence[tuple[int, Point]]) -> list[Point]:
        """Points of problems, taken closer in float64 until their gap is certified or rounding allows no more."""
        points, last = [point for _, point in given], [np.inf] * len(given)
        margin = 1.0
        while open_ := [
            place
            for place, point in enumerate(points)
            if point.missed and point.reached_nats <= _ENOUGH * last[place]
        ]:
            finisher = self._finisher()
            if finisher is None:
                break
            margin *= _MARGIN
            later = self._further(
                [(given[place][0], points[place]) for place in open_], finisher, margin, double=True
            )
            for place, point in zip(open_, later, strict=True):
                last[place] = points[place].reached_nats
                points[place] = replace(point, finished=finisher is not self._plan.solver)
        return points

    def _finisher(self) -> Prepared | None:
        """A solver that can work in float64, made when it is first needed; None where the plan has none."""
        if not self._solvers[-1].finishes and self._plan.finisher is not None:
            self._solvers.append(self._plan.finisher())
        return self._solvers[-1] if self._solvers[-1].finishes else None

    def _further(
        self, given: Sequence[tuple[int, Point]], solver: Prepared, margin: float, *, double: bool
    ) -> list[Point]:
        """Points of problems, side by side, each solved on to this share of its goal, or as far as it gets."""
        if not given:
            return []
        goals = [
            Goal((point.C,), margin * point.goal_nats, index, point.certificate.coefficients, double)
            for index, point in given
        ]
        found = {(one.problem, one.C): one for solutions in solver.sweep(goals) for one in solutions}
        solutions = [found[index, point.C] for index, point in given]
        points = []
        for (_, point), later in zip(
            given, self._certified(solutions, [point.goal_nats for _, point in given]), strict=True
        ):
            better = later if later.reached_nats < point.reached_nats else point
            evaluations, passes = point.evaluations + later.evaluations, point.passes + later.passes
            points.append(replace(better, evaluations=evaluations, passes=passes, seconds=later.seconds))
        return points
