"""Choose C by folds: fitted without each fold and judged on it, all in the same passes, then fitted on all rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.fitting.fit import fit
from solvers.fitting.path import ROUGH_GAP_NATS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from solvers.fitting.result import Fit, FitPath
    from solvers.rows import RowSource

__all__ = ["FoldPaths", "fit_strengths", "fold_paths"]


@dataclass(frozen=True)
class FoldPaths:
    """The paths of one target, each fitted without one fold of its rows and judged on that fold.

    Args:
        paths: a path for each fold, over the same C in the same order.
        rows: (folds,), how many rows each fold has.
    """

    paths: Sequence[FitPath]
    rows: NDArray[np.int64]

    @property
    def strengths(self) -> NDArray[np.float64]:
        """(C,), as they were given."""
        return np.array([each.C for each in self.paths[0]])

    def cross_entropy(self) -> NDArray[np.float64]:
        """Return the mean over all held-out rows (C,), in nats; NaN where a fold ended its path before."""
        return self.rows @ self._by_fold() / self.rows.sum()

    def best(self) -> int:
        """Return which C has the smallest mean cross-entropy, ties to the smaller C."""
        mean, order = self.cross_entropy(), np.argsort(self.strengths, kind="stable")
        return int(order[np.nanargmin(mean[order])])

    @property
    def settled(self) -> bool:
        """Whether no C past the end of a fold's path can be the best.

        A path ends once its cross-entropy has risen for two points. If it goes on rising, as ending it there supposes,
        what it ended with bounds what follows.
        """
        order = np.argsort(self.strengths, kind="stable")
        known = self._by_fold()[:, order]
        bound = np.array([_filled(fold) for fold in known])
        mean = self.rows @ bound / self.rows.sum()
        open_ended = np.isnan(known).any(axis=0)
        return bool(np.all(mean[open_ended] > np.nanmin(self.cross_entropy())))

    def _by_fold(self) -> NDArray[np.float64]:
        return np.array([path.validation_cross_entropy for path in self.paths])


def _filled(nats: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what was not reached (NaN) as what was reached last."""
    last = np.maximum.accumulate(np.where(np.isnan(nats), 0, np.arange(len(nats))))
    return nats[last]


def fold_paths(
    activations: RowSource,
    labels: Mapping[str, Any],
    folds: Mapping[str, NDArray[np.int64]],
    C: Sequence[float],
    options: Mapping[str, Any],
) -> dict[str, FoldPaths]:
    """Fit every C for each target without each of its folds, as far as it may be the best by cross-entropy.

    Points of the folds' paths are only compared, and need no more than the gap that comparing needs.

    Args:
        activations: (rows, *features).
        labels: (rows,) of each target, masked where a row has none.
        folds: (rows,) of each target, the fold of each row from 0, negative where it is in none: always trained on.
        C: the penalties to choose from.
        options: what else :func:`solvers.fit` takes; ``warm_start`` by target.

    Returns:
        The paths of each target.

    Raises:
        ProblemError: as :func:`solvers.fit`.
    """
    found = _paths(activations, labels, folds, C, options)
    unsettled = [target for target, of in found.items() if not of.settled]
    if unsettled:
        again = {target: labels[target] for target in unsettled}
        found |= _paths(activations, again, folds, C, {**options, "full_path": True})
    return found


def fit_strengths(
    activations: RowSource,
    labels: Mapping[str, Any],
    strengths: Mapping[str, float],
    options: Mapping[str, Any],
) -> dict[str, Fit]:
    """Fit each target at its own C, on all of its rows; targets of one C share the passes.

    Args:
        activations: (rows, *features).
        labels: (rows,) of each target, masked where a row has none.
        strengths: C by target.
        options: what else :func:`solvers.fit` takes; ``warm_start`` by target.
    """
    warm = options.get("warm_start") or {}
    fits: dict[str, Fit] = {}
    for strength in sorted(set(strengths.values())):
        mine = {target: labels[target] for target, own in strengths.items() if own == strength}
        starts = {target: warm.get(target) for target in mine}
        fits |= fit(activations, mine, C=strength, **{**options, "warm_start": starts})
    return fits


def _paths(
    activations: RowSource,
    labels: Mapping[str, Any],
    folds: Mapping[str, NDArray[np.int64]],
    C: Sequence[float],
    options: Mapping[str, Any],
) -> dict[str, FoldPaths]:
    """Fit every target without each of its folds, in the same passes."""
    train: dict[tuple[str, int], Any] = {}
    held_out: dict[tuple[str, int], Any] = {}
    for target, values in labels.items():
        for fold in range(int(folds[target].max()) + 1):
            held = folds[target] == fold
            missing = np.ma.getmaskarray(values)
            train[target, fold] = np.ma.masked_array(np.ma.getdata(values), missing | held)
            held_out[target, fold] = np.ma.masked_array(np.ma.getdata(values), missing | ~held)
    warm = options.get("warm_start") or {}
    rough = {
        **options,
        "gap_nats": max(options.get("gap_nats", 0.0), ROUGH_GAP_NATS),
        "warm_start": {key: warm.get(key[0]) for key in train},
    }
    paths = fit(activations, train, C=list(C), validation=(activations, held_out), **rough)
    found = {}
    for target in labels:
        own = [key for key in train if key[0] == target]
        rows = np.array([np.ma.count(held_out[key]) for key in own])
        found[target] = FoldPaths([paths[key] for key in own], rows)
    return found
