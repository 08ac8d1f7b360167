"""Running hashes of all rows of a rank, whatever the shards they are sealed in, which resuming can take up again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from actstore.store.documents.documents import digest
from actstore.store.documents.records import Extent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from actstore.store.documents.row_table import TableRows
    from actstore.store.format import StoredLayer

ROW_TABLE = ""  # the name under which the hash of the row table stands beside those of the layers


class LayerHash:
    """A hash of a layer's bytes as a chain over segments of as many rows as a hashed block has, counted from row 0.

    ``state`` is all it takes to go on from a segment's border; from a row within a segment, the bytes since that border
    are hashed again.
    """

    def __init__(self, info: StoredLayer, state: str = "") -> None:
        """Begin, or go on after whole segments, at the ``state`` that these had."""
        self.info = info
        one_row = Extent(info.dtype, (1, *info.shape), 0)
        self.segment_rows = one_row.block_rows
        self._segment_bytes = max(1, self.segment_rows * one_row.row_bytes)
        self._room = self._segment_bytes
        self._segment = xxhash.xxh3_128()
        self.state = state

    def update(self, data: memoryview) -> None:
        """Add the bytes of the next rows."""
        while data.nbytes:
            piece = data[: self._room]
            self._segment.update(piece)
            self._room -= piece.nbytes
            data = data[piece.nbytes :]
            if not self._room:
                self.state = self.hexdigest()
                self._segment.reset()
                self._room = self._segment_bytes

    def hexdigest(self) -> str:
        """32 hexadecimal digits for all bytes so far."""
        if self._room == self._segment_bytes:
            return self.state
        return digest(f"{self.state} {self._segment.hexdigest()}".encode("ascii"))


class RowTableHash:
    """A hash of ids, splits, groups and positions. Labels do not enter: they may come later."""

    def __init__(self) -> None:
        self._columns = {name: xxhash.xxh3_128() for name in ("ids", "splits", "groups", "positions")}

    def update(self, rows: TableRows) -> None:
        """Add the next rows."""
        self._add("ids", rows.ids)
        self._add("splits", (split.encode("utf-8") for split in rows.splits))
        if rows.groups is not None:
            self._add("groups", (group.encode("utf-8") for group in rows.groups))
        if rows.positions is not None:
            self._columns["positions"].update(np.asarray(rows.positions, "<i8").tobytes())

    def _add(self, name: str, texts: Iterable[bytes]) -> None:
        self._columns[name].update(b"".join(text + b"\0" for text in texts))  # no stored text has a NUL

    def hexdigest(self) -> str:
        """32 hexadecimal digits for all rows so far."""
        return digest(" ".join(column.hexdigest() for column in self._columns.values()).encode("ascii"))


def fingerprint(identity: str, ranks: Sequence[tuple[int, Mapping[str, str]]]) -> str:
    """Return what identifies the rows and activations of a step: from the rows and the hashes of each rank."""
    return digest(f"{identity} {json.dumps(ranks, sort_keys=True)}".encode("ascii"))
