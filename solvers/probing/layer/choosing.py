"""Every C of one layer's targets fitted, in the same passes over its rows, and one of them chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.fitting.fit import fit
from solvers.fitting.folds import fit_strengths, fold_paths
from solvers.fitting.result import FitPath, Status
from solvers.fitting.selection import best_strength
from solvers.probing.records import Tried
from solvers.probing.settings import TRAIN_ERRORS
from solvers.probing.targets import folds_of, rows_and_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from solvers.fitting.folds import FoldPaths
    from solvers.fitting.result import Fit, FitProgress
    from solvers.linear_map import LinearMap
    from solvers.probing.settings import LayerSettings
    from solvers.probing.task import Task
    from solvers.rows import RowSource

__all__ = ["Chosen", "LayerFit", "by_metric", "end_of_grid", "how_chosen"]


@dataclass(frozen=True)
class Chosen:
    """The fit that was chosen for a target, and what was tried.

    Args:
        fit: the one chosen.
        path: every C that was tried, in the order given, without scores.
        fits: for each C of the path its fits: one; with folds one for each, fitted without it; none where not fitted.
    """

    fit: Fit
    path: tuple[Tried, ...]
    fits: tuple[tuple[Fit, ...], ...]

    @property
    def index(self) -> int:
        """Which C of the path was chosen."""
        return [each.C for each in self.path].index(self.fit.C)

    def start_at(self, C: float) -> LinearMap | None:
        """Return what was fitted at a C, without its first fold where there are folds; None where nothing was."""
        fits = self.fits[[each.C for each in self.path].index(C)]
        return fits[0].map if fits else None

    def at(self, fitted: Fit) -> Chosen:
        """Return the same path with another C chosen, whose fit takes the place of the one that was compared."""
        moved = replace(self, fit=fitted)
        if len(self.fits[moved.index]) > 1:
            return moved
        fits = tuple((fitted,) if n == moved.index else each for n, each in enumerate(self.fits))
        return replace(moved, fits=fits)


@dataclass(frozen=True)
class LayerFit:
    """What the targets of one layer are fitted with: ``rows`` (rows, columns) as they are looked at."""

    rows: RowSource
    settings: LayerSettings
    warm: Mapping[str, LinearMap | None]
    progress: Callable[[FitProgress], None] | None

    def choose(self, tasks: Mapping[str, Task]) -> dict[str, Chosen]:
        """Fit every C for each target; chosen is what cross-entropy prefers, or the weakest where nothing chooses."""
        by_folds = {target: task for target, task in tasks.items() if task.folds is not None}
        others = {target: task for target, task in tasks.items() if task.folds is None}
        return (self._by_rows(others) if others else {}) | (self._by_folds(by_folds) if by_folds else {})

    def fit_at(self, tasks: Mapping[str, Task], strengths: Mapping[str, float]) -> dict[str, Fit]:
        """Fit each target at its C, on all of its training rows."""
        activations, labels = rows_and_labels(self.rows, tasks, "train")
        return fit_strengths(activations, labels, strengths, self._options())

    def _options(self) -> dict[str, Any]:
        warm = {"warm_start": dict(self.warm)} if any(start is not None for start in self.warm.values()) else {}
        return self.settings.fit_options() | {"progress": self.progress} | warm

    def _by_folds(self, tasks: Mapping[str, Task]) -> dict[str, Chosen]:
        """The C that is best over all folds for each target, fitted on all of its training rows."""
        activations, labels = rows_and_labels(self.rows, tasks, "train")
        folds = {target: folds_of(activations.rows, task) for target, task in tasks.items()}
        options = self._options()
        found = fold_paths(activations, labels, folds, self.settings.C, options)
        best = {target: of.best() for target, of in found.items()}
        starts = {target: self.warm.get(target) or of.paths[0][best[target]] for target, of in found.items()}
        strengths = {target: float(of.strengths[best[target]]) for target, of in found.items()}
        fits = fit_strengths(activations, labels, strengths, options | {"warm_start": starts})
        return {
            target: Chosen(fits[target], _tried_by_folds(of), _by_strength(of)) for target, of in found.items()
        }

    def _by_rows(self, tasks: Mapping[str, Task]) -> dict[str, Chosen]:
        """The C that validation rows prefer for each target, all fitted together."""
        options, settings = self._options(), self.settings
        activations, labels = rows_and_labels(self.rows, tasks, "train")
        if len(settings.C) == 1:
            fits = fit(activations, labels, C=settings.C[0], **options)
            paths = {target: _only(found) for target, found in fits.items()}
        else:
            if settings.chooses:
                options["validation"] = rows_and_labels(self.rows, tasks, "val")
            paths = fit(activations, labels, C=settings.C, **options)
        found = {}
        for target, path in paths.items():
            fits = tuple(() if each.status is Status.NOT_FITTED else (each,) for each in path)
            chosen = path.best if settings.chooses else path[int(np.argmax(path.C))]
            found[target] = Chosen(chosen, _tried(path), fits)
        return found


def by_metric(chosen: Chosen, values: NDArray[np.float64], metric: str) -> float:
    """Return the C that is best by what was measured of each of a path (C,)."""
    return chosen.path[best_strength([each.C for each in chosen.path], values.tolist(), metric)].C


def how_chosen(settings: LayerSettings, task: Task, chosen: Chosen) -> dict[str, Any]:
    """Return the record of how C was chosen: that of the rows, by which metric, and where it stands in the grid."""
    if settings.protocol == TRAIN_ERRORS:
        return {**task.chosen, "protocol": TRAIN_ERRORS}
    if not settings.chooses:
        return dict(task.chosen)
    by = {} if settings.select_by == "cross_entropy" else {"select_by": settings.select_by}
    return {**task.chosen, **by, **end_of_grid([each.C for each in chosen.path], chosen.fit.C)}


def end_of_grid(tried: list[float], C: float) -> dict[str, str]:
    """Return ``at_end`` where C is the lowest or highest of several; beyond no penalty there is nothing."""
    low, high = min(tried), max(tried)
    if low == high or np.isinf(C) or C not in (low, high):
        return {}
    return {"at_end": "lowest" if low == C else "highest"}


def _by_strength(found: FoldPaths) -> tuple[tuple[Fit, ...], ...]:
    """The fits of all folds for each C; none where one of them did not come to it."""
    return tuple(
        () if any(one.status is Status.NOT_FITTED for one in each) else tuple(each)
        for each in zip(*found.paths, strict=True)
    )


def _tried_by_folds(found: FoldPaths) -> tuple[Tried, ...]:
    """Each C with its mean over the folds, the largest of their gaps, and what all of them took."""
    return tuple(
        Tried(
            float(each[0].C),
            float(nats),
            max(one.gap_nats for one in each),
            str(next((one.status for one in each if one.status is not Status.CONVERGED), Status.CONVERGED)),
            max(one.passes for one in each),
            max(one.seconds for one in each),
        )
        for each, nats in zip(zip(*found.paths, strict=True), found.cross_entropy(), strict=True)
    )


def _only(found: Fit) -> FitPath:
    """The path of a single C."""
    return FitPath((found,), np.array([np.nan]), 0, found.passes, found.seconds, found.bytes_read)


def _tried(path: FitPath) -> tuple[Tried, ...]:
    return tuple(
        Tried(each.C, float(nats), each.gap_nats, str(each.status), each.passes, each.seconds)
        for each, nats in zip(path, path.validation_cross_entropy, strict=True)
    )
