"""The engine ``sklearn``: scikit-learn's own solver, as a fallback and a reference."""

from __future__ import annotations

import math
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.arrays import NUMPY
from solvers.errors import EngineError
from solvers.goals import Bid, Goal, Solution
from solvers.rows import read
from solvers.workers.threads import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from solvers.arrays import Array
    from solvers.problem.problem import Problem

__all__ = ["ENGINE", "SklearnEngine"]

_SMALL = 1 << 22
"""Entries of rows up to which BLAS is kept to one thread."""


class SklearnEngine:
    """LogisticRegression(solver="lbfgs") on rows in memory, standardised as the problem says.

    In float64, or in float32 where the rows are of no more bits: where that stalls short of the gap, another finishes.
    """

    name = "sklearn"
    finishes = False

    def devices(self) -> Sequence[str]:
        """Return the one device it is used on."""
        return ("cpu",)

    def bid(self, problem: Problem, fits: int, memory_bytes: int | None = None) -> Bid:
        """Bid for nothing: it is the reference, and was faster than numpy nowhere, its certificate included."""
        return Bid(0.0, "it is a reference, and faster nowhere (docs/solving.md)")

    def unavailable(self) -> str | None:
        """Say why scikit-learn cannot be used here, or None."""
        try:
            import sklearn.linear_model  # noqa: F401
        except ImportError as error:
            return f"scikit-learn cannot be imported ({error}); install scikit-learn"
        return None

    def prepare(
        self, problems: Sequence[Problem], memory_bytes: int | None = None, device: str | None = None
    ) -> _Prepared:
        """Read the rows into memory.

        Raises:
            EngineError: where they do not fit ``memory_bytes``.
        """
        first = problems[0]
        dtype, needed = _dtype(first), _bytes_needed(first)
        if memory_bytes is not None and needed > memory_bytes:
            msg = (
                f"engine 'sklearn' needs {needed:,} bytes for {len(first.codes):,} x {first.width:,} rows in {dtype} "
                f"but may take {memory_bytes:,}; give it more, or use the engine numpy, which streams"
            )
            raise EngineError(msg)
        return _Prepared(problems)


def _dtype(problem: Problem) -> np.dtype[Any]:
    """Of the rows here: float32 where they have no more bits, and lie where float32 can divide them."""
    given = problem.source.dtype
    narrow = given.kind == "f" and given.itemsize <= 4
    within = np.abs(problem.mean) + problem.deviation < 1e15
    return np.dtype(np.float32 if narrow and np.all(within & (problem.scale > 1e-15)) else np.float64)


def _bytes_needed(problem: Problem) -> int:
    return 3 * _dtype(problem).itemsize * len(problem.codes) * problem.width


class _Prepared:
    backend = NUMPY
    finishes = False

    def __init__(self, problems: Sequence[Problem]) -> None:
        self._problems = problems
        self._h = read(problems[0].source, slice(0, len(problems[0].codes))).astype(_dtype(problems[0]))
        self.passes = 1
        self.bytes_read = problems[0].source.dtype.itemsize * self._h.size

    @property
    def readings(self) -> list[_Prepared]:
        """The engine's own count: its iterations, each at least one product with the rows and one back."""
        return [self]

    def in_flight(self) -> list[Solution]:
        """Return nothing: scikit-learn keeps what it has to itself until it is done."""
        return []

    def sweep(self, goals: Sequence[Goal]) -> Iterator[list[Solution]]:
        for goal in goals:
            problem = self._problems[goal.problem]
            used = slice(None) if problem.weights is None else problem.weights > 0
            x = (self._h - problem.mean.astype(self._h.dtype))[used]
            x /= problem.scale.astype(self._h.dtype)
            start = goal.start
            for C in goal.C:
                if goal.ended:
                    break
                solution = self._fit(C, goal, start, _Standardised(problem, x, used))
                start = solution.coefficients
                yield [solution]

    def _fit(self, C: float, goal: Goal, start: Array | None, given: _Standardised) -> Solution:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(
            C=C, tol=given.tolerance(C, goal), max_iter=goal.max_evaluations, warm_start=True
        )
        classes = len(given.problem.classes)
        if start is not None:
            # scikit-learn's one vector for two classes is the difference of our two.
            rows = start[1:] - start[:1] if classes == 2 else start
            model.coef_, model.intercept_ = rows[:, :-1].copy(), rows[:, -1].copy()
        # The cores that BLAS would wake for products this small take longer to wake than to multiply.
        threads = one_blas_thread() if given.x.size <= _SMALL else nullcontext()
        with warnings.catch_warnings(), threads:
            # Whether it converged is the certificate's to say, not that of its own stopping rule.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(given.x, given.problem.codes[given.used], sample_weight=given.weights())
        fitted = np.column_stack([model.coef_, model.intercept_])
        coefficients = np.concatenate([-fitted, fitted]) / 2 if classes == 2 else fitted - fitted.mean(axis=0)
        # It tells its iterations alone; each makes at least one product with the rows and one back.
        iterations = int(model.n_iter_.max())
        self.passes += 2 * iterations
        self.bytes_read += 2 * iterations * given.x.nbytes
        return Solution(C, coefficients, iterations, 2 * iterations, goal.problem)


@dataclass(frozen=True)
class _Standardised:
    """One problem's rows x in its own coordinates, and which of all rows they are."""

    problem: Problem
    x: Array
    used: Any

    def weights(self) -> NDArray[np.float64] | None:
        """Sample weights whose sum is the problem's, as scikit-learn's objective sums where ours takes the mean."""
        problem = self.problem
        each = problem.total_weight / len(problem.codes)
        if problem.weights is None:
            return None if each == 1 else np.full(len(problem.codes), each)
        return (problem.weights * each)[self.used]

    def tolerance(self, C: float, goal: Goal) -> float:
        """The largest entry of the mean loss's gradient at which ‖∇_W f‖² / 2λ is about the gap asked for."""
        norm = math.sqrt(2 * self.problem.penalty(C) * goal.gap_nats)
        return norm / math.sqrt(len(self.problem.classes) * self.problem.width)


ENGINE = SklearnEngine()
