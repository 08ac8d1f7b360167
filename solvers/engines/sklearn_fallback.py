"""The engine ``sklearn``: scikit-learn's own solver, as a fallback and a reference. The one file that imports it."""

from __future__ import annotations

import math
import warnings
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.backend import NUMPY, one_blas_thread
from solvers.engines.base import Goal, Solution
from solvers.working import DOUBLE_ELEMENTS, StreamedRows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from solvers.problem import Problem

__all__ = ["ENGINE", "SklearnEngine"]


class SklearnEngine:
    """LogisticRegression(solver="lbfgs") on float64 rows in memory, standardised as the problem says."""

    name = "sklearn"

    def unavailable(self) -> str | None:
        """Why scikit-learn can not be used here, or None."""
        try:
            import sklearn.linear_model  # noqa: F401
        except ImportError as error:
            return f"scikit-learn can not be imported ({error}); install scikit-learn"
        return None

    def prepare(self, problem: Problem) -> _Prepared:
        """Read the rows into memory."""
        return _Prepared(problem)


class _Prepared:
    backend = NUMPY
    finishes = False

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.passes = 1
        self._x = np.empty((problem.rows, problem.width))
        for blocks in StreamedRows(problem, NUMPY).shares():
            for part, x in blocks:
                self._x[part] = x[:, :-1] / problem.scale

    def sweep(self, goal: Goal) -> Iterator[Solution]:
        start = goal.start
        for C in goal.C:
            solution = self._fit(C, goal, start)
            start = solution.coefficients
            yield solution

    def _fit(self, C: float, goal: Goal, start: NDArray[Any] | None) -> Solution:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(
            C=C, tol=self._tolerance(C, goal), max_iter=goal.max_evaluations, warm_start=True
        )
        classes = len(self._problem.classes)
        if start is not None:
            # scikit-learn's one vector for two classes is the difference of our two.
            rows = start[1:] - start[:1] if classes == 2 else start
            model.coef_, model.intercept_ = rows[:, :-1].copy(), rows[:, -1].copy()
        # The cores that BLAS would wake for products this small take longer to wake than to multiply.
        threads = one_blas_thread() if self._x.size <= DOUBLE_ELEMENTS else nullcontext()
        with warnings.catch_warnings(), threads:
            # Whether it converged is the certificate's to say, not that of its own stopping rule.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(self._x, self._problem.codes, sample_weight=self._weights())
        fitted = np.column_stack([model.coef_, model.intercept_])
        coefficients = np.concatenate([-fitted, fitted]) / 2 if classes == 2 else fitted - fitted.mean(axis=0)
        # It tells its iterations alone; each makes at least one product with the rows and one back.
        iterations = int(model.n_iter_.max())
        self.passes += 2 * iterations
        return Solution(C, coefficients, evaluations=iterations, passes=2 * iterations)

    def _weights(self) -> NDArray[np.float64] | None:
        """Sample weights whose sum is the problem's, as scikit-learn's objective sums where ours takes the mean."""
        problem = self._problem
        if problem.weights is None:
            alike = problem.total_weight / problem.rows
            return None if alike == 1 else np.full(problem.rows, alike)
        return problem.weights * (problem.total_weight / problem.rows)

    def _tolerance(self, C: float, goal: Goal) -> float:
        """The largest entry of the mean loss's gradient at which ‖∇_W f‖² / 2λ is about the gap asked for."""
        norm = math.sqrt(2 * self._problem.penalty(C) * goal.gap_nats)
        return norm / math.sqrt(len(self._problem.classes) * self._problem.width)


ENGINE = SklearnEngine()
