"""The one entry point: fit a probe, for one C or a path of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, Unpack, overload

import numpy as np

from solvers.engines import choice as engines
from solvers.errors import ProblemError
from solvers.fitting.path import PathPlan, PathProblem, follow
from solvers.fitting.result import FitProgress
from solvers.fitting.to_fit import ToFit
from solvers.fitting.validation import Validation
from solvers.linear_map import LinearMap
from solvers.problem import check_strength, pose_together
from solvers.rows import Columns, as_source, draw_columns, flat_width
from solvers.weights import row_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from solvers.fitting.result import Fit, FitPath
    from solvers.problem import Problem
    from solvers.rows import RowSource

__all__ = ["FitProgress", "FittedWeights", "Settings", "fit"]


class Settings(TypedDict, total=False):
    """What :func:`fit` takes besides rows, labels and C, for type checkers; the meanings are stated there."""

    sample_weight: ArrayLike | Mapping[Any, ArrayLike] | None
    class_weight: Mapping[Any, float] | str | None
    validation: tuple[RowSource | ArrayLike, ArrayLike | Mapping[Any, ArrayLike]] | None
    scale: bool
    engine: str
    device: str | None
    gap_nats: float
    seed: int
    warm_start: FittedWeights | Mapping[Any, FittedWeights | None] | None
    full_path: bool
    random_features: int | None
    memory_bytes: int | None
    progress: Callable[[FitProgress], None] | None


class FittedWeights(Protocol):
    """What a fit can start from: a :class:`Fit`, a probe, or anything with weights for the same columns and classes."""

    @property
    def weights(self) -> NDArray[Any]:
        """(width, classes), for raw activations."""
        ...

    @property
    def bias(self) -> NDArray[Any]:
        """(classes,)."""
        ...

    @property
    def classes(self) -> NDArray[Any]:
        """Labels in sorted order."""
        ...


@overload
def fit(
    activations: RowSource | ArrayLike,
    labels: Mapping[Any, ArrayLike],
    *,
    C: float = 1.0,
    **settings: Unpack[Settings],
) -> dict[Any, Fit]: ...


@overload
def fit(
    activations: RowSource | ArrayLike,
    labels: Mapping[Any, ArrayLike],
    *,
    C: Sequence[float] | NDArray[Any],
    **settings: Unpack[Settings],
) -> dict[Any, FitPath]: ...


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
) -> FitPath: ...


def fit(
    activations: RowSource | ArrayLike,
    labels: ArrayLike | Mapping[Any, ArrayLike],
    *,
    C: float | Sequence[float] | NDArray[Any] = 1.0,
    **settings: Unpack[Settings],
) -> Any:
    """Fit a linear probe softmax(h W + b) and certify how far its loss is from the optimum.

    ``1/S Σ s_i CE(softmax(h_i W + b), y_i) + ‖W‖² / (2 C S)``, S = Σ s_i: scikit-learn's objective, the intercept
    not penalised; two classes as scikit-learn has them (this formula at C/2). DESIGN section 5.

    Args:
        activations: (rows, *features), an array or anything that reads like one; features are flattened.
        labels: (rows,) of any type that sorts. Rows masked in a NumPy masked array are skipped and counted. A dict
            of labels fits a probe for each, all in the same passes over the rows: several targets, or one with other
            rows masked in each (folds, seeds).
        C: inverse strength of the penalty; several give a path, solved from strong to weak penalty. inf is no
            penalty: then no gap can be proven, and ``gap_nats`` bounds the norm of the gradient (``unpenalised``).
        sample_weight: (rows,), s_i; a dict of them where labels are a dict.
        class_weight: None, "balanced", or weights by label; :func:`solvers.weights.row_weights` has the formula.
        validation: (activations, labels) to choose C by: the smallest mean cross-entropy wins, ties go to the
            smaller C, and the path stops once it has risen for two points. Of no effect for one C. Labels are a
            dict where those to fit are.
        scale: take the penalty in columns of unit standard deviation (weighted, population).
        engine: "auto", or the name of one, which must then work here.
        device: "cpu", "cuda", or "cuda:N" for one of several GPUs; None takes what is there.
        gap_nats: certified distance from the optimum, in nats per row; with validation that of the chosen C,
            while those it is compared with need 1e-3.
        seed: for ``random_features``.
        warm_start: a fit of the same width and classes to start from; where labels are a dict, a dict of those
            that do not start cold.
        full_path: try every C, whatever validation says.
        random_features: fit on this many columns, drawn without replacement; the others get weight 0.
        memory_bytes: what rows and work may take, on the GPU where it fits: rows that do not fit half of it are
            streamed from their source on every pass, with the same result. None takes half of what is free.
        progress: called with a :class:`FitProgress` as points are certified.

    Returns:
        A :class:`Fit` for one C, a :class:`Path` for several, in the order given; a dict of them for a dict of labels.

    Raises:
        ProblemError: what was given does not make a problem; the message says what to change.
        EngineError: the engine asked for does not exist or does not work here.
    """
    return _fit(activations, labels, C, **settings)


def _fit(
    activations: RowSource | ArrayLike,
    labels: ArrayLike | Mapping[Any, ArrayLike],
    C: float | Sequence[float] | NDArray[Any],
    *,
    sample_weight: Any = None,
    class_weight: Mapping[Any, float] | str | None = None,
    validation: tuple[RowSource | ArrayLike, Any] | None = None,
    scale: bool = False,
    engine: str = "auto",
    device: str | None = None,
    gap_nats: float = 1e-5,
    seed: int = 0,
    warm_start: Any = None,
    full_path: bool = False,
    random_features: int | None = None,
    memory_bytes: int | None = None,
    progress: Callable[[FitProgress], None] | None = None,
) -> Any:
    began = time.perf_counter()
    asked = _asked(C, gap_nats, memory_bytes)
    several = isinstance(labels, Mapping)
    by_name: dict[Any, Any] = dict(labels) if isinstance(labels, Mapping) else {None: labels}
    names = list(by_name)
    if not names:
        msg = "labels are an empty dict; give labels for one target at least"
        raise ProblemError(msg)
    source, columns = _view(activations, random_features, seed)
    weights = [row_weights(by_name[name], class_weight, _of(sample_weight, name)) for name in names]
    problems = pose_together(
        _selected(source, columns), [by_name[name] for name in names], weights, scale=scale
    )
    choice = engines.choose(engine, problems[0], len(set(asked)) * len(names), device)
    tracks = []
    for name, problem in zip(names, problems, strict=True):
        start = warm_start.get(name) if isinstance(warm_start, Mapping) else warm_start
        choosing = None if validation is None or np.ndim(C) == 0 else (validation[0], _of(validation[1], name))
        tracks.append(
            PathProblem(
                problem,
                _validation(choosing, problem, columns),
                None if start is None else _start(start, problem, columns),
            )
        )
    plan = PathPlan(
        solver=choice.engine.prepare(problems, memory_bytes),
        gap_nats=gap_nats,
        began=began,
        finisher=None if choice.finisher is None else partial(choice.finisher.prepare, problems, memory_bytes),
        full_path=full_path,
        progress=progress,
    )
    found, walk = follow(tracks, sorted(set(asked)), plan)
    paths = [
        ToFit(problem, choice, flat_width(source), columns, walk.passes, walk.bytes_read).path(
            asked, each, began
        )
        for problem, each in zip(problems, found, strict=True)
    ]
    fitted = {name: path[0] if np.ndim(C) == 0 else path for name, path in zip(names, paths, strict=True)}
    return fitted if several else fitted[None]


def _of(given: Any, name: Any) -> Any:
    """What was given for one target: its own where there is a dict of them."""
    if not isinstance(given, Mapping):
        return given
    if name not in given:
        msg = f"what was given by target has nothing for {name!r}; it has {', '.join(map(repr, given)) or 'nothing'}"
        raise ProblemError(msg)
    return given[name]


def _asked(C: float | Sequence[float] | NDArray[Any], gap_nats: float, memory_bytes: int | None) -> list[float]:
    asked = [check_strength(c) for c in np.atleast_1d(np.asarray(C, dtype=np.float64))]
    if not asked:
        msg = "no C was given; expected at least one positive number"
        raise ProblemError(msg)
    if not gap_nats > 0:
        msg = f"gap_nats is {gap_nats}; expected a positive number of nats, such as 1e-5"
        raise ProblemError(msg)
    if memory_bytes is not None and not memory_bytes > 0:
        msg = f"memory_bytes is {memory_bytes}; expected a positive number of bytes, such as 2 * 10**9"
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


def _start(
    warm_start: FittedWeights, problem: Problem, columns: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    """Coefficients (classes, width + 1) of an earlier fit in a problem's scaled coordinates."""
    start = _map_of(warm_start).of_columns(columns)
    weights = start.weights
    if weights.shape[0] != problem.width or not np.array_equal(warm_start.classes, problem.classes):
        msg = (
            f"the warm start has {weights.shape[0]:,} features and {len(warm_start.classes)} classes; expected the "
            f"{problem.width:,} features and the same {len(problem.classes)} classes as the rows to fit"
        )
        raise ProblemError(msg)
    return problem.coefficients(weights, start.intercept, start.mean)


def _map_of(warm_start: FittedWeights) -> LinearMap:
    """The map of what a fit starts from, with the centred intercept where it has one."""
    found = getattr(warm_start, "map", warm_start)
    return found if isinstance(found, LinearMap) else LinearMap.raw(warm_start.weights, warm_start.bias)
