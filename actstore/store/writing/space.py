"""How much a dump will take: the size of its shards, and whether the disk has room for them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from actstore.errors import StoreError
from actstore.store.writing.pending import ROW_TABLE_BYTES

if TYPE_CHECKING:
    from actstore.store.documents.documents import Header
    from actstore.store.writing.destination import Destination

SHARD_BYTES = 128 * 2**20, 2 * 2**30  # the smallest and the largest shard
SHARDS = 1000  # a dump of known size is cut into about so many


def shard_bytes(header: Header, rows: int) -> int:
    """The size at which the rows of a dump of so many are sealed."""
    smallest, largest = SHARD_BYTES
    return min(max(rows * _row_bytes(header) // SHARDS, smallest), largest)


def check_disk(destination: Destination, header: Header, rows: int, there: int) -> None:
    """StoreError where the disk has no room for ``rows`` of which ``there`` are on it already."""
    needed, packed = (rows - there) * _row_bytes(header), ""
    if destination.single_file:
        needed += rows * _row_bytes(header)
        packed = " for shards and the file that is packed from them"
    free = shutil.disk_usage(destination.final.parent).free
    if needed > free:
        msg = (
            f"{destination.final} needs {needed / 1e9:,.2f} GB{packed}, and the disk has {free / 1e9:,.2f} GB free. "
            "Make room, name fewer layers or rows, or reduce them (--pool, --random-features, --dtype)"
        )
        raise StoreError(msg)


def _row_bytes(header: Header) -> int:
    return sum(layer.row_bytes for layer in header.layers) + ROW_TABLE_BYTES
