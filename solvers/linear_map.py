"""A linear map of raw rows, (h − mean) W + b: how every fit and every probe acts, block by block.

The intercept is kept as it was certified, that of centred rows. Folded into one for raw rows, ``b − mean W``, it would
be rounded to the size of ``mean W``: a column at 1.7e9 ± 3e-5 then costs a probe 9e-3 nats that its certificate knows
nothing of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import logsumexp, softmax

from solvers.errors import ProblemError
from solvers.printable.named import unknown
from solvers.rows import as_source, blocks, flat_width

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from solvers.arrays import Array
    from solvers.rows import RowSource

__all__ = ["LinearMap", "directions", "output_blocks"]

BLOCK_ELEMENTS = 1 << 21  # entries of a block of rows: 16 MB in float64


@dataclass(frozen=True, eq=False)
class LinearMap:
    """Outputs (h − mean) W + b of raw rows h, flattened in C order, and what follows from them.

    Shapes: ``weights`` (width, outputs), ``intercept`` b (outputs,) and ``mean`` (width,), float64. ``classes``
    (outputs,) are the labels in sorted order; None where the outputs are values (a regression).
    """

    weights: NDArray[np.float64]
    intercept: NDArray[np.float64]
    mean: NDArray[np.float64]
    classes: Array | None = None

    def __post_init__(self) -> None:
        # How weights lie in memory decides how products round: those of a file lie so, and give the same bits.
        object.__setattr__(self, "weights", np.ascontiguousarray(self.weights))

    @classmethod
    def raw(cls, weights: Array, bias: Array, classes: Array | None = None) -> LinearMap:
        """Return the map h W + bias, of rows that nothing is subtracted from."""
        zeros = np.zeros(len(weights))
        return cls(np.asarray(weights, np.float64), np.asarray(bias, np.float64), zeros, classes)

    @property
    def width(self) -> int:
        """The number of features of one row, flattened."""
        return len(self.weights)

    @property
    def bias(self) -> NDArray[np.float64]:
        """The intercept (outputs,) of the same map as h W + bias, rounded where ``mean W`` is large."""
        return self.intercept - self.mean @ self.weights

    def of_columns(self, columns: NDArray[np.int64] | None) -> LinearMap:
        """Return the map of these columns alone; None is all of them."""
        if columns is None:
            return self
        return LinearMap(self.weights[columns], self.intercept, self.mean[columns], self.classes)

    def logits(self, activations: RowSource | ArrayLike) -> NDArray[np.float64]:
        """Return the outputs of activations (rows, *features) of this width: (rows, outputs).

        Raises:
            ProblemError: activations of another width.
        """
        source = as_source(activations)
        if flat_width(source) != self.width:
            msg = (
                f"activations have {flat_width(source):,} features, but the probe was fitted on {self.width:,}"
            )
            raise ProblemError(msg)
        found = np.empty((source.shape[0], len(self.intercept)))
        for rows, _, (values,) in output_blocks(source, [self]):
            found[rows] = values
        return found

    def predict(self, activations: RowSource | ArrayLike) -> Array:
        """Return the likeliest class of each row (rows,), in the labels' own values; without classes the outputs.

        Raises:
            ProblemError: activations of another width, or that are NaN or infinite: none of the classes is likeliest.
        """
        outputs = self._finite(activations)
        return outputs if self.classes is None else self.classes[outputs.argmax(axis=1)]

    def predict_proba(self, activations: RowSource | ArrayLike) -> NDArray[np.float64]:
        """Return the probability of each class for each row: (rows, classes), in the order of ``classes``."""
        self._check_classes()
        return softmax(self._finite(activations), axis=1)

    def predict_log_proba(self, activations: RowSource | ArrayLike) -> NDArray[np.float64]:
        """Return the logarithm of :meth:`predict_proba`, finite where a probability underflows."""
        self._check_classes()
        logits = self._finite(activations)
        return logits - logsumexp(logits, axis=1, keepdims=True)

    def _finite(self, activations: RowSource | ArrayLike) -> NDArray[np.float64]:
        """Return the outputs of activations that are all finite; ProblemError with the first row that is not."""
        outputs = self.logits(activations)
        bad = np.flatnonzero(~np.isfinite(outputs).all(axis=1))
        if bad.size:
            msg = (
                f"{bad.size:,} of {len(outputs):,} rows hold NaN or infinite activations (first: row {bad[0]:,}): "
                "a probe says nothing of them; leave those rows out"
            )
            raise ProblemError(msg)
        return outputs

    def _check_classes(self) -> None:
        if self.classes is None:
            msg = "a regression has no classes, so no probabilities; use predict, which gives its values"
            raise ProblemError(msg)


def directions(weights: NDArray[np.float64], classes: Array | None, label: Any = None) -> NDArray[np.float64]:
    """Return the gradient of a probe's logits by the row: (width,), or (width, classes) for three classes or more.

    Of two classes that of log p(second) − log p(first). Of more, for each class that of its logit minus the mean of
    all, which adding a constant to every logit does not change. Of a regression, that of its outputs.

    Args:
        weights: (width, outputs).
        classes: (outputs,) the labels in sorted order; None of a regression.
        label: the class that the direction leads to, (width,); None for the second of two, or for all.

    Raises:
        UnknownNameError: there is no such class.
    """
    if classes is None:
        return weights[:, 0] if weights.shape[1] == 1 else weights
    place = None if label is None else _place(classes, label)
    if len(classes) == 2:
        difference = weights[:, 1] - weights[:, 0]
        return -difference if place == 0 else difference
    centred = weights - weights.mean(axis=1, keepdims=True)
    return centred if place is None else centred[:, place]


def _place(classes: Array, label: Any) -> int:
    found = [place for place, known in enumerate(classes.tolist()) if known == label]
    if not found:
        raise unknown("class", label, classes.tolist())
    return found[0]


def output_blocks(
    source: RowSource, maps: Sequence[LinearMap], block_rows: int | None = None, xp: Any = np
) -> Iterator[tuple[slice, Array, list[Array]]]:
    """Yield blocks of rows in order with the outputs of every map: (rows, block, outputs of each).

    Each row is read once, and centred once for all maps that subtract the same mean, whose products are one. The
    outputs are the caller's to overwrite.

    Args:
        source: (rows, *features), raw rows.
        maps: all of the source's flattened width.
        block_rows: rows of a block; None takes as many as 16 MB of float64 hold, of features or of all outputs.
        xp: the array module that multiplies, and that the outputs are of; the block is of NumPy.
    """
    groups = [
        (members, xp.asarray(joined.mean), xp.asarray(joined.weights), xp.asarray(joined.intercept))
        for members, joined in _same_mean(maps)
    ]
    widest = max(1, flat_width(source), sum(len(each.intercept) for each in maps))
    for rows, block in blocks(source, block_rows or max(1, BLOCK_ELEMENTS // widest)):
        outputs: dict[int, Array] = {}
        given = xp.asarray(block)
        for members, mean, weights, intercept in groups:
            with np.errstate(
                invalid="ignore", over="ignore"
            ):  # what is not finite is counted, not warned about
                values = (given - mean) @ weights
                values += intercept
            ends = np.cumsum([len(maps[each].intercept) for each in members]).tolist()
            for member, end in zip(members, ends, strict=True):
                outputs[member] = values[:, end - len(maps[member].intercept) : end]
        yield rows, block, [outputs[each] for each in range(len(maps))]


def _same_mean(maps: Sequence[LinearMap]) -> list[tuple[list[int], LinearMap]]:
    """The maps in groups that subtract the same mean: the numbers of each group, and the maps side by side."""
    groups: dict[bytes, list[int]] = {}
    for number, each in enumerate(maps):
        groups.setdefault(each.mean.tobytes(), []).append(number)
    return [
        (
            members,
            LinearMap(
                np.hstack([maps[each].weights for each in members]),
                np.concatenate([maps[each].intercept for each in members]),
                maps[members[0]].mean,
            ),
        )
        for members in groups.values()
    ]
