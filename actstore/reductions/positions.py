"""Which positions of a batch hold real tokens, as its ``attention_mask`` says."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from actstore import arrays
from actstore.errors import DumpError, LayerError, RowError
from actstore.reductions.parts_of_examples import BatchRows
from actstore.store.documents.bfloat16 import widened

MASK = "attention_mask"
EXPECTED = "of 0 and 1 is needed, with 1 for real tokens (a mask that is added, with 0 for these, is not read)"


class RealPositions:
    """The mask of one batch: (rows, positions), 1 for real tokens, in inputs that are a mapping; else all are real.

    ``rows`` are its tokens or words, where these are to be the rows of the store.
    """

    def __init__(self, inputs: object, rows: BatchRows | None = None) -> None:
        self._inputs = inputs
        self.rows = BatchRows() if rows is None else rows

    def of(self, layer: str, positions: int) -> np.ndarray | None:
        """(rows, positions) bools for a layer of so many positions, each row with a True; None where all are real.

        Raises:
            LayerError: the layer has another number of positions than the mask.
            DumpError: what is called the mask is none, or a row of it has no real token.
        """
        if self.mask is None:
            return None
        if self.mask.shape[1] != positions:
            msg = (
                f"layer {layer!r} has {positions} positions but the batch's {MASK} has {self.mask.shape[1]}; to pool "
                f"it, leave the mask out of the batch, or keep the layer whole by --pool '{layer}=none'"
            )
            raise LayerError(msg)
        return self.mask

    @cached_property
    def mask(self) -> np.ndarray | None:
        """(rows, positions) bools, each row with a True; None where there is no mask.

        Raises:
            DumpError: what is called the mask is none, or a row of it has no real token.
        """
        if not isinstance(self._inputs, Mapping) or self._inputs.get(MASK) is None:
            return None
        given = self._inputs[MASK]
        real = read_mask(given)
        rows = arrays.count_rows(self._inputs)
        if real is None or len(real) != rows:
            msg = f"{MASK} is {arrays.describe(given)}; to pool by it, ({rows} rows, positions) {EXPECTED}"
            raise DumpError(msg)
        empty = np.flatnonzero(~real.any(axis=1))
        if len(empty):
            raise RowError(
                int(empty[0]),
                f"has no real token: its {MASK} is all 0, so nothing of it can be stored",
            )
        return real


def read_mask(given: object) -> np.ndarray | None:
    """Return (rows, positions) bools, True for real tokens, of a mask of 0 and 1; None where it is no such mask.

    It is (rows, positions), or has axes of one between these, (rows, 1, 1, positions). One that is added to scores (0
    for real tokens, a large negative number for padding) is not read; all 0 is padding alone.
    """
    mask = _numbers(given)
    if mask is None or mask.ndim < 2 or any(size != 1 for size in mask.shape[1:-1]):
        return None
    flat = mask.reshape(len(mask), mask.shape[-1])
    return flat.astype(bool) if np.isin(flat, (0, 1)).all() else None


def _numbers(given: object) -> np.ndarray | None:
    try:
        array, dtype = arrays.to_bits(given) if arrays.is_array(given) else (np.asarray(given), "")
    except (TypeError, ValueError):  # ragged lists, arrays out of reach: told with the others
        return None
    if dtype == arrays.BFLOAT16:
        return widened(array)
    return array if array.dtype.kind in "biuf" else None
