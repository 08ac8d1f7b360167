"""What the self-check looks at: layers example by example, without padding; batches trimmed, filled, of new lengths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore import arrays
from actstore.adapters.base import Prepared
from actstore.adapters.moves import POSITION, at_positions, mask_of, padding
from actstore.reductions.parts_of_examples import BatchRows
from actstore.reductions.positions import MASK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actstore.activations import Captured
    from actstore.adapters.base import RunRows
    from actstore.dumping.comparing import Parts

_GROWTH = 1.5
_POSITIONS = "position_ids"
_SEGMENTS = "token_type_ids"


@dataclass(frozen=True)
class Looks:
    """Runs a batch and gives its layers example by example, at the positions that are no padding.

    Args:
        run: the model.
        axes: of the features of each layer, as it comes out of ``run``.
        unit: "token" or "word" where ``run`` gives a row for each; None for a row per example.
    """

    run: RunRows
    axes: Mapping[str, Sequence[str]]
    unit: str | None = None

    def at(self, prepared: Prepared) -> dict[str, Parts]:
        """Run a batch."""
        if self.unit is not None:
            rows = BatchRows(self.unit)
            found = self.run(prepared, rows)
            starts = np.searchsorted(rows.spots.examples, np.arange(arrays.count_rows(prepared.inputs) + 1))
            return {
                name: [layer.array[start:stop] for start, stop in pairwise(starts)]
                for name, layer in found.items()
            }
        return self.of(self.run(prepared), prepared)

    def of(self, found: Mapping[str, Captured], prepared: Prepared) -> dict[str, Parts]:
        """Return the examples of a batch that was run."""
        pad = padding(prepared.inputs)
        if pad is None:
            return {name: [*layer.array] for name, layer in found.items()}
        return {
            name: [_real(*pair, self.axes[name]) for pair in zip(layer.array, ~pad, strict=True)]
            for name, layer in found.items()
        }


def _real(part: np.ndarray, real: np.ndarray, axes: Sequence[str]) -> np.ndarray:
    """An example at its real positions: of each axis that is called so, and is as long as the mask."""
    for axis, name in enumerate(axes):
        if name == POSITION and part.shape[axis] == len(real):
            part = np.compress(real, part, axis=axis)
    return part


def trimmed(prepared: Prepared) -> Prepared:
    """Return a batch without the positions that are padding in all of its rows."""
    pad = padding(prepared.inputs)
    if pad is None:
        return prepared
    real = np.flatnonzero(~pad.all(axis=0))
    if not len(real):
        return prepared
    keep = slice(int(real[0]), int(real[-1]) + 1)
    word_of = None if prepared.word_of is None else prepared.word_of[:, keep]
    return Prepared(at_positions(prepared.inputs, 1, pad.shape[1], keep), word_of)


def filled_padding(prepared: Prepared) -> Prepared:
    """Return a batch with other contents under the padding: each row's first that is none; the mask stays."""
    pad = padding(prepared.inputs)
    if pad is None or not isinstance(prepared.inputs, Mapping):
        return prepared
    first = (~pad).argmax(axis=1)
    where = np.nonzero(pad)

    def filled(name: str, value: Any) -> object:
        if name in (MASK, _POSITIONS, _SEGMENTS) or getattr(value, "shape", ())[:2] != pad.shape:
            return value
        changed: Any = arrays.copied(value) if arrays.is_tensor(value) else np.array(value)
        changed[where[0], where[1]] = value[where[0], first[where[0]]]
        return changed

    return Prepared({name: filled(name, value) for name, value in prepared.inputs.items()}, prepared.word_of)


def batch_lengths(inputs: object) -> np.ndarray | None:
    """Return (rows,) how many positions of each row are real; None where there are none to count."""
    mask = mask_of(inputs)
    if mask is None:
        return None
    pad = padding(inputs)
    return np.full(mask.shape[0], mask.shape[1]) if pad is None else (~pad).sum(axis=1)


@dataclass
class Spread:
    """How long the rows of a dump were so far, and how far their lengths spread within a batch."""

    longest: int = 0
    widest: int = 0

    def is_new(self, inputs: object) -> bool:
        """Whether a batch has padding for the first time, or lengths or padding half as much again as any before."""
        lengths = batch_lengths(inputs)
        if lengths is None or not len(lengths):
            return False
        longest, widest = int(lengths.max()), int(lengths.max() - lengths.min())
        new = longest >= _GROWTH * self.longest or (widest > 0 and widest >= _GROWTH * self.widest)
        if new:
            self.longest, self.widest = max(self.longest, longest), max(self.widest, widest)
        return new
