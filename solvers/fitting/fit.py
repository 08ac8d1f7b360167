"""The one entry point: fit a probe, for one C or a path of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, Unpack, overload

import numpy as np

from solvers.arrays import NUMPY
from solvers.engines import choice as engines
from solvers.errors import ProblemError
from solvers.fitting.path import PathPlan, PathProblem, follow
from solvers.fitting.result import FitInterrupted, FitProgress
from solvers.fitting.settings import FitKeywords, FitSettings, takes_settings
from solvers.fitting.to_fit import ToFit
from solvers.fitting.validation import Validation
from solvers.given import refuse_other_rows
from solvers.linear_map import LinearMap
from solvers.printable.named import ByName
from solvers.printable.progress import shown
from solvers.problem.problem import check_strength, pose_together, read_strengths
from solvers.problem.weights import row_weights
from solvers.rows import Columns, RowSource, as_source, at_hand, draw_columns, flat_width
from solvers.workers.threads import at_most

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from solvers.arrays import Array
    from solvers.fitting.path import SolvedPath
    from solvers.fitting.result import Fit, FitPath
    from solvers.problem.problem import Problem

__all__ = ["FitInputs", "FittedWeights", "fit"]


class FitInputs(FitKeywords, total=False):
    """What :func:`fit` takes by keyword besides C, for type checkers: per target and per call, then the settings."""

    sample_weight: ArrayLike | Mapping[Any, ArrayLike] | None
    validation: tuple[RowSource | ArrayLike, ArrayLike | Mapping[Any, ArrayLike]] | None
    warm_start: FittedWeights | Mapping[Any, FittedWeights | None] | None
    progress: bool | Callable[[FitProgress], None] | None


class FittedWeights(Protocol):
    """What a fit can start from: a :class:`Fit`, a probe, or anything with weights for the same columns and classes."""

    @property
    def weights(self) -> Array:
        """(width, classes), for raw activations."""
        ...

    @property
    def bias(self) -> Array:
        """(classes,)."""
        ...

    @property
    def classes(self) -> Array:
        """Labels in sorted order."""
        ...


@overload
def fit(
    activations: RowSource | ArrayLike,
    labels: Mapping[Any, ArrayLike],
    *,
    C: float = 1.0,
    **settings: Unpack[FitInputs],
) -> dict[Any, Fit]: ...


@overload
def fit(
    activations: RowSource | ArrayLike,
    labels: Mapping[Any, ArrayLike],
    *,
    C: Sequence[float] | Array,
    **settings: Unpack[FitInputs],
) -> dict[Any, FitPath]: ...


@overload
def fit(
    activations: RowSource | ArrayLike, labels: ArrayLike, *, C: float = 1.0, **settings: Unpack[FitInputs]
) -> Fit: ...


@overload
def fit(
    activations: RowSource | ArrayLike,
    labels: ArrayLike,
    *,
    C: Sequence[float] | Array,
    **settings: Unpack[FitInputs],
) -> FitPath: ...


@takes_settings()
def fit(
    activations: RowSource | ArrayLike,
    labels: ArrayLike | Mapping[Any, ArrayLike],
    *,
    C: float | Sequence[float] | Array = 1.0,
    sample_weight: ArrayLike | Mapping[Any, ArrayLike] | None = None,
    validation: tuple[RowSource | ArrayLike, ArrayLike | Mapping[Any, ArrayLike]] | None = None,
    warm_start: FittedWeights | Mapping[Any, FittedWeights | None] | None = None,
    progress: bool | Callable[[FitProgress], None] | None = None,
    **settings: Unpack[FitKeywords],
) -> Any:
    """Fit a linear probe softmax(h W + b) and certify how far its loss is from the optimum.

    ``1/S Σ s_i CE(softmax(h_i W + b), y_i) + ‖W‖² / (2 C S)``, S = Σ s_i: scikit-learn's objective, the intercept
    not penalised; two classes as scikit-learn has them (this formula at C/2).

    Args:
        activations: (rows, *features), an array or anything that reads like one; features are flattened.
        labels: (rows,) of any type that sorts. Rows that are masked, NaN, NaT or None are skipped and counted. A dict
            of labels fits a probe for each, all in the same passes over the rows: several targets, or one with other
            rows masked in each (folds, seeds). A pandas index must be that of the activations, or 0, 1, 2, ... beside
            an array.
        C: inverse strength of the penalty; several give a path, solved from strong to weak penalty. inf is no
            penalty: then no gap can be proven, and ``gap_nats`` bounds the norm of the gradient (``unpenalised``).
        sample_weight: (rows,), s_i; a dict of them where labels are a dict.
        validation: (activations, labels) to choose C by: the smallest mean cross-entropy wins, ties go to the
            smaller C, and the path stops once it has risen for two points. Of no effect for one C. Labels are a
            dict where those to fit are.
        warm_start: a fit of the same width and classes to start from; where labels are a dict, a dict of those
            that do not start cold.
        progress: True shows a line on stderr; or a function that is called with a :class:`FitProgress` as points are
            certified.
        settings: the fields of :class:`~solvers.fitting.settings.FitSettings`, where they are explained.

    Returns:
        A :class:`Fit` for one C, a :class:`FitPath` for several, in the order given; a dict of them for a dict of
        labels.

    Raises:
        ProblemError: what was given does not make a problem; the message says what to change.
        EngineError: the engine asked for does not exist or does not work here.
        TypeError: a keyword that there is not; the message names the nearest.
        FitInterrupted: on Ctrl-C, with what was reached by then in its ``result``.
    """
    _refuse_other_rows(activations, "", {"labels": labels, "sample weights": sample_weight})
    if validation is not None:
        _refuse_other_rows(validation[0], "validation ", {"labels": validation[1]})
    line = shown(progress)
    by_name: dict[Any, Any] = dict(labels) if isinstance(labels, Mapping) else {None: labels}
    asked = _Asked(
        labels=by_name,
        several=isinstance(labels, Mapping),
        C=_strengths(C),
        one=np.ndim(C) == 0,
        sample_weight=sample_weight,
        validation=validation,
        warm_start=warm_start,
        progress=line.report,
        settings=FitSettings(**settings),
    )
    if not asked.labels:
        msg = "labels are an empty dict; give labels for one target at least"
        raise ProblemError(msg)
    with line, at_most(asked.settings.threads):
        return _fit(as_source(activations), asked)


def _refuse_other_rows(rows: Any, of: str, given: Mapping[str, Any]) -> None:
    """Refuse what is given by row, once or by target, and whose index says that it is of other rows."""
    for what, values in given.items():
        named = values if isinstance(values, Mapping) else {None: values}
        called = {name: f"the {of}{what}" if name is None else f"the {of}{what} of {name!r}" for name in named}
        refuse_other_rows(rows, {called[name]: each for name, each in named.items()})


@dataclass(frozen=True)
class _Asked:
    """What one call of :func:`fit` was given, besides the rows; what is given by target may be a dict, or one for all.

    ``several`` says that labels were a dict; ``one`` that C was a number, so that a fit is wanted and no path.
    """

    labels: dict[Any, ArrayLike]
    several: bool
    C: list[float]
    one: bool
    sample_weight: Any
    validation: tuple[RowSource | ArrayLike, Any] | None
    warm_start: Any
    progress: Callable[[FitProgress], None] | None
    settings: FitSettings

    def shaped(self, paths: Sequence[FitPath]) -> Any:
        """The paths of all targets as they are given back."""
        fitted = {name: path[0] if self.one else path for name, path in zip(self.labels, paths, strict=True)}
        return ByName("target", fitted) if self.several else fitted[None]

    def weights(self, name: Any) -> NDArray[np.float64] | None:
        """The weights of the rows of one target."""
        own = _of(self.sample_weight, name)
        return row_weights(self.labels[name], self.settings.class_weight, own)

    def track(self, name: Any, problem: Problem, columns: NDArray[np.int64] | None) -> PathProblem:
        """One target's problem with the rows to choose its C by, and where it starts."""
        warm = self.warm_start
        start = warm.get(name) if isinstance(warm, Mapping) else warm
        validation = None
        if self.validation is not None and not self.one:
            rows = _selected(as_source(self.validation[0]), columns)
            validation = Validation.of(rows, _of(self.validation[1], name), problem)
        return PathProblem(problem, validation, None if start is None else _start(start, problem, columns))


def _fit(source: RowSource, asked: _Asked) -> Any:
    """A fit, or a path, or those of every target.

    Raises:
        FitInterrupted: on Ctrl-C, with those that there are.
    """
    began, settings = time.perf_counter(), asked.settings
    columns = draw_columns(flat_width(source), settings.feature_subset, settings.seed)
    memory_bytes = NUMPY.free_bytes() if settings.memory_bytes is None else settings.memory_bytes
    problems = pose_together(
        _selected(source, columns),
        list(asked.labels.values()),
        [asked.weights(name) for name in asked.labels],
        scale=settings.scale,
        memory_bytes=memory_bytes,
    )
    strengths = sorted(set(asked.C))
    fits = len(strengths) * len(problems)
    choice = engines.choose(settings.engine, problems[0], fits, settings.device, settings.memory_bytes)
    plan = PathPlan(
        solver=choice.prepare(problems, settings.memory_bytes),
        gap_nats=settings.gap_nats,
        began=began,
        finisher=choice.prepare_finisher(problems, settings.memory_bytes),
        full_path=settings.full_path,
        progress=asked.progress,
    )
    if asked.validation is not None and not asked.one:
        others, by_target = as_source(asked.validation[0]), asked.validation[1]
        same = others is source and columns is None and problems[0].source.shape[0] == source.shape[0]
        asked = replace(
            asked, validation=(problems[0].source if same else at_hand(others, memory_bytes), by_target)
        )
    tracks = [asked.track(*each, columns) for each in zip(asked.labels, problems, strict=True)]
    found, walk = follow(tracks, strengths, plan)

    def results(solved: Sequence[SolvedPath]) -> Any:
        counts = (walk.passes, walk.bytes_read)
        to_fits = [ToFit(problem, choice, flat_width(source), columns, *counts) for problem in problems]
        paths = [to_fit.path(asked.C, one, began) for to_fit, one in zip(to_fits, solved, strict=True)]
        return asked.shaped(paths)

    if walk.interrupted is None:
        return results(found)
    if not walk.begun:
        raise walk.interrupted
    done = f"{walk.finished} of {len(strengths) * len(problems)} fits done"
    msg = f"interrupted with {done}; what was reached by then is the `result` of this exception"
    raise FitInterrupted(msg, lambda: results(walk.left())) from walk.interrupted


def _of(given: Any, name: Any) -> Any:
    """Return what was given for one target: its own where there is a dict of them."""
    if not isinstance(given, Mapping):
        return given
    if name not in given:
        msg = f"what was given by target has nothing for {name!r}; it has {', '.join(map(repr, given)) or 'nothing'}"
        raise ProblemError(msg)
    return given[name]


def _strengths(C: float | Sequence[float] | Array) -> list[float]:
    given = read_strengths(C)
    if not given.size or given.ndim > 1:
        msg = f"no C was given; expected at least one positive number, or several in a row: C has shape {given.shape}"
        raise ProblemError(msg)
    return [check_strength(c) for c in given]


def _selected(source: RowSource, columns: NDArray[np.int64] | None) -> RowSource:
    return source if columns is None else Columns(source, columns)


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
