"""A new folder whose rows are copied from stores that are there: one rank a step, and one shard of all its rows."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actstore.errors import StoreError
from actstore.store.disk import cures, durable
from actstore.store.disk.output import WholeFile, check_room, write_whole
from actstore.store.documents.documents import seal, versioned
from actstore.store.documents.journal import journal_bytes
from actstore.store.documents.rank import BEGIN, END, journal_start
from actstore.store.documents.records import Begin, End, FileRecord, Seen, ShardRecord
from actstore.store.documents.row_table import RowTable, text_column
from actstore.store.documents.running_hashes import ROW_TABLE, LayerHash, RowTableHash
from actstore.store.documents.shard import NewFile
from actstore.store.documents.steps import list_step
from actstore.store.format import (
    JOURNAL,
    LAYER_NAMES,
    STEP_JSON,
    STORE_JSON,
    layer_path,
    rank_folder,
    shard_name,
    step_folder,
)
from actstore.store.writing.completion import complete_step
from actstore.store.writing.pack import layer_blocks
from actstore.store.writing.same_dump import PER_RANK, shared

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from actstore.store.documents.documents import Header
    from actstore.store.documents.row_table import TableRows
    from actstore.store.format import JSON
    from actstore.store.reading.layer import Layer


@dataclass(frozen=True)
class StepRows:
    """All rows of one step that is to be written.

    Args:
        step: its number.
        table: the row table.
        layers: by name, where each layer is read from; every block is compared with its hash on the way.
        nonfinite: by layer, how many rows have a NaN or an infinity.
        provenance: of the step.
    """

    step: int
    table: TableRows
    layers: Mapping[str, Layer]
    nonfinite: Mapping[str, int]
    provenance: Mapping[str, JSON]

    @property
    def nbytes(self) -> int:
        """Bytes of the activations."""
        return sum(layer.nbytes for layer in self.layers.values())


def write_store(staging: Path, final: Path, header: Header, steps: Sequence[StepRows]) -> None:
    """Write all documents and rows of a store into a folder that is staged for ``final``, and prove it whole.

    Raises:
        StoreError: a source is damaged (the place is named), or the disk has no room.
    """
    check_room(final, sum(rows.nbytes for rows in steps))
    write_whole(staging / STORE_JSON, seal(header.document()))
    for rows in steps:
        folder = staging / step_folder(rows.step)
        (staging / rank_folder(rows.step, 0)).mkdir(parents=True, exist_ok=True)
        document: dict[str, Any] = versioned(step=rows.step, provenance=shared(rows.provenance))
        write_whole(folder / STEP_JSON, seal(document))
        _write_rank(staging, header, rows)
        durable.sync_folder(folder.parent)
        list_step(staging, header, rows.step)
        complete_step(staging, header, rows.step)


def _write_rank(staging: Path, header: Header, rows: StepRows) -> None:
    """Write the shard, then the journal that lists it."""
    folder = staging / rank_folder(rows.step, 0)
    path = folder / shard_name(0)
    hashes = {layer.name: LayerHash(layer) for layer in header.layers}
    count = len(rows.table.ids)
    record = ShardRecord(
        shard=path.name,
        first_row=0,
        rows=count,
        file=_write_shard(path, header, rows, hashes),
        nonfinite={layer.name: rows.nonfinite[layer.name] for layer in header.layers},
        seen=Seen(),
        segments={name: hashed.state for name, hashed in hashes.items()},
    )
    table = RowTableHash()
    table.update(rows.table)
    ended = {ROW_TABLE: table.hexdigest(), **{name: hashed.hexdigest() for name, hashed in hashes.items()}}
    own = {key: rows.provenance[key] for key in PER_RANK if key in rows.provenance}
    records: list[Mapping[str, Any]] = [
        {BEGIN: asdict(Begin(0, 1, 0, count, own))},
        record.document(),
        {END: asdict(End(count, ended, {}))},
    ]
    write_whole(folder / JOURNAL, journal_bytes(journal_start(header, rows.step, 0), records))
    durable.sync_folder(folder)
    durable.sync_folder(folder.parent)


def _write_shard(path: Path, header: Header, rows: StepRows, hashes: Mapping[str, LayerHash]) -> FileRecord:
    columns = {LAYER_NAMES: text_column([layer.name for layer in header.layers])}
    columns |= RowTable.of(rows.table).columns()
    kinds = {name: column.kind for name, column in columns.items()}
    for layer in header.layers:
        kinds[layer_path(layer.name)] = (layer.dtype, (len(rows.table.ids), *layer.shape))
    with NewFile(WholeFile(path), kinds) as file:
        extents = {name: file.fill(name, column.pieces) for name, column in columns.items()}
        for name, hashed in hashes.items():
            extents[layer_path(name)] = file.fill(layer_path(name), layer_blocks(rows.layers[name]), hashed)
        file.commit()
        return FileRecord(file.file_bytes, file.gaps, extents)


@contextmanager
def disk_errors_named(final: Path) -> Iterator[None]:
    """Turn what the disk refuses within into one line."""
    try:
        yield
    except OSError as error:
        msg = f"{final} cannot be written: {error.strerror or error}. {cures.to_write(error)}; nothing is left there"
        raise StoreError(msg) from error


def named(path: str | os.PathLike[str]) -> Path:
    """A path as an absolute one."""
    return Path(os.path.abspath(path))
