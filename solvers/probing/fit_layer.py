"""The probes of one layer, one for each target: choose C on validation rows, score every split once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError
from solvers.fitting.fit import fit
from solvers.fitting.folds import FoldPaths, fit_by_folds
from solvers.fitting.result import Fit, FitPath, Status
from solvers.probing.probe import Probe, Probes
from solvers.probing.records import ProbeMap, Proof, Provenance, Scores, Tried, Where
from solvers.probing.slices import LayerView
from solvers.probing.targets import bad_rows, folds_of, rows_and_labels, score_targets
from solvers.rows import at_full_width

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from solvers.fitting.result import FitProgress
    from solvers.probing.settings import LayerSettings
    from solvers.probing.slices import FitLayer
    from solvers.probing.task import Task
    from solvers.probing.warm_starts import Start
    from solvers.rows import RowSource
    from solvers.scoring.split_score import SplitScore

__all__ = ["fit_layer"]


@dataclass(frozen=True)
class _Chosen:
    """The fit that validation prefers, and every C that was tried."""

    fit: Fit
    path: tuple[Tried, ...]


def fit_layer(
    layer: FitLayer,
    tasks: Mapping[str, Task],
    settings: LayerSettings,
    starts: Mapping[tuple[str, str], Start],
    progress: Callable[[FitProgress], None] | None,
) -> Probes:
    """Fit one layer for every target, in the same passes over its rows, and score the probes that were chosen.

    Args:
        layer: what to fit; with the seed its name decides the random features.
        tasks: labels and splits, by target.
        settings: what to fit with.
        starts: where to start from, by (layer, target); cold where there is none.
        progress: passed on to ``solvers.fit``.

    Returns:
        A probe for each target; where rows that a target needs hold NaN or infinite activations there is none,
        and the reason is in ``failures``.

    Raises:
        ProblemError: when the fit refuses what it was given.
        KeyboardInterrupt: when the fit was interrupted.
    """
    begun = time.perf_counter()
    view = LayerView.of(layer, settings)
    warm = {target: _start(starts.get((layer.name, target)), view) for target in tasks}
    chosen, reasons = _choose_where_sound(view.rows, tasks, settings, warm, progress)
    scores = score_targets(view.rows, tasks, {target: found.fit for target, found in chosen.items()})
    spoilt = {target: tasks[target] for target, of in scores.items() if any(s.nonfinite for s in of.values())}
    reasons |= bad_rows(view.rows, spoilt)
    seconds = time.perf_counter() - begun
    probes = [
        Probe(
            where=_where(layer, target, settings),
            map=_map(found.fit, tasks[target], view, settings.scale),
            proof=_proof(found, tasks[target]),
            scores=_scores(scores[target], tasks[target]),
            provenance=Provenance(
                fingerprint=settings.fingerprint,
                rows_fingerprint=tasks[target].fingerprint,
                command=settings.command,
                version=_version(),
                seconds=seconds,
            ),
        )
        for target, found in chosen.items()
        if target not in reasons
    ]
    return Probes(probes, {layer.name: _joined(reasons, len(tasks))} if reasons else {})


def _start(start: Start | None, view: LayerView) -> Start | None:
    return None if start is None else start.of_columns(view.columns)


def _where(layer: FitLayer, target: str, settings: LayerSettings) -> Where:
    return Where(
        layers=layer.stored_layers,
        target=target,
        shape=layer.shape,
        step=settings.step,
        seed=settings.seed,
        slice=layer.head,
        order=layer.order,
    )


def _map(chosen: Fit, task: Task, view: LayerView, scaled: bool) -> ProbeMap:
    """The map of a fit on all columns of the layer; those that were not looked at get weight 0."""
    return ProbeMap(
        weights=at_full_width(chosen.weights, view.columns, view.width, 0.0),
        intercept=chosen.intercept,
        mean=at_full_width(chosen.mean, view.columns, view.width, 0.0),
        classes=task.classes,
        scale=at_full_width(chosen.scale, view.columns, view.width, np.inf),
        scaled=scaled,
        columns=view.columns,
    )


def _proof(found: _Chosen, task: Task) -> Proof:
    same = ("C", "gap_nats", "loss", "engine", "engine_reason")
    of_fit = {name: getattr(found.fit, name) for name in same}
    return Proof(status=str(found.fit.status), path=found.path, chosen=task.chosen, **of_fit)


def _scores(scores: dict[str, SplitScore], task: Task) -> Scores:
    by_split = {
        name: {split: getattr(found, name) for split, found in scores.items()}
        for name in ("error", "cross_entropy", "rows", "unseen")
    }
    majority = {split: task.chance(split) for split in scores}
    return Scores(majority=majority, unlabelled=task.unlabelled, **by_split)


def _choose_where_sound(
    rows: RowSource,
    tasks: Mapping[str, Task],
    settings: LayerSettings,
    warm: Mapping[str, Start | None],
    progress: Callable[[FitProgress], None] | None,
) -> tuple[dict[str, _Chosen], dict[str, str]]:
    """Return what is chosen for the targets whose rows are finite, and why the others have nothing."""
    try:
        return _choose(rows, tasks, settings, warm, progress), {}
    except ProblemError:
        reasons = bad_rows(rows, tasks)
        if not reasons:
            raise
    sound = {target: task for target, task in tasks.items() if target not in reasons}
    return _choose(rows, sound, settings, warm, progress) if sound else {}, reasons


def _choose(
    rows: RowSource,
    tasks: Mapping[str, Task],
    settings: LayerSettings,
    warm: Mapping[str, Start | None],
    progress: Callable[[FitProgress], None] | None,
) -> dict[str, _Chosen]:
    """The C that validation, or the folds, prefer for each target, all fitted together."""
    by_folds = {target: task for target, task in tasks.items() if task.folds is not None}
    others = {target: task for target, task in tasks.items() if task.folds is None}
    return (_choose_by_rows(rows, others, settings, warm, progress) if others else {}) | (
        _choose_by_folds(rows, by_folds, settings, warm, progress) if by_folds else {}
    )


def _choose_by_folds(
    rows: RowSource,
    tasks: Mapping[str, Task],
    settings: LayerSettings,
    warm: Mapping[str, Start | None],
    progress: Callable[[FitProgress], None] | None,
) -> dict[str, _Chosen]:
    """The C that is best over all folds for each target, fitted on all of its training rows."""
    options = settings.fit_options() | {"progress": progress, "warm_start": warm}
    activations, labels = rows_and_labels(rows, tasks, "train")
    folds = {target: folds_of(activations.rows, task) for target, task in tasks.items()}
    found = fit_by_folds(activations, labels, folds, settings.C, options)
    return {target: _Chosen(fitted, _tried_by_folds(paths)) for target, (fitted, paths) in found.items()}


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


def _choose_by_rows(
    rows: RowSource,
    tasks: Mapping[str, Task],
    settings: LayerSettings,
    warm: Mapping[str, Start | None],
    progress: Callable[[FitProgress], None] | None,
) -> dict[str, _Chosen]:
    """The C that validation rows prefer for each target, all fitted together."""
    options: dict[str, Any] = settings.fit_options() | {"progress": progress}
    if any(warm[target] is not None for target in tasks):
        options["warm_start"] = {target: warm[target] for target in tasks}
    activations, labels = rows_and_labels(rows, tasks, "train")
    if len(settings.C) == 1:
        fits = fit(activations, labels, C=settings.C[0], **options)
        nats = np.array([np.nan])
        paths = {
            target: FitPath((one,), nats, 0, one.passes, one.seconds, one.bytes_read)
            for target, one in fits.items()
        }
    else:
        validation = rows_and_labels(rows, tasks, "val")
        paths = fit(activations, labels, C=settings.C, validation=validation, **options)
    return {target: _Chosen(paths[target].best, _tried(paths[target])) for target in tasks}


def _tried(path: FitPath) -> tuple[Tried, ...]:
    return tuple(
        Tried(each.C, float(nats), each.gap_nats, str(each.status), each.passes, each.seconds)
        for each, nats in zip(path, path.validation_cross_entropy, strict=True)
    )


def _joined(reasons: Mapping[str, str], targets: int) -> str:
    """The reasons of a layer in one line."""
    if targets == 1:
        (reason,) = reasons.values()
        return reason
    return "; ".join(f"target {target!r}: {reason}" for target, reason in reasons.items())


def _version() -> str:
    """The version of the package that fitted."""
    try:
        return metadata.version("actstore")
    except metadata.PackageNotFoundError:
        return "not installed"
