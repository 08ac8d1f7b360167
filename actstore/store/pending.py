"""Rows that wait in memory until they are sealed: as many as one shard takes, whatever the batches' sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from actstore.store.format import BFLOAT16, FLOATS, LAYER_NAMES, LayerInfo, layer_path, numpy_dtype
from actstore.store.rowtable import Rows, RowTable, text_column
from actstore.store.shard import Column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actstore.captured import Captured

ROW_TABLE_BYTES = 64  # what an id, its codes and its labels are taken to need of a shard's size
COUNT_BYTES = 2**20  # values looked at together for NaN and infinities, so that they stay in the cache


class PendingRows:
    """Gathers the rows of one shard: ``add`` up to ``room`` of them, write ``columns``, then ``clear``."""

    def __init__(self, layers: Sequence[LayerInfo], shard_bytes: int) -> None:
        """Make room for the rows of a shard of ``shard_bytes``, one row at least; the memory is used as it fills."""
        row_bytes = sum(layer.row_bytes for layer in layers) + ROW_TABLE_BYTES
        self._layers = layers
        self._capacity = max(1, shard_bytes // row_bytes)
        self._buffers = {
            layer.name: np.empty((self._capacity, *layer.shape), numpy_dtype(layer.dtype)) for layer in layers
        }
        self.clear()

    def clear(self) -> None:
        """Forget the rows."""
        self.table = RowTable()
        self.nonfinite = {layer.name: 0 for layer in self._layers}

    @property
    def rows(self) -> int:
        """How many wait."""
        return len(self.table.ids)

    @property
    def room(self) -> int:
        """How many more fit."""
        return self._capacity - self.rows

    def add(self, activations: Mapping[str, Captured], known: Rows, rows: slice) -> None:
        """Copy ``rows`` of a checked batch."""
        first = self.rows
        for layer in self._layers:
            piece = self._buffers[layer.name][first : first + rows.stop - rows.start]
            piece[...] = activations[layer.name].array[rows]
            self.nonfinite[layer.name] += count_nonfinite_rows(piece, layer.dtype)
        self.table.add(known.part(rows))

    def columns(self) -> dict[str, Column]:
        """The datasets of the shard, by path."""
        columns = {LAYER_NAMES: text_column([layer.name for layer in self._layers])}
        for layer in self._layers:
            columns[layer_path(layer.name)] = Column.of(layer.dtype, self._buffers[layer.name][: self.rows])
        return columns | self.table.columns()


def count_nonfinite_rows(rows: np.ndarray, dtype: str) -> int:
    """How many rows of stored bits have a NaN or an infinity."""
    if dtype not in FLOATS or not rows.size:
        return 0
    flat = rows.reshape(len(rows), -1)
    step = max(1, COUNT_BYTES // (flat.shape[1] * flat.itemsize))
    return sum(_count(flat[start : start + step], dtype) for start in range(0, len(flat), step))


def _count(values: np.ndarray, dtype: str) -> int:
    if dtype == BFLOAT16:
        exponent = np.uint16(0x7F80)
        finite = (values & exponent) != exponent
    else:
        finite = np.isfinite(values)
    return 0 if finite.all() else int(np.count_nonzero(~finite.all(axis=1)))
