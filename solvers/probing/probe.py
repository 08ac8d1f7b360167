"""What a fit leaves behind: a probe of one target at one layer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError
from solvers.linear_map import directions
from solvers.printable.named import ByName
from solvers.probing.records import ProbeMap, Proof, Provenance, Scores, Where
from solvers.rows import Columns, as_source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from solvers.arrays import Array
    from solvers.linear_map import LinearMap
    from solvers.probing.row_table import TableKey
    from solvers.rows import RowSource

__all__ = ["Key", "Probe"]

Key = tuple[str, str, int] | tuple[str, str, int, int]
"""(layer, target, step), and the seed where a layer has a probe for each of several draws of its columns."""


def _of(record: str, name: str, doc: str) -> Any:
    """A property that shows a field of a record."""
    return property(lambda probe: getattr(getattr(probe, record), name), doc=doc)


def _by_split(name: str, doc: str) -> Any:
    """A property that shows scores by split; one that there is not is answered with those that there are."""
    return property(lambda probe: ByName("split", getattr(probe.scores, name)), doc=doc)


@dataclass(frozen=True, eq=False, repr=False)
class Probe:
    """A linear probe, softmax((h − mean) W + b), of one target at one layer, with how good it is proven to be.

    Its fields are records, which ``solvers.probing.records`` describes; what is asked for most is an attribute too.

    Args:
        where: which probe it is.
        map: what acts on raw activations.
        proof: how near its loss is to the optimum, and every C that was tried.
        scores: how well it does, by split.
        provenance: where it comes from.
        metrics: further numbers by name: JSON values, whatever whoever measured them keeps.
        predictions: arrays by name (``logits``, ...), by the key of the ``RowTable`` whose rows they are of.
        extra: keys of the file that this version does not know; they are written back.
    """

    where: Where
    map: ProbeMap
    proof: Proof
    scores: Scores
    provenance: Provenance = field(default_factory=Provenance)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    predictions: Mapping[TableKey, Mapping[str, Array]] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    target = _of("where", "target", "What it predicts.")
    step = _of("where", "step", "The training step of the network that it was fitted at.")
    kind = _of("where", "kind", "`task`, or what it is a control of.")
    order = _of("where", "order", "The layer's place in the network.")
    shape = _of("where", "shape", "The features of one row, flattened in C order to `width`.")
    seed = _of("where", "seed", "Of the rows set aside and the random features.")
    head = _of("where", "slice", "Which slice of the stored layer this is, from 0; None for all of it.")
    classes = _of("map", "classes", "The labels in sorted order (classes,); None of a regression.")
    weights = _of("map", "weights", "(width, classes), float64, for raw activations.")
    intercept = _of("map", "intercept", "(classes,), float64, of rows that `mean` was subtracted from.")
    bias = _of("map", "bias", "(classes,): the intercept of the same map as h W + bias, rounded.")
    mean = _of("map", "mean", "(width,), what is subtracted from the columns.")
    scale = _of("map", "scale", "(width,), what the fit divided the columns by; inf where their weight is 0.")
    scaled = _of("map", "scaled", "Whether the penalty was taken in columns of unit standard deviation.")
    columns = _of("map", "columns", "The columns that are looked at, ascending; None for all.")
    C = _of("proof", "C", "The penalty's inverse strength, as in scikit-learn.")
    status = _of("proof", "status", "How the fit ended: a word of `solvers.Status`.")
    gap_nats = _of(
        "proof", "gap_nats", "The certified bound on loss minus optimal loss, in nats per training row."
    )
    loss = _of("proof", "loss", "The loss, penalty included, in nats per training row.")
    engine = _of("proof", "engine", "What fitted it.")
    engine_reason = _of("proof", "engine_reason", "Why that did.")
    path = _of("proof", "path", "Every C that was tried, in the order given.")
    error = _by_split("error", "The share of labelled rows that are misclassified, by split.")
    cross_entropy = _by_split("cross_entropy", "In nats per labelled row, by split.")
    majority = _by_split("majority", "The error of always answering the commonest training class, by split.")
    chance = majority
    rows = _by_split("rows", "Labelled rows, by split.")
    unlabelled = _by_split("unlabelled", "Rows without a label, by split.")
    unseen = _by_split("unseen", "Labelled rows of classes that training had none of, by split.")
    fingerprint = _of("provenance", "fingerprint", "Of the store's rows and activations.")
    rows_fingerprint = _of("provenance", "rows_fingerprint", "Of the labels and splits alone.")
    command = _of("provenance", "command", "What was typed.")
    version = _of("provenance", "version", "Of the package that fitted.")
    seconds = _of("provenance", "seconds", "For the whole path and the scores, of all targets fitted together.")

    @property
    def stored_layer(self) -> str:
        """The layer whose rows the probe acts on; of several side by side, their names joined by ``+``."""
        return "+".join(self.where.layers)

    @property
    def layer(self) -> str:
        """Return what the probe is called by: the stored layer, followed by ``@SLICE`` for a slice of it."""
        return self.stored_layer if self.head is None else f"{self.stored_layer}@{self.head}"

    @property
    def penalised(self) -> bool:
        """Whether ``gap_nats`` is a bound; it is not where C is infinite."""
        return bool(self.status != "unpenalised")

    @property
    def key(self) -> Key:
        """The key in ``Probes``: (layer, target, step), of one of several draws (layer, target, step, seed)."""
        key = (self.layer, self.target, self.step)
        return key if self.where.draws == 1 else (*key, self.seed)

    @property
    def width(self) -> int:
        """The number of features of one row."""
        return math.prod(self.shape)

    @property
    def used(self) -> LinearMap:
        """The map of the columns that ``features`` gives."""
        return self.map.used

    def features(self, activations: RowSource | ArrayLike) -> RowSource:
        """Return the columns of raw activations that the probe looks at: all, unless some were drawn or sliced.

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
        """Return (h − mean) W + b of raw activations, (rows, *shape) or (rows, width): (rows, classes).

        Raises:
            ProblemError: as ``features`` does.
        """
        return self.used.logits(self.features(activations))

    def predict_proba(self, activations: RowSource | ArrayLike) -> NDArray[np.float64]:
        """Return the probability of each class, (rows, classes), ordered as ``classes``; raises as ``features``."""
        return self.used.predict_proba(self.features(activations))

    def predict(self, activations: RowSource | ArrayLike) -> Array:
        """Return the likeliest class of each row, (rows,), of a regression its values; raises as ``features``."""
        return self.used.predict(self.features(activations))

    def direction(self, space: str = "raw", *, label: Any = None) -> NDArray[np.float64]:
        """Return where in a layer the probe looks: (width,) of two classes, else (width, classes).

        ``raw`` is the gradient of the logits by the activations as they are: what to add to them, project them on or
        read features off. ``scaled`` is the same in columns of unit standard deviation (where the fit scaled them),
        which the penalty was taken of: what to compare between features, layers and probes. Of two classes it is that
        of log p(second) − log p(first); of more, for each class that of its logit minus the mean of all.

        Args:
            space: "raw" or "scaled".
            label: the class that the direction leads to, (width,); None for the second of two, or for all.

        Raises:
            ProblemError: another space.
            UnknownNameError: there is no such class; the message names the nearest.
        """
        if space not in ("raw", "scaled"):
            msg = f"space is {space!r}; expected 'raw' (of activations as they are) or 'scaled' (what was penalised)"
            raise ProblemError(msg)
        weights = self.weights
        if space == "scaled":
            weights = weights * np.where(np.isfinite(self.scale), self.scale, 0.0)[:, None]
        return directions(weights, self.classes, label)

    def to_torch(self, dtype: str = "float64") -> Any:
        """Return the probe as a torch module, raw activations (rows, *features) to logits (rows, classes).

        In float64 (the default) it acts as ``predict_proba`` does; in float32 with that rounding, which counts where
        the mean of a column is large beside its spread. See ``solvers.torch_files.ProbeModule``.

        Raises:
            ProblemError: another dtype, or torch is not installed.
        """
        from solvers.torch_files import as_module

        return as_module(self.map, self.columns, dtype)

    def __repr__(self) -> str:
        gap = f" with a gap of {self.gap_nats:.1e} nats" if self.penalised else ""
        outputs = "values" if self.classes is None else "classes"
        return (
            f"<Probe of {self.layer!r} for {self.target!r}, step {self.step}: {len(self.intercept)} {outputs}, "
            f"C={self.C:g}, {self.status}{gap} by {self.engine}>"
        )
