"""A probe for every layer of a network, over the same rows and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from solvers.errors import ProblemError
from solvers.labels import UNSEEN
from solvers.layer import BadLayer, LayerSettings, fit_layer
from solvers.probes import Probe, Probes
from solvers.rows import as_source
from solvers.task import make_task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from solvers.rows import RowSource
    from solvers.task import Task

__all__ = ["FitInterrupted", "LayerProgress", "fit_layers"]

C_GRID = tuple(np.logspace(-4, 4, 9))
"""The values of C that are tried when none are given."""


@dataclass(frozen=True)
class LayerProgress:
    """Reported as a layer is begun: ``done`` of ``total`` layers lie behind."""

    layer: str
    done: int
    total: int


class FitInterrupted(KeyboardInterrupt):
    """Ctrl-C between or within layers; ``probes`` holds the layers that were finished."""

    def __init__(self, probes: Probes, layer: str, total: int) -> None:
        super().__init__(f"interrupted at layer {layer!r}, with {len(probes)} of {total} layers fitted")
        self.probes = probes


def fit_layers(
    layers: Mapping[str, RowSource | ArrayLike],
    labels: ArrayLike,
    *,
    splits: ArrayLike | Mapping[str, ArrayLike] | None = None,
    groups: ArrayLike | None = None,
    C: float | Sequence[float] | NDArray[np.float64] | None = None,
    target: str = "label",
    scale: bool = True,
    engine: str = "auto",
    gap_nats: float = 1e-5,
    seed: int = 0,
    random_features: int | None = None,
    full_path: bool = False,
    require_all: bool = False,
    progress: Callable[[LayerProgress], None] | None = None,
    step: int = 0,
    fingerprint: str = "",
    command: str = "",
) -> Probes:
    """Fit a probe at every layer: train on ``train``, choose C on ``val``, score every split.

    With several C and no ``val`` split, a tenth of ``train`` is set aside as ``val`` (whole groups, classes in
    proportion, seeded); with a single C there is nothing to choose and all of ``train`` is trained on. There
    is no refit on train and val together. Other splits are read once, at the end, for the probe chosen.

    Args:
        layers: arrays or row sources (rows, *features) by name, in the order of the network.
        labels: (rows,) ints, strings or bools; masked where a row has none, which skips and counts it.
        splits: a name per row ("" means train), or row numbers or masks by name; None trains on every row.
        groups: (rows,), rows that must stay together when rows are set aside.
        C: one penalty or several, as in scikit-learn; None tries 1e-4 to 1e4.
        target: what the labels are called.
        scale: fit on columns of unit standard deviation (over the training rows).
        engine: which engine fits; "auto" chooses.
        gap_nats: the certified distance to the optimum that is asked for, in scaled coordinates.
        seed: of the rows set aside and of the random features.
        random_features: fit layers that are wider on this many columns, drawn from (seed, layer name).
        full_path: try every C, also past the best one.
        require_all: refuse rows without a label.
        progress: called as each layer is begun.
        step: the training step that the activations are of, kept with the probes.
        fingerprint: of the store, kept with the probes.
        command: what was typed, kept with the probes.

    Returns:
        The probes. A layer with NaN or infinite activations has none, and its reason is in ``failures``.

    Raises:
        ProblemError: when the layers, labels, splits and settings do not make a problem.
        FitInterrupted: on Ctrl-C, with the finished probes.
    """
    strengths = C_GRID if C is None else tuple(float(value) for value in np.atleast_1d(np.asarray(C)))
    settings = LayerSettings(
        C=strengths,
        scale=scale,
        engine=engine,
        gap_nats=gap_nats,
        seed=seed,
        random_features=random_features,
        full_path=full_path,
        target=target,
        step=step,
        fingerprint=fingerprint,
        command=command,
    )
    _check_settings(settings)
    task = make_task(labels, splits, groups, seed if len(strengths) > 1 else None, target)
    _check_task(task, settings, require_all)
    if not layers:
        msg = "there are no layers to fit; give at least one"
        raise ProblemError(msg)
    sources = {name: _checked(name, layer, task, settings) for name, layer in layers.items()}
    probes: list[Probe] = []
    failures: dict[str, str] = {}
    for order, (name, source) in enumerate(sources.items()):
        try:
            if progress is not None:
                progress(LayerProgress(name, order, len(sources)))
            probes.append(fit_layer(name, order, source, task, settings))
        except BadLayer as reason:
            failures[name] = str(reason)
        except KeyboardInterrupt as interrupt:
            raise FitInterrupted(Probes(probes, failures), name, len(sources)) from interrupt
    return Probes(probes, failures)


def _checked(name: str, layer: RowSource | ArrayLike, task: Task, settings: LayerSettings) -> RowSource:
    """A layer as a row source with a row for every label."""
    try:
        source = as_source(layer)
    except ProblemError as error:
        msg = f"layer {name!r}: {error}"
        raise ProblemError(msg) from error
    rows, labels = source.shape[0], len(task.labels)
    if rows != labels:
        msg = (
            f"layer {name!r} has {rows:,} rows but target {settings.target!r} has {labels:,}; a probe needs "
            "one label per row, masked where there is none"
        )
        raise ProblemError(msg)
    return source


def _check_settings(settings: LayerSettings) -> None:
    """Refuse, before anything is read, settings that no layer can be fitted with."""
    if not settings.C:
        msg = "C is an empty list; give one penalty or several, or leave it out for 1e-4 to 1e4"
        raise ProblemError(msg)
    if settings.seed < 0:
        msg = f"seed is {settings.seed}; expected an int of 0 or more"
        raise ProblemError(msg)
    if settings.random_features is not None and settings.random_features < 1:
        msg = f"random_features is {settings.random_features}; expected a number of columns, 1 or more"
        raise ProblemError(msg)


def _check_task(task: Task, settings: LayerSettings, require_all: bool) -> None:
    """Refuse labels that are missing where they must not be."""
    unlabelled = sum(task.unlabelled.values())
    if require_all and unlabelled:
        counts = ", ".join(f"{count:,} of {split}" for split, count in task.unlabelled.items() if count)
        msg = f"{unlabelled:,} rows have no label for {settings.target!r} ({counts}); label them, or do without"
        raise ProblemError(msg)
    if len(settings.C) > 1 and not np.any(task.codes[task.rows["val"]] != UNSEEN):
        msg = (
            f"no row of the `val` split has a label for {settings.target!r} that is known from training, so C "
            "can not be chosen; give a single C, or leave `val` out and a tenth of `train` is set aside"
        )
        raise ProblemError(msg)
