"""How solved points become fits that act on raw activations of the full width."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.fitting.result import Fit, FitPath, Status
from solvers.rows import at_full_width

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solvers.arrays import Array
    from solvers.engines.choice import Choice
    from solvers.fitting.path import Point, SolvedPath
    from solvers.problem.problem import Problem

__all__ = ["ToFit"]


@dataclass(frozen=True)
class ToFit:
    """How points of a problem become fits that act on raw activations of the full width."""

    problem: Problem
    choice: Choice
    width: int
    columns: NDArray[np.int64] | None
    passes: int
    bytes_read: int

    def path(self, asked: list[float], followed: SolvedPath, began: float) -> FitPath:
        """The fits of every C asked for, in that order."""
        tried = {point.C: point for point in followed.points}
        return FitPath(
            fits=tuple(self.fit(tried[c]) if c in tried else self.not_fitted(c) for c in asked),
            validation_cross_entropy=np.array([tried[c].validation if c in tried else np.nan for c in asked]),
            best_index=None if followed.best is None else asked.index(followed.best.C),
            passes=self.passes,
            seconds=time.perf_counter() - began,
            bytes_read=self.bytes_read,
        )

    def fit(self, point: Point) -> Fit:
        """The fit of a point that was solved."""
        coefficients = point.certificate.coefficients
        weights = (coefficients[:, :-1] / self.problem.scale).T
        engine, reason = self._engine(point)
        return Fit(
            weights=_kept(self._spread(weights, 0.0)),
            intercept=_kept(coefficients[:, -1]),
            status=_status(point),
            gap_nats=point.certificate.gap_nats,
            loss=point.certificate.loss,
            gradient_norm=point.certificate.gradient_norm,
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
            intercept=np.full(classes, np.nan),
            status=Status.NOT_FITTED,
            gap_nats=np.inf,
            loss=np.nan,
            gradient_norm=np.nan,
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
            "classes": _kept(self.problem.classes),
            "C": C,
            "mean": _kept(self._spread(self.problem.mean, 0.0)),
            "scale": _kept(self._spread(self.problem.scale, np.inf)),
            "rows": self.problem.rows,
            "unlabelled": self.problem.unlabelled,
            "bytes_read": self.bytes_read,
        }

    def _spread(self, values: NDArray[np.float64], elsewhere: float) -> NDArray[np.float64]:
        return at_full_width(values, self.columns, self.width, elsewhere)


def _kept(values: Array) -> Array:
    """A view that cannot be written to: a probe whose numbers were changed is not the one that was certified."""
    view = values.view()
    view.flags.writeable = False
    return view


def _status(point: Point) -> Status:
    if point.missed:
        return Status.INTERRUPTED if point.interrupted else Status.GAP_MISSED
    return Status.UNPENALISED if np.isinf(point.C) else Status.CONVERGED
