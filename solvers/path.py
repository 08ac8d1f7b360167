"""A path over C: from strong to weak penalty, each point certified, stopped where validation stops improving."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import logsumexp

from solvers.certificate import Certificate, Certifier
from solvers.engines.base import Goal
from solvers.errors import ProblemError
from solvers.problem import encode
from solvers.rows import as_source, blocks, flat_width

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from solvers.engines.base import Prepared, Solution
    from solvers.problem import Problem
    from solvers.rows import RowSource

__all__ = ["Plan", "Point", "Validation", "follow"]

ROUGH_GAP_NATS = 1e-3
"""The gap that a point needs to be compared by validation; only the one chosen is taken further."""
_MARGIN = 0.7
"""Estimated gaps aim below what is asked for, as the certificate has the last word."""
_ENOUGH = 0.9
"""A round that leaves more than this share of the gap has got as far as it can."""
_RISES = 2
_BLOCK_ELEMENTS = 1 << 20


@dataclass(frozen=True)
class Plan:
    """How a path is followed. ``finisher`` makes the solver that takes over where the first one misses the gap."""

    solver: Prepared
    gap_nats: float
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
        return self.certificate.gap_nats > self.goal_nats


@dataclass(frozen=True)
class Validation:
    """Rows to choose C by: those whose label is a class of the problem."""

    source: RowSource
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, activations: RowSource | ArrayLike, labels: ArrayLike, problem: Problem) -> Validation:
        """Match validation rows to a problem; rows without a label, or of a class it never saw, do not count.

        Raises:
            ProblemError: another width, another number of labels, or no row that counts.
        """
        source = as_source(activations)
        if flat_width(source) != problem.width:
            msg = f"validation rows have {flat_width(source):,} features; expected {problem.width:,}, as in training"
            raise ProblemError(msg)
        codes, classes = encode(labels, source.shape[0])
        known = {value: code for code, value in enumerate(problem.classes.tolist())}
        translation = np.array([known.get(value, -1) for value in classes.tolist()] + [-1], dtype=np.int64)
        codes = translation[codes]
        if not np.any(codes >= 0):
            msg = "no validation row has a label that occurs in training, so C can not be chosen by them"
            raise ProblemError(msg)
        return cls(source, codes)

    def cross_entropy(self, problem: Problem, coefficients: NDArray[np.float64]) -> float:
        """Mean cross-entropy (nats) of coefficients (classes, width + 1) in scaled coordinates.

        Raises:
            ProblemError: activations that are not finite.
        """
        weights = (coefficients[:, :-1] / problem.scale).T
        total = 0.0
        for rows, block in blocks(self.source, max(1, _BLOCK_ELEMENTS // max(1, problem.width))):
            codes, index = self.codes[rows], np.flatnonzero(self.codes[rows] >= 0)
            z = (block[index] - problem.mean) @ weights + coefficients[:, -1]
            total += float(np.sum(logsumexp(z, axis=1) - z[np.arange(len(index)), codes[index]]))
        if not np.isfinite(total):
            msg = "validation rows hold NaN or infinite activations, so C can not be chosen by them; leave those out"
            raise ProblemError(msg)
        return total / np.count_nonzero(self.codes >= 0)


def follow(problem: Problem, C: Sequence[float], plan: Plan) -> tuple[list[Point], int | None]:
    """Solve a problem for every C, in rising order (strong to weak penalty).

    With validation rows every point is taken to a rough gap and the best of them to the one asked for.

    Returns:
        The points reached, in that order, and which of them validation chose (None without validation).
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
    if plan.validation is None:
        return reached, None
    best = int(np.argmin([point.validation for point in reached]))
    reached[best] = walk.polished(replace(reached[best], goal_nats=plan.gap_nats))
    return reached, best


def _risen(points: list[Point]) -> bool:
    """Whether validation has become worse at each of the last points."""
    last = [point.validation for point in points[-_RISES - 1 :]]
    return len(last) == _RISES + 1 and all(after > before for before, after in pairwise(last))


class _Walk:
    """The steps of a path: from a solution to a certified point, and closer where it is not close enough."""

    def __init__(self, problem: Problem, plan: Plan) -> None:
        self._problem, self._plan = problem, plan
        self._certifier = Certifier(problem, plan.solver.backend)
        self._began = time.perf_counter()

    @cached_property
    def _finisher(self) -> Prepared | None:
        if self._plan.solver.finishes:
            return self._plan.solver
        return None if self._plan.finisher is None else self._plan.finisher()

    def point(self, solution: Solution, goal_nats: float) -> Point:
        """A solution with its certificate and its validation cross-entropy."""
        before = self._certifier.passes
        (certificate,) = self._certifier.certify([solution.coefficients], [solution.C])
        passes = solution.passes + self._certifier.passes - before
        validation = np.nan
        if self._plan.validation is not None:
            validation = self._plan.validation.cross_entropy(self._problem, certificate.coefficients)
        seconds = time.perf_counter() - self._began
        return Point(solution.C, certificate, goal_nats, solution.evaluations, passes, seconds, validation)

    def polished(self, point: Point) -> Point:
        """The point, solved on by the engine that found it, and finished where that is not enough."""
        if point.missed:
            point = self._further(point, self._plan.solver, _MARGIN * point.goal_nats, double=False)
        return self.finished(point)

    def finished(self, point: Point) -> Point:
        """The point, taken closer in float64 until its gap is certified or rounding allows no more."""
        aim, last = _MARGIN * point.goal_nats, np.inf
        while point.missed and self._finisher is not None and point.certificate.gap_nats <= _ENOUGH * last:
            last = point.certificate.gap_nats
            point = self._further(point, self._finisher, aim, double=True)
            point = replace(point, finished=self._finisher is not self._plan.solver)
            aim *= _MARGIN
        return point

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
