"""Solvers of one problem at one C: ours and everybody else's, each with the one number that says how hard it tries.

For ours it is the gap in nats, for the others the largest entry of the gradient of the mean loss at which they stop
(scikit-learn's ``tol``, torch's ``tolerance_grad``: the same quantity), None for their default settings.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from solver_problems import Problem

CHOLESKY_COEFFICIENTS = 4_000
"""Classes times width up to which newton-cholesky is tried: its Hessian has the square of that in float64 (128 MB)."""
OURS = "actstore"


@dataclass(frozen=True)
class Fitted:
    """A probe softmax(h W + b) for raw rows; ``evaluations`` are iterations where a peer tells no more than that."""

    weights: NDArray[Any]
    bias: NDArray[Any]
    evaluations: int


@dataclass(frozen=True)
class Variant:
    """One way of calling one solver; ``family`` is the solver, of whose variants the quickest counts."""

    family: str
    setting: str
    fit: Callable[[Problem, float, float | None], Fitted]
    package: str = "solvers"
    small_only: bool = False

    @property
    def likely(self) -> bool:
        """Whether it has often been the quickest of its family."""
        return "raw" not in self.setting and "history 100" not in self.setting

    def refuses(self, width: int, classes: int) -> str | None:
        """Why it cannot be tried on a problem of that size here, or None."""
        if find_spec(self.package) is None:
            return f"{self.package} is not installed"
        if self.small_only and width * classes > CHOLESKY_COEFFICIENTS:
            return f"{width:,} x {classes} coefficients, over {CHOLESKY_COEFFICIENTS:,}"
        return None


def _prepared(problem: Problem, dtype: str, centred: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """The rows as a variant wants them, and what was subtracted from them."""
    rows = problem.activations
    mean = rows.mean(axis=0, dtype=np.float64) if centred else np.zeros(rows.shape[1])
    x = rows.astype(dtype, copy=False)
    return (x - mean.astype(dtype) if centred else x), mean.astype(dtype).astype(np.float64)


def _ours(engine: str, problem: Problem, C: float, gap_nats: float | None) -> Fitted:
    import solvers

    asked = {} if gap_nats is None else {"gap_nats": gap_nats}
    fit = solvers.fit(problem.activations, problem.labels, C=C, engine=engine, **asked)
    return Fitted(fit.weights, fit.bias, fit.evaluations)


def _sklearn(
    solver: str, kind: tuple[str, bool, bool], problem: Problem, C: float, tolerance: float | None
) -> Fitted:
    from sklearn.linear_model import LogisticRegression

    dtype, centred, one_thread = kind
    harder = {} if tolerance is None else {"tol": tolerance, "max_iter": 1_000_000}
    model = LogisticRegression(C=C, solver=solver, **harder)
    x, mean = _prepared(problem, dtype, centred)
    with warnings.catch_warnings(), threadpool_limits(1 if one_thread else None):
        warnings.simplefilter("ignore")  # whether it converged is the certificate's to say
        model.fit(x, problem.labels)
    weights, bias = two_columns(model.coef_, model.intercept_)
    return Fitted(weights, bias - mean @ weights, int(model.n_iter_.max()))


def two_columns(coef: NDArray[Any], intercept: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """scikit-learn's coefficients as weights (width, classes) and bias; its one vector v for two as (-v/2, v/2)."""
    weights, bias = coef.T.astype(np.float64), intercept.astype(np.float64)
    if weights.shape[1] == 1:
        weights, bias = weights * [-0.5, 0.5], bias * [-0.5, 0.5]
    return weights, bias


def _torch(kind: tuple[str, bool, bool, int], problem: Problem, C: float, tolerance: float | None) -> Fitted:
    import torch

    dtype, centred, one_thread, history = kind
    torch.set_num_threads(1 if one_thread else os.cpu_count() or 1)
    rows, mean = _prepared(problem, dtype, centred)
    x, y = torch.from_numpy(rows), torch.from_numpy(problem.labels)
    a = torch.zeros((problem.classes, x.shape[1]), dtype=x.dtype, requires_grad=True)
    b = torch.zeros(problem.classes, dtype=x.dtype, requires_grad=True)
    penalty = 1 / ((C / 2 if problem.classes == 2 else C) * len(x))
    harder = {} if tolerance is None else _torch_settings(dtype, history, tolerance)
    optimiser = torch.optim.LBFGS([a, b], **harder)
    evaluations = 0

    def closure() -> Any:
        nonlocal evaluations
        evaluations += 1
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(torch.nn.functional.linear(x, a, b), y)
        loss = loss + 0.5 * penalty * a.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    weights = a.detach().numpy().T.astype(np.float64)
    return Fitted(weights, b.detach().numpy().astype(np.float64) - mean @ weights, evaluations)


def _torch_settings(dtype: str, history: int, tolerance: float) -> dict[str, Any]:
    return {
        "max_iter": 1_000_000,
        "max_eval": 2_000_000,
        "tolerance_grad": tolerance,
        # Of loss and step: in float32 nothing below the default is seen, and without one it would run for ever.
        "tolerance_change": 1e-9 if dtype == "float32" else 1e-15,
        "history_size": history,
        "line_search_fn": "strong_wolfe",
    }


def first_tolerance(gap_nats: float, C: float, rows: int, width: int, classes: int) -> float:
    """A gradient's largest entry at which the gap, |gradient|² C rows / 2, may be that: five times the surest."""
    effective = C / 2 if classes == 2 else C
    return 5 * sqrt(2 * gap_nats / (effective * rows)) / sqrt(classes * width)


def _name(dtype: str, centred: bool, one_thread: bool = False) -> str:
    return f"{dtype} {'centred' if centred else 'raw'}{', one BLAS thread' if one_thread else ''}"


_DTYPES = ("float64", "float32")
_SKLEARN_KINDS = [
    # Waking the cores takes longer than products of a few megabytes do.
    *((dtype, True, one_thread) for dtype in _DTYPES for one_thread in (True, False)),
    *((dtype, False, False) for dtype in _DTYPES),
]
_TORCH_KINDS = [(*kind, history) for kind in _SKLEARN_KINDS for history in (20, 100)]
LBFGS, NEWTON_CG, CHOLESKY, TORCH = (
    "sklearn lbfgs",
    "sklearn newton-cg",
    "sklearn newton-cholesky",
    "torch LBFGS",
)
VARIANTS: tuple[Variant, ...] = (
    Variant(OURS, "numpy", partial(_ours, "numpy")),
    *(
        Variant(
            solver,
            _name(*kind),
            partial(_sklearn, solver.split()[1], kind),
            "sklearn",
            small_only=solver == CHOLESKY,
        )
        for solver in (LBFGS, NEWTON_CG, CHOLESKY)
        for kind in _SKLEARN_KINDS
    ),
    *(
        Variant(TORCH, f"{_name(*kind[:3])}, history {kind[3]}", partial(_torch, kind), "torch")
        for kind in _TORCH_KINDS
    ),
)
DEFAULT_SETTING = {family: _name("float32", False) for family in (LBFGS, NEWTON_CG, CHOLESKY)} | {
    TORCH: f"{_name('float32', False)}, history 100"
}
"""What each peer makes of the rows as they are given: the variant whose default settings are measured."""
FAMILIES = tuple(DEFAULT_SETTING)


def variant(family: str, setting: str) -> Variant:
    """The variant of a family and setting."""
    return next(each for each in VARIANTS if (each.family, each.setting) == (family, setting))
