"""The probe of one layer: choose C on validation rows, score every split once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError
from solvers.fitting import fit
from solvers.probes import Probe, Tried
from solvers.result import Fit, Path, Status
from solvers.rows import Columns, Rows, flat_width
from solvers.scores import nonfinite_rows, score

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
    columns = _random_columns(name, flat_width(source), settings)
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
    spread = partial(_spread, columns=columns, width=flat_width(source))
    return Probe(
        layer=name,
        target=settings.target,
        step=0,
        order=order,
        shape=tuple(source.shape[1:]),
        classes=task.classes,
        C=chosen.C,
        weights=spread(chosen.weights, 0.0),
        bias=chosen.bias,
        mean=spread(chosen.mean, 0.0),
        scale=spread(chosen.scale, np.inf),
        columns=columns,
        scaled=settings.scale,
        status=str(chosen.status),
        gap_nats=chosen.gap_nats,
        loss=chosen.loss,
        engine=chosen.engine,
        engine_reason=chosen.engine_reason,
        error={split: found.error for split, found in scores.items()},
        cross_entropy={split: found.cross_entropy for split, found in scores.items()},
        chance={split: task.chance(split) for split in scores},
        rows={split: found.rows for split, found in scores.items()},
        unlabelled=task.unlabelled,
        unseen={split: found.unseen for split, found in scores.items()},
        path=path,
        seed=settings.seed,
        seconds=time.perf_counter() - begun,
        fingerprint=settings.fingerprint,
        rows_fingerprint=task.fingerprint,
        command=settings.command,
        version=_version(),
    )


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


def _random_columns(name: str, width: int, settings: LayerSettings) -> NDArray[np.int64] | None:
    """The columns of a layer that are looked at, ascending; None where all are."""
    if settings.random_features is None or settings.random_features >= width:
        return None
    generator = np.random.default_rng([settings.seed, *name.encode()])
    return np.sort(generator.choice(width, settings.random_features, replace=False))


def _spread(values: NDArray[np.float64], elsewhere: float, columns: Any, width: int) -> NDArray[np.float64]:
    """Values of the columns that were looked at, as values of all columns."""
    if columns is None:
        return values
    full = np.full((width, *values.shape[1:]), elsewhere)
    full[columns] = values
    return full


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
