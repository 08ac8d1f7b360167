"""The probe of one layer: choose C on validation rows, score every split once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError
from solvers.fitting import fit
from solvers.probes import Probe, Tried
from solvers.result import Fit, Path, Status
from solvers.rows import Columns, Rows, draw_columns, flat_width
from solvers.scores import Score, nonfinite_rows, score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solvers.rows import RowSource
    from solvers.task import Task

__all__ = ["BadLayer", "LayerSettings", "fit_layer"]


class BadLayer(Exception):  # noqa: N818  # a finding about one layer, not the caller's error
    """The layer can not be fitted; the message is the reason that the caller is given."""


@dataclass(frozen=True)
class LayerSettings:
    """What every layer of one call is fitted with; the words are those of ``fit_layers``."""

    C: tuple[float, ...]
    scale: bool
    engine: str
    gap_nats: float
    seed: int
    random_features: int | None
    full_path: bool
    target: str
    step: int
    fingerprint: str
    command: str


def fit_layer(name: str, order: int, source: RowSource, task: Task, settings: LayerSettings) -> Probe:
    """Fit one layer and score the probe that was chosen.

    Args:
        name: of the layer; with the seed it decides the random features.
        order: the layer's place in the network.
        source: (rows, *features), a row for every label of the task.
        task: labels and splits.
        settings: what to fit with.

    Raises:
        BadLayer: when rows hold NaN or infinite activations.
        KeyboardInterrupt: when the fit was interrupted.
    """
    begun = time.perf_counter()
    columns = draw_columns(flat_width(source), settings.random_features, [settings.seed, *name.encode()])
    view = source if columns is None else Columns(source, columns)
    try:
        chosen, path = _choose(view, task, settings)
    except ProblemError:
        _refuse_bad_rows(view, task)
        raise
    scores = {
        split: score(Rows(view, rows), task.codes[rows], chosen.weights, chosen.bias)
        for split, rows in task.rows.items()
    }
    if any(found.nonfinite for found in scores.values()):
        _refuse_bad_rows(view, task)
    return Probe(
        layer=name,
        order=order,
        shape=tuple(source.shape[1:]),
        path=path,
        seconds=time.perf_counter() - begun,
        version=_version(),
        **_what_was_fitted(chosen, columns, flat_width(source)),
        **_how_it_scores(scores, task),
        scaled=settings.scale,
        **{name: getattr(settings, name) for name in ("target", "step", "seed", "fingerprint", "command")},
    )


def _what_was_fitted(chosen: Fit, columns: NDArray[np.int64] | None, width: int) -> dict[str, Any]:
    """The fields of a probe that come from its fit; columns that were not looked at get weight 0."""
    same = ("C", "bias", "gap_nats", "loss", "engine", "engine_reason")
    fields = {name: getattr(chosen, name) for name in same} | {"columns": columns, "status": str(chosen.status)}
    for name, elsewhere in (("weights", 0.0), ("mean", 0.0), ("scale", np.inf)):
        values = getattr(chosen, name)
        fields[name] = values
        if columns is not None:
            fields[name] = np.full((width, *values.shape[1:]), elsewhere)
            fields[name][columns] = values
    return fields


def _how_it_scores(scores: dict[str, Score], task: Task) -> dict[str, Any]:
    """The fields of a probe that come from its scores, by split."""
    fields = {
        name: {split: getattr(found, name) for split, found in scores.items()}
        for name in ("error", "cross_entropy", "rows", "unseen")
    }
    return fields | {
        "chance": {split: task.chance(split) for split in scores},
        "unlabelled": task.unlabelled,
        "classes": task.classes,
        "rows_fingerprint": task.fingerprint,
    }


def _choose(view: RowSource, task: Task, settings: LayerSettings) -> tuple[Fit, tuple[Tried, ...]]:
    """The fit of the C that validation prefers, and every C that was tried."""
    options: dict[str, Any] = {
        "scale": settings.scale,
        "engine": settings.engine,
        "gap_nats": settings.gap_nats,
        "seed": settings.seed,
    }
    train = task.rows["train"]
    activations, labels = Rows(view, train), task.labels[train]
    if len(settings.C) == 1:
        only = fit(activations, labels, C=settings.C[0], **options)
        found = Path((only,), np.array([np.nan]), 0, only.passes, only.seconds)
    else:
        val = task.rows["val"]
        validation = Rows(view, val), task.labels[val]
        options["full_path"] = settings.full_path
        found = fit(activations, labels, C=settings.C, validation=validation, **options)
    if any(each.status is Status.INTERRUPTED for each in found):
        raise KeyboardInterrupt
    path = tuple(
        Tried(each.C, float(nats), each.gap_nats, str(each.status), each.passes, each.seconds)
        for each, nats in zip(found, found.validation_cross_entropy, strict=True)
    )
    return found.best, path


def _refuse_bad_rows(view: RowSource, task: Task) -> None:
    """Raise BadLayer, with how many rows of which split, where rows hold NaN or infinite values."""
    bad = {split: nonfinite_rows(Rows(view, rows)) for split, rows in task.rows.items()}
    listed = [f"{count:,} of {len(task.rows[split]):,} {split}" for split, count in bad.items() if count]
    if listed:
        total, where = sum(bad.values()), ", ".join(listed)
        msg = (
            f"{Status.BAD_DATA}: {total:,} rows hold NaN or infinite values ({where}); dump it in a wider dtype"
        )
        raise BadLayer(msg)


def _version() -> str:
    """The version of the package that fitted."""
    try:
        return metadata.version("actstore")
    except metadata.PackageNotFoundError:
        return "not installed"
