"""The one entry point: fit a probe, for one C or a path of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

import numpy as np

from solvers import engines
from solvers.backend import NUMPY
from solvers.certificate import Certifier
from solvers.errors import ProblemError
from solvers.path import Plan, follow
from solvers.problem import check_strength, pose
from solvers.result import Fit, Path, Status
from solvers.rows import Columns, as_source, draw_columns, flat_width
from solvers.validation import Validation
from solvers.weights import row_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from solvers.certificate import Certificate
    from solvers.engines import Choice
    from solvers.path import Followed, Point
    from solvers.problem import Problem
    from solvers.rows import RowSource

__all__ = ["FitProgress", "Settings", "certify", "fit"]


class Settings(TypedDict, total=False):
    """What :func:`fit` takes besides rows, labels and C, for type checkers; the meanings are stated there."""

    sample_weight: ArrayLike | None
    validation: tuple[RowSource | ArrayLike, ArrayLike] | None
    scale: bool
    engine: str
    gap_nats: float
    seed: int
    warm_start: Fit | None
    full_path: bool
    random_features: int | None
    class_weight: Mapping[Any, float] | str | None
    memory_bytes: int | None
    device: str | None
    progress: Callable[[FitProgress], None] | None


@dataclass(frozen=True)
class FitProgress:
    """How far a fit is: ``done`` of ``total`` columns (one per C and target), and the worst gap certified so far."""

    done: int
    total: int
    worst_gap_nats: float
    passes: int


@overload
def fit(
    activations: RowSource | ArrayLike, labels: ArrayLike, *, C: float = 1.0, **settings: Unpack[Settings]
) -> Fit: ...


@overload
def fit(
    activations: RowSource | ArrayLike,
    labels: ArrayLike,
    *,
    C: Sequence[float] | NDArray[Any],
    **settings: Unpack[Settings],
) -> Path: ...


def fit(
    activations: RowSource | ArrayLike,
    labels: ArrayLike | Mapping[Any, ArrayLike],
    *,
    C: float | Sequence[float] | NDArray[Any] = 1.0,
    sample_weight: ArrayLike | None = None,
    validation: tuple[RowSource | ArrayLike, ArrayLike] | None = None,
    scale: bool = False,
    engine: str = "auto",
    gap_nats: float = 1e-5,
    seed: int = 0,
    warm_start: Fit | None = None,
    full_path: bool = False,
    random_features: int | None = None,
    class_weight: Mapping[Any, float] | str | None = None,
    memory_bytes: int | None = None,
    device: str | None = None,
    progress: Callable[[FitProgress], None] | None = None,
) -> Any:
    """Fit a linear probe softmax(h W + b) and certify how far its loss is from the optimum.

    ``1/S Σ s_i CE(softmax(h_i W + b), y_i) + ‖W‖² / (2 C S)``, S = Σ s_i: scikit-learn's objective, the intercept
    not penalised; two classes as scikit-learn has them (this formula at C/2). DESIGN section 5.

    Args:
        activations: (rows, *features), an array or anything that reads like one; features are flattened.
        labels: (rows,) of any type that sorts. Rows masked in a NumPy masked array are skipped and counted.
        C: inverse strength of the penalty; several give a path, solved from strong to weak penalty.
        sample_weight: (rows,), s_i.
        validation: (activations, labels) to choose C by: the smallest mean cross-entropy wins, ties go to the
            smaller C, and the path stops once it has risen for two points. Of no effect for one C.
        scale: take the penalty in columns of unit standard deviation (weighted, population).
        engine: "auto", or the name of one, which must then work here.
        gap_nats: certified distance from the optimum, in nats per row; with validation that of the chosen C,
            while those it is compared with need 1e-3.
        seed: for ``random_features``.
        warm_start: a fit of the same width and classes to start from.
        full_path: try every C, whatever validation says.
        random_features: fit on this many columns, drawn without replacement; the others get weight 0.
        class_weight: None, "balanced", or weights by label; :func:`solvers.weights.row_weights` has the formula.

    Returns:
        A :class:`Fit` for one C, a :class:`Path` for several, in the order given.

    Raises:
        ProblemError: what was given does not make a problem; the message says what to change.
        EngineError: the engine asked for does not exist or does not work here.
    """
    if isinstance(labels, Mapping):
        rest = {
            "C": C,
            "scale": scale,
            "engine": engine,
            "gap_nats": gap_nats,
            "seed": seed,
            "full_path": full_path,
            "random_features": random_features,
            "class_weight": class_weight,
        }
        return {
            name: fit(
                activations,
                each,
                **rest,
                sample_weight=sample_weight[name] if isinstance(sample_weight, Mapping) else sample_weight,
                warm_start=None if warm_start is None else warm_start[name],
                validation=None if validation is None else (validation[0], validation[1][name]),
            )
            for name, each in labels.items()
        }
    began = time.perf_counter()
    asked = _asked(C, gap_nats)
    source, columns = _view(activations, random_features, seed)
    weights = row_weights(labels, class_weight, sample_weight)
    problem = pose(_selected(source, columns), labels, weights, scale=scale)
    choice = engines.choose(engine, problem, len(set(asked)))
    plan = Plan(
        solver=choice.engine.prepare(problem),
        gap_nats=gap_nats,
        began=began,
        finisher=None if choice.finisher is None else partial(choice.finisher.prepare, problem),
        validation=None if np.ndim(C) == 0 else _validation(validation, problem, columns),
        full_path=full_path,
        start=None if warm_start is None else _start(warm_start, problem, columns),
    )
    followed = follow(problem, sorted(set(asked)), plan)
    path = _Form(problem, choice, flat_width(source), columns).path(asked, followed, began)
    return path[0] if np.ndim(C) == 0 else path


@dataclass(frozen=True)
class _Form:
    """How points of a problem become fits that act on raw activations of the full width."""

    problem: Problem
    choice: Choice
    width: int
    columns: NDArray[np.int64] | None

    def path(self, asked: list[float], followed: Followed, began: float) -> Path:
        """The fits of every C asked for, in that order."""
        tried = {point.C: point for point in followed.points}
        return Path(
            fits=tuple(self.fit(tried[c]) if c in tried else self.not_fitted(c) for c in asked),
            validation_cross_entropy=np.array([tried[c].validation if c in tried else np.nan for c in asked]),
            best_index=None if followed.best is None else asked.index(followed.best.C),
            passes=followed.passes,
            seconds=time.perf_counter() - began,
        )

    def fit(self, point: Point) -> Fit:
        """The fit of a point that was solved."""
        coefficients = point.certificate.coefficients
        weights = (coefficients[:, :-1] / self.problem.scale).T
        engine, reason = self._engine(point)
        return Fit(
            weights=self._spread(weights, 0.0),
            bias=coefficients[:, -1] - self.problem.mean @ weights,
            status=Status.GAP_MISSED if point.missed else Status.CONVERGED,
            gap_nats=point.certificate.gap_nats,
            loss=point.certificate.loss,
            engine=engine,
            engine_reason=reason,
            evaluations=point.evaluations,
            passes=point.passes,
            seconds=point.seconds,
            **self._common(point.C),
        )

    def not_fitted(self, C: float) -> Fit:
        """The fit of a C that the path did not come to: NaN, and said to be so."""
        classes = len(self.problem.classes)
        return Fit(
            weights=np.broadcast_to(np.nan, (self.width, classes)),
            bias=np.full(classes, np.nan),
            status=Status.NOT_FITTED,
            gap_nats=np.inf,
            loss=np.nan,
            engine=self.choice.engine.name,
            engine_reason=self.choice.reason,
            evaluations=0,
            passes=0,
            seconds=0.0,
            **self._common(C),
        )

    def _engine(self, point: Point) -> tuple[str, str]:
        first, finisher = self.choice.engine.name, self.choice.finisher
        if not point.finished or finisher is None:
            return first, self.choice.reason
        taken_over = f"{first} missed the gap, so {finisher.name} finished from there"
        return finisher.name, f"{self.choice.reason}; {taken_over}"

    def _common(self, C: float) -> dict[str, Any]:
        return {
            "classes": self.problem.classes,
            "C": C,
            "mean": self._spread(self.problem.mean, 0.0),
            "scale": self._spread(self.problem.scale, np.inf),
            "rows": self.problem.rows,
            "unlabelled": self.problem.unlabelled,
        }

    def _spread(self, values: NDArray[np.float64], elsewhere: float) -> NDArray[np.float64]:
        """Values per column fitted on, as values per column of the full width."""
        if self.columns is None:
            return values
        full = np.full((self.width, *values.shape[1:]), elsewhere)
        full[self.columns] = values
        return full


def _asked(C: float | Sequence[float] | NDArray[Any], gap_nats: float) -> list[float]:
    asked = [check_strength(c) for c in np.atleast_1d(np.asarray(C, dtype=np.float64))]
    if not asked:
        msg = "no C was given; expected at least one positive number"
        raise ProblemError(msg)
    if not gap_nats > 0:
        msg = f"gap_nats is {gap_nats}; expected a positive number of nats, such as 1e-5"
        raise ProblemError(msg)
    return asked


def _view(
    activations: RowSource | ArrayLike, random_features: int | None, seed: int
) -> tuple[RowSource, NDArray[np.int64] | None]:
    """The rows, and which of their columns are looked at, ascending; None where all are."""
    source = as_source(activations)
    return source, draw_columns(flat_width(source), random_features, seed)


def _selected(source: RowSource, columns: NDArray[np.int64] | None) -> RowSource:
    return source if columns is None else Columns(source, columns)


def _validation(
    given: tuple[RowSource | ArrayLike, ArrayLike] | None, problem: Problem, columns: NDArray[np.int64] | None
) -> Validation | None:
    if given is None:
        return None
    activations, labels = given
    return Validation.of(_selected(as_source(activations), columns), labels, problem)


def _start(warm_start: Fit, problem: Problem, columns: NDArray[np.int64] | None) -> NDArray[np.float64]:
    """Coefficients (classes, width + 1) of an earlier fit in a problem's scaled coordinates."""
    weights = warm_start.weights if columns is None else warm_start.weights[columns]
    if weights.shape[0] != problem.width or not np.array_equal(warm_start.classes, problem.classes):
        msg = (
            f"the warm start has {weights.shape[0]:,} features and {len(warm_start.classes)} classes; expected the "
            f"{problem.width:,} features and the same {len(problem.classes)} classes as the rows to fit"
        )
        raise ProblemError(msg)
    return _scaled(weights, warm_start.bias, problem)


def certify(
    activations: RowSource | ArrayLike,
    labels: ArrayLike,
    weights: NDArray[Any],
    bias: NDArray[Any],
    *,
    C: float = 1.0,
    sample_weight: ArrayLike | None = None,
    scale: bool = False,
) -> Certificate:
    """Bound how far a probe of anyone's is from the optimum of :func:`fit`'s objective.

    Args:
        weights, bias: (width, classes) and (classes,), for raw activations, classes in sorted order. Of
            scikit-learn's one vector v for two classes they are (-v/2, v/2).
        activations, labels, C, sample_weight, scale: as :func:`fit` takes them.

    Returns:
        The :class:`Certificate`, at the best intercept for these weights.

    Raises:
        ProblemError: as :func:`fit` does, and where the weights do not fit the rows and classes.
    """
    problem = pose(activations, labels, sample_weight, scale=scale)
    expected = (problem.width, len(problem.classes))
    if np.shape(weights) != expected or np.shape(bias) != expected[1:]:
        msg = f"weights {np.shape(weights)} and bias {np.shape(bias)}; expected {expected} and {expected[1:]}"
        raise ProblemError(msg)
    (certificate,) = Certifier(problem, NUMPY).certify([_scaled(weights, bias, problem)], [check_strength(C)])
    return certificate


def _scaled(weights: NDArray[Any], bias: NDArray[Any], problem: Problem) -> NDArray[np.float64]:
    """Coefficients (classes, width + 1) in a problem's scaled coordinates of a probe for raw activations."""
    scale = np.where(np.isfinite(problem.scale), problem.scale, 0.0)
    return np.column_stack([weights.T * scale, bias + problem.mean @ weights])
