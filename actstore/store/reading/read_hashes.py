"""Hashes checked as the rows go by: one layer in one file, block by block."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from actstore.errors import StoreError
from actstore.store.format import layer_path

if TYPE_CHECKING:
    from actstore.store.documents.catalog import Part
    from actstore.store.reading.open_files import OpenFile

BEGUN_BLOCKS = 64  # blocks that are kept in mind between two reads; each worker over the rows needs two
RUNS = 8  # within such a block: each thread that reads here and there in it needs one


class Checked:
    """Tracks which hash blocks of one layer in one file have been verified. Thread-safe.

    A block is hashed once, when the rows that were read cover it: at once where one read covers it; along the way
    where reads follow one another; and where several such runs meet in it, what came too early is read again.
    """

    def __init__(self, part: Part, layer: str) -> None:
        """Nothing of ``layer`` in ``part`` was compared yet."""
        self._part = part
        self._layer = layer
        self._extent = part.extents[layer_path(layer)]
        self._block_rows = self._extent.block_rows
        self._done = bytearray(self._extent.blocks if self._extent.row_bytes else 0)
        self._begun: OrderedDict[int, _Begun] = OrderedDict()
        self._lock = Lock()

    def covers(self, first: int, last: int) -> bool:
        """Whether all blocks that rows ``first`` to ``last`` of the file lie in were found sound."""
        return self._done.find(0, first // self._block_rows, -(-last // self._block_rows)) < 0

    def pass_on(self, file: OpenFile, first: int, stored: np.ndarray) -> None:
        """Rows of the file were read from ``first`` on, as stored: check the blocks that this completes.

        Raises:
            StoreError, naming file, layer and rows, where a block is not what was written.
        """
        last = first + len(stored)
        if self.covers(first, last):
            return
        size, step = self._extent.row_bytes, self._block_rows
        data = stored.reshape(-1).view(np.uint8).data
        for block in range(first // step, -(-last // step)):
            if self._done[block]:
                continue
            start, stop = block * step, min((block + 1) * step, self._part.rows)
            low, high = max(start, first), min(stop, last)
            piece = data[(low - first) * size : (high - first) * size]
            if (low, high) == (start, stop):
                found = xxhash.xxh3_64_hexdigest(piece)
            elif not (found := self._continue(file, block, stop, low, piece)):
                continue
            self._finish(block, found)

    def _continue(self, file: OpenFile, block: int, stop: int, low: int, piece: memoryview) -> str:
        """Add rows from ``low`` on to those of the block that were read before; its hash where that is all of it."""
        # A hash takes bytes in order; threads read rows in any order. So a block that was read in part keeps a hash up
        # to one row, and the runs of rows that came too early, by their numbers alone: their bytes are gone. Once the
        # runs reach the end of the block, what lies behind the hashed row is read once more, and the hash is whole.
        # The bytes that the callers got were the same file's; only a few blocks are kept in mind, and one that is
        # forgotten is hashed by a later pass. The lock of a block is its own: others are hashed meanwhile.
        size = self._extent.row_bytes
        with self._lock:
            begun = self._begun.setdefault(block, _Begun(block * self._block_rows))
            self._begun.move_to_end(block)
            if len(self._begun) > BEGUN_BLOCKS:
                self._begun.popitem(last=False)
        with begun.lock:
            begun.add(low, low + len(piece) // size, piece)
            if begun.covered < stop:
                return ""
            if begun.hashed < stop:
                rest = np.empty((stop - begun.hashed) * size, np.uint8)
                file.read_into(rest, self._extent.offset + begun.hashed * size)
                begun.add(begun.hashed, stop, rest.data)
            return begun.state.hexdigest()

    def _finish(self, block: int, found: str) -> None:
        with self._lock:
            self._begun.pop(block, None)
        if found != self._extent.hashes[block]:
            first = self._part.first_row + block * self._block_rows
            last = min(first + self._block_rows, self._part.first_row + self._part.rows) - 1
            msg = (
                f"{self._part.path} is damaged: rows {first:,} to {last:,} of layer {self._layer!r} are not what was "
                "written; restore it from a copy"
            )
            raise StoreError(msg)
        self._done[block] = 1


class _Begun:
    """A block that was read in part: rows up to ``hashed`` in order, and runs of rows behind them."""

    def __init__(self, start: int) -> None:
        self.lock = Lock()
        self.state = xxhash.xxh3_64()
        self.hashed = start
        self._runs: list[tuple[int, int]] = []

    @property
    def covered(self) -> int:
        """The row up to which all were read."""
        row = self.hashed
        for first, last in sorted(self._runs):
            row = max(row, last) if first <= row else row
        return row

    def add(self, first: int, last: int, data: memoryview) -> None:
        """Rows ``first`` to ``last`` were read, with these bytes."""
        if first <= self.hashed:
            if last > self.hashed:
                self.state.update(data[(self.hashed - first) * (len(data) // (last - first)) :])
                self.hashed = last
            return
        apart = [run for run in self._runs if run[1] < first or run[0] > last]
        near = [run for run in self._runs if run not in apart]
        joined = min([first, *(run[0] for run in near)]), max([last, *(run[1] for run in near)])
        self._runs = [*apart, joined][-RUNS:]
