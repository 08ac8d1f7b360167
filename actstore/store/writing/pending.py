"""Rows that wait in memory until they are sealed: whole batches, as they came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from actstore.store.documents.records import Seen
from actstore.store.documents.row_table import RowTable, TableRows, text_column
from actstore.store.documents.shard import ShardColumn
from actstore.store.format import BFLOAT16, FLOATS, LAYER_NAMES, StoredLayer, layer_path, numpy_dtype

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actstore.activations import Captured
    from actstore.store.documents.documents import Header

ROW_TABLE_BYTES = 64  # what an id, its codes and its labels are taken to need of a shard's size
SHARD_BYTES = 128 * 2**20, 2 * 2**30  # the smallest and the largest shard
SHARDS = 1000  # a dump of known size is cut into about so many
SMALL_BYTES = 4096  # batches of a layer that are smaller are joined, so many at once:
JOINED = 32
COUNT_BYTES = 2**20  # values looked at together for NaN and infinities, so that they stay in the cache


class PendingRows:
    """The rows of the next shard. Batches are kept, not copied: nobody may write into them any more.

    Small ones are: a thousand arrays of eight bytes take a hundred times what they hold, and a slice of a large array
    keeps all of it in memory.
    """

    def __init__(self, layers: Sequence[StoredLayer]) -> None:
        self._layers = layers
        self._pieces: dict[str, list[np.ndarray]] = {layer.name: [] for layer in layers}
        self.tables: list[TableRows] = []
        self.rows = self.nbytes = 0
        self.seen = Seen()

    def add(self, activations: Mapping[str, Captured], known: TableRows, seen: Seen) -> None:
        """Keep a checked batch, after which the dump is as far as ``seen``."""
        for name, pieces in self._pieces.items():
            pieces.append(_own(activations[name].array))
            self.nbytes += pieces[-1].nbytes
            _join_small(pieces)
        self.tables.append(known)
        self.rows += len(known.ids)
        self.nbytes += ROW_TABLE_BYTES * len(known.ids)
        self.seen = seen

    def columns(self) -> dict[str, ShardColumn]:
        """The datasets of the shard, by path."""
        columns = {LAYER_NAMES: text_column([layer.name for layer in self._layers])}
        for layer in self._layers:
            shape = (self.rows, *layer.shape)
            columns[layer_path(layer.name)] = ShardColumn(layer.dtype, shape, self._pieces[layer.name])
        table = RowTable()
        for rows in self.tables:
            table.add(rows)
        return columns | table.columns()

    def nonfinite(self) -> dict[str, int]:
        """By layer, how many rows have a NaN or an infinity."""
        return {
            layer.name: sum(count_nonfinite_rows(piece, layer.dtype) for piece in self._pieces[layer.name])
            for layer in self._layers
        }


def _own(rows: np.ndarray) -> np.ndarray:
    """Rows that keep no more in memory than they hold: a copy where they are a part of something larger."""
    base = rows.base
    whole = base.nbytes if isinstance(base, np.ndarray) else rows.nbytes
    return rows.copy() if whole > 2 * rows.nbytes else rows


def _join_small(pieces: list[np.ndarray]) -> None:
    """Make one of the last ``JOINED`` pieces, where each is small."""
    last = pieces[-JOINED:]
    if len(last) == JOINED and all(piece.nbytes <= SMALL_BYTES for piece in last):
        pieces[-JOINED:] = [np.concatenate(last)]


def count_nonfinite_rows(rows: np.ndarray, dtype: str) -> int:
    """How many rows of stored bits have a NaN or an infinity."""
    if dtype not in FLOATS or not rows.size:
        return 0
    flat = rows.reshape(len(rows), -1)
    step = max(1, COUNT_BYTES // (flat.shape[1] * flat.itemsize))
    with np.errstate(over="ignore", invalid="ignore"):
        return sum(_count(flat[start : start + step], dtype) for start in range(0, len(flat), step))


def _count(values: np.ndarray, dtype: str) -> int:
    if dtype in ("float32", "float64") and np.isfinite(np.add.reduce(values, axis=None)):
        return 0  # a sum is finite only where every term is, and takes a third of the time
    if dtype == BFLOAT16:
        exponent = np.uint16(0x7F80)
        finite = (values & exponent) != exponent
    elif dtype == "float16":
        exponent = np.uint16(0x7C00)
        finite = (values.view(numpy_dtype("uint16")) & exponent) != exponent
    else:
        finite = np.isfinite(values)
    return 0 if finite.all() else int(np.count_nonzero(~finite.all(axis=1)))


def shard_bytes(header: Header, rows: int) -> int:
    """The size at which the rows of a dump of so many are sealed."""
    smallest, largest = SHARD_BYTES
    return min(max(rows * row_bytes(header) // SHARDS, smallest), largest)


def row_bytes(header: Header) -> int:
    """Return what a row takes on the disk, its place in the row table included."""
    return sum(layer.row_bytes for layer in header.layers) + ROW_TABLE_BYTES
