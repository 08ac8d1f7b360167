"""What a fitted probe says of other labelled rows: its predictions, read once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError
from solvers.given import refuse_other_rows
from solvers.labels import UNSEEN, place_labels, plain_labels
from solvers.rows import Rows, as_source
from solvers.scoring.answers import taken
from solvers.scoring.class_names import class_name
from solvers.scoring.predictions import Predictions
from solvers.scoring.recording import PredictionRecorder
from solvers.scoring.split_score import Scored, score_each

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from solvers.arrays import Array, Backend
    from solvers.probing.probe import Probe
    from solvers.rows import RowSource
    from solvers.scoring.row_outputs import RowOutputs

__all__ = ["Said", "said_of"]


@dataclass(frozen=True, eq=False)
class Said:
    """What a probe says of labelled rows.

    ``predictions.index`` are their places among the rows given. ``nats`` (rows,) are −log of the probability of the
    truth in double precision, infinite where its class is unseen; ``predictions`` keep single precision.
    """

    predictions: Predictions
    nats: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.predictions)

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(rows,) whether the probe knows the class of the row."""
        return np.asarray(self.predictions.truth) < self.predictions.outputs

    def only(self, rows: NDArray[Any]) -> Said:
        """Return what it says of some of the rows: a mask (rows,), or their numbers here."""
        return Said(taken(self.predictions, rows), self.nats[rows])

    def cross_entropy(self) -> float:
        """Return the mean of ``nats`` over the rows whose class is known; NaN without one."""
        seen = self.seen
        return float(np.mean(self.nats[seen])) if seen.any() else float("nan")


def said_of(
    probe: Probe, source: RowSource | ArrayLike, labels: ArrayLike, groups: ArrayLike | None = None
) -> Said:
    """Return what a probe says of rows of its layer; rows without a label (masked) are left out.

    Args:
        probe: of classes.
        source: (rows, *features), raw activations.
        labels: (rows,).
        groups: (rows,) of any type: rows that belong together; None where each is by itself.

    Raises:
        ProblemError: other features than the probe's, labels of another number or kind, none at all, or none that is a
            class of the probe; groups of another number; activations that are NaN or infinite; or a regression.
    """
    if probe.classes is None:
        msg = f"the probe of layer {probe.layer!r} is a regression; expected one of classes"
        raise ProblemError(msg)
    refuse_other_rows(source, {f"the labels of target {probe.target!r}": labels})
    source = as_source(source)
    values, index = _labelled(probe, labels, source.shape[0])
    codes = place_labels(values, probe.classes)
    _refuse_other_classes(probe, codes, values)
    recorder = _Recorder(len(index), len(probe.classes))
    (result,) = score_each(probe.features(Rows(source, index)), [Scored(codes, probe.used, recorder)])
    if result.nonfinite:
        msg = (
            f"{result.nonfinite:,} of {result.rows:,} rows of layer {probe.layer!r} hold NaN or infinite values; leave "
            "those rows out, or dump them in a wider dtype"
        )
        raise ProblemError(msg)
    unseen, place = np.unique(values[codes == UNSEEN], return_inverse=True)
    truth = codes.copy()
    truth[codes == UNSEEN] = len(probe.classes) + place
    temperature = probe.scores.temperature
    said = Predictions(
        classes=_joined(probe.classes, unseen),
        outputs=len(probe.classes),
        truth=truth,
        index=index,
        group=None if groups is None else _codes(groups, source.shape[0])[index],
        temperature=1.0 if temperature is None else temperature,
    )
    return Said(replace(said, **recorder.arrays), recorder.exact)  # type: ignore[arg-type]


class _Recorder(PredictionRecorder):
    """Predictions, and beside them the nats in double precision."""

    def __init__(self, rows: int, outputs: int) -> None:
        super().__init__(rows, outputs)
        self.exact = np.empty(rows)

    def add(self, found: RowOutputs, counted: NDArray[np.int64], backend: Backend) -> None:
        """Write down the next rows: those numbered ``counted`` of a block."""
        start = self._filled
        super().add(found, counted, backend)
        self.exact[start : self._filled] = backend.to_host(found.nats)[counted]


def _labelled(probe: Probe, labels: ArrayLike, rows: int) -> tuple[Array, NDArray[np.int64]]:
    """Return the labels of the rows that have one, and the places of these rows."""
    values, missing = plain_labels(labels, probe.target)
    if values.shape != (rows,):
        msg = f"there are {rows:,} rows but {len(values):,} labels; give one label per row"
        raise ProblemError(msg)
    index = np.flatnonzero(~missing)
    if not len(index):
        msg = f"none of the {rows:,} rows has a label for {probe.target!r}; give labels to evaluate on"
        raise ProblemError(msg)
    return values[index], index


def _refuse_other_classes(probe: Probe, codes: NDArray[np.int64], values: Array) -> None:
    """Refuse labels none of which is a class of the probe: an error of 1 would say nothing of the layer."""
    if (codes == UNSEEN).all():
        msg = (
            f"none of the {len(codes):,} labels ({_some(np.unique(values))}) is a class of the probe for "
            f"{probe.target!r} ({_some(probe.classes)}); give labels of the target that it was fitted for"
        )
        raise ProblemError(msg)


def _some(classes: Array) -> str:
    names = [class_name(each) for each in classes[:4].tolist()]
    return ", ".join(names) + (", ..." if len(classes) > 4 else "")


def _joined(classes: Array, unseen: Array) -> Array:
    """The classes of a probe and those that training had none of, exactly."""
    if not len(unseen):
        return classes
    if classes.dtype.kind == unseen.dtype.kind:
        return np.concatenate([classes, unseen])
    return np.concatenate([classes.astype(object), unseen.astype(object)])


def _codes(groups: ArrayLike, rows: int) -> NDArray[np.int64]:
    values = np.asarray(groups)
    if values.shape != (rows,):
        msg = f"there are {rows:,} rows but groups of shape {values.shape}; give one group per row"
        raise ProblemError(msg)
    return np.unique(values, return_inverse=True)[1].astype(np.int64)
