"""What a fit leaves behind: a probe, the points of its path, and the probes of many layers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy.special import softmax

from solvers.errors import ProbeFileError, ProblemError
from solvers.rows import Columns, as_source
from solvers.scores import logit_blocks

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from solvers.rows import RowSource

__all__ = ["Key", "Probe", "Probes", "Tried"]

Key = tuple[str, str, int]


@dataclass(frozen=True)
class Tried:
    """One C of a probe's path: scalars only, the weights are kept for the chosen C alone.

    ``cross_entropy`` is that of the validation rows, in nats per row; NaN where there were none.
    """

    C: float
    cross_entropy: float
    gap_nats: float
    status: str
    passes: float
    seconds: float


@dataclass(frozen=True, eq=False, repr=False)
class Probe:
    """softmax(h W + b), fitted at one layer for one target, with how well it is certified and how well it does.

    Shapes and units:
        shape: the features of one row of the layer, flattened in C order to ``width``.
        weights, bias: (width, classes) and (classes,), float64, for raw activations. Where random features or a
            slice were taken, ``columns`` holds their indices and the other rows of ``weights`` are zero.
        mean, scale: (width,), what the fit subtracted from the columns and, if ``scaled``, divided them by; scale is
            inf where a column is constant or was not drawn, and 1 without scaling.
        gap_nats, loss: the certified bound on loss minus optimal loss, and the loss (penalty included), in nats
            per training row and in the scaled coordinates, where the penalty lives. Where the status is
            ``unpenalised`` (C = inf), nothing bounds the loss, and ``gap_nats`` is no bound.
        error, cross_entropy (nats per row), chance, rows, unlabelled, unseen: by split. ``chance`` is the error
            of always saying the commonest training class. ``unseen`` counts labelled rows whose class is not in
            ``classes``: they are errors, and left out of the cross-entropy, which is infinite over them.
            ``unlabelled`` rows are not in ``rows``.
        path: every C that was tried, in the order given; the chosen one is ``C``.
        fingerprint: of the store's rows and activations; rows_fingerprint: of the labels and splits alone.
        order: the layer's place in the network. seconds: for the whole path and the scores, of all targets that
            were fitted together.
        head: which slice of the stored layer this is, from 0; ``layer`` then ends in ``@HEAD``. None: all of it.
    """

    layer: str
    target: str
    step: int
    order: int
    shape: tuple[int, ...]
    classes: NDArray[Any]
    C: float
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    columns: NDArray[np.int64] | None
    scaled: bool
    status: str
    gap_nats: float
    loss: float
    engine: str
    engine_reason: str
    error: Mapping[str, float]
    cross_entropy: Mapping[str, float]
    chance: Mapping[str, float]
    rows: Mapping[str, int]
    unlabelled: Mapping[str, int]
    unseen: Mapping[str, int]
    path: tuple[Tried, ...]
    seed: int
    seconds: float
    fingerprint: str
    rows_fingerprint: str
    command: str
    version: str
    head: int | None = None

    @property
    def stored_layer(self) -> str:
        """The layer whose rows the probe acts on: ``layer``, without the ``@HEAD`` of a slice."""
        return self.layer if self.head is None else self.layer.removesuffix(f"@{self.head}")

    @property
    def penalised(self) -> bool:
        """Whether ``gap_nats`` is a bound; it is not where C is infinite."""
        return self.status != "unpenalised"

    @property
    def key(self) -> Key:
        """(layer, target, step): the key in ``Probes``."""
        return self.layer, self.target, self.step

    @property
    def width(self) -> int:
        """The number of features of one row."""
        return math.prod(self.shape)

    @property
    def used_weights(self) -> NDArray[np.float64]:
        """The weights of the columns that ``features`` gives."""
        return self.weights if self.columns is None else self.weights[self.columns]

    def features(self, activations: RowSource | ArrayLike) -> RowSource:
        """The columns of raw activations that the probe looks at: all, unless random features or a slice were taken.

        Raises:
            ProblemError: when a row has neither the features of the layer nor their flattened width.
        """
        source = as_source(activations)
        if source.shape[1:] not in (self.shape, (self.width,)):
            expected = ", ".join(map(str, self.shape))
            msg = (
                f"the probe of layer {self.layer!r} takes activations of shape (rows, {expected}) but got "
                f"{tuple(source.shape)}; give it rows of the layer that it was fitted on"
            )
            raise ProblemError(msg)
        return source if self.columns is None else Columns(source, self.columns)

    def logits(self, activations: RowSource | ArrayLike) -> NDArray[np.float64]:
        """Scores h W + b of raw activations, (rows, *shape) or (rows, width): (rows, classes).

        Raises:
            ProblemError: as ``features`` does.
        """
        source = self.features(activations)
        logits = np.empty((source.shape[0], len(self.classes)))
        for rows, _, values in logit_blocks(source, self.used_weights, self.bias):
            logits[rows] = values
        return logits

    def predict_proba(self, activations: RowSource | ArrayLike) -> NDArray[np.float64]:
        """The probability of each class, (rows, classes), ordered as ``classes``; raises as ``features``."""
        return softmax(self.logits(activations), axis=1)

    def predict(self, activations: RowSource | ArrayLike) -> NDArray[Any]:
        """The likeliest class of each row, (rows,); raises as ``features``."""
        return self.classes[self.logits(activations).argmax(axis=1)]

    def __repr__(self) -> str:
        gap = f" with a gap of {self.gap_nats:.1e} nats" if self.penalised else ""
        return (
            f"<Probe of {self.layer!r} for {self.target!r}, step {self.step}: {len(self.classes)} classes, "
            f"C={self.C:g}, {self.status}{gap} by {self.engine}>"
        )


class Kept(Protocol):
    """Finished layers on the disk, which probes were joined from."""

    def explain(self, error: BaseException) -> None:
        """Add to an error what is kept and how to go on."""

    def remove(self) -> None:
        """Remove what was written."""


class Probes(Mapping[Key, Probe]):
    """Probes by (layer, target, step), in the order of the network.

    ``failures`` says in one line why a layer has no probe, or none for a target, by layer. ``parts`` are the finished
    layers that ``fit_layers`` kept on the disk, if it did: saving the probes removes them there.
    """

    def __init__(
        self,
        probes: Iterable[Probe],
        failures: Mapping[str, str] | None = None,
        parts: Kept | None = None,
    ) -> None:
        self._probes: dict[Key, Probe] = {}
        for probe in sorted(probes, key=lambda probe: probe.order):
            if probe.key in self._probes:
                msg = f"two probes have the key {probe.key}; a layer, a target and a step name one probe"
                raise ProblemError(msg)
            self._probes[probe.key] = probe
        self.failures = dict(failures or {})
        self.parts = parts

    def __getitem__(self, key: Key) -> Probe:
        return self._probes[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._probes)

    def __len__(self) -> int:
        return len(self._probes)

    def __repr__(self) -> str:
        return f"<Probes: {len(self)} fitted, {len(self.failures)} failed>"

    def table(self) -> Any:
        """A row per probe: a pandas DataFrame where pandas is installed, else a list of dicts.

        Columns: layer, target, step, C, gap_nats, status, engine, then error_SPLIT, cross_entropy_SPLIT and
        rows_SPLIT for every split.
        """
        splits = list(dict.fromkeys(split for probe in self.values() for split in probe.rows))
        rows = [_table_row(probe, splits) for probe in self.values()]
        try:
            import pandas as pd
        except ImportError:
            return rows
        return pd.DataFrame(rows)

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write one HDF5 file, which appears only whole; its layout is in ``solvers.probing.probe_file``.

        The ``parts`` that these probes were joined from are removed once the file is on the disk.

        Raises:
            ProbeFileError: when the file is there already (without ``overwrite``), or can not be written.
        """
        from solvers.probing.probe_file import save

        try:
            save(self, path, overwrite)
        except ProbeFileError as error:
            if self.parts is not None:
                self.parts.explain(error)
            raise
        if self.parts is not None:
            self.parts.remove()


def _table_row(probe: Probe, splits: list[str]) -> dict[str, Any]:
    names = ("layer", "target", "step", "C", "gap_nats", "status", "engine")
    row = {name: getattr(probe, name) for name in names}
    for score in ("error", "cross_entropy", "rows"):
        row |= {f"{score}_{split}": getattr(probe, score).get(split) for split in splits}
    return row
