"""Write a store: rows gather in memory, are sealed in shards, and are there once the journal says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Self

from actstore import durable
from actstore.captured import RowBatch
from actstore.checks import check_rows, check_same_layers, describe_layers
from actstore.destination import Destination
from actstore.documents import Header, check_provenance
from actstore.errors import StoreError
from actstore.folder import Sealer, read_folder
from actstore.format import JSON, PACKED, ROW_UNITS
from actstore.pending import PendingRows
from actstore.unique import SeenIds

if TYPE_CHECKING:
    from actstore.reader import Store

SHARD_BYTES = 128 * 2**20


class Writer:
    """Writes one store, ``NAME.acts`` (a folder) or ``NAME.h5`` (a single file); for one thread.

    As a context manager it finishes the store, or abandons it where the block raises. Rows that a shard was sealed for
    survive a crash at any moment; memory holds the rows of one shard, the batch, and 8 bytes per id.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        row_unit: str = "example",
        provenance: Mapping[str, JSON] | None = None,
        overwrite: bool = False,
        shard_bytes: int | None = None,
    ) -> None:
        """Prepare to write; nothing is made on disk before the first row.

        Args:
            path: ``NAME.acts`` or ``NAME.h5``.
            row_unit: what a row is: "example", "token" or "word".
            provenance: plain JSON, kept with the store; see ``note``.
            overwrite: whether an existing output may be replaced, which happens once the new one is whole.
            shard_bytes: the size at which rows are sealed (128 MiB), also what is held in memory.

        Raises:
            StoreError where the output exists, or can not be written there.
        """
        if row_unit not in ROW_UNITS:
            msg = f"row unit {row_unit!r} came; one of {', '.join(ROW_UNITS)} was expected"
            raise StoreError(msg)
        if shard_bytes is not None and shard_bytes < 1:
            msg = f"shards of {shard_bytes} bytes were asked for; 1 or more were expected"
            raise StoreError(msg)
        self._destination = Destination(path, overwrite=overwrite)
        self._row_unit = row_unit
        self._shard_bytes = shard_bytes or SHARD_BYTES
        self._provenance: dict[str, JSON] = check_provenance(provenance or {})
        self._header: Header | None = None
        self._pending: PendingRows | None = None
        self._sealer: Sealer | None = None
        self._seen = SeenIds()
        self._sound = True
