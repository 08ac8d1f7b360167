"""Write rows that all still lie in memory as a single file, at once: no shard is staged beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actstore.store.disk.output import WholeFile, check_room
from actstore.store.documents.catalog import Contents, Part
from actstore.store.documents.running_hashes import fingerprint
from actstore.store.documents.shard import NewFile
from actstore.store.format import PACKED, layer_path
from actstore.store.writing.pack import commit_packed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from actstore.store.format import JSON
    from actstore.store.writing.pending import PendingRows
    from actstore.store.writing.sealing import RankWriter


def pack_pending(
    staging: Path,
    rank: RankWriter,
    pending: PendingRows,
    provenance: Mapping[str, JSON],
    fence: Callable[[], None],
) -> None:
    """Write the only rows of the only rank of a store, to the bit the file that its shards would be packed to.

    Args:
        staging: where the file is written.
        rank: of which nothing is sealed yet.
        pending: all its rows.
        provenance: of the store.
        fence: raises where the place is not ours any more.

    Raises:
        StoreError: the rank was to have another number of rows, or there is no room.
        OSError: the disk takes no more.
    """
    columns = pending.columns()
    layers = {layer_path(layer.name) for layer in rank.header.layers}
    ordered = {name: column for name, column in columns.items() if name not in layers}
    ordered |= {name: column for name, column in columns.items() if name in layers}
    with (
        WholeFile(staging / PACKED, replace=True, fence=fence) as whole,
        NewFile(whole, {name: column.kind for name, column in ordered.items()}) as file,
    ):
        check_room(whole.path, file.file_bytes)
        streams = rank.hash_pending(pending)
        extents = {name: file.fill(name, column.pieces, streams.get(name)) for name, column in ordered.items()}
        end = rank.account(provenance)
        contents = Contents(
            path=whole.path,
            header=rank.header,
            step=rank.step,
            parts=[Part(whole.path, 0, end.rows, extents, (0, 0))],
            complete=True,
            provenance={**rank.begun_with, **end.provenance},
            fingerprint=fingerprint(rank.header.identity, [(end.rows, end.hashes)]),
            nonfinite=pending.nonfinite(),
        )
        commit_packed(file, whole.path, contents, extents)
