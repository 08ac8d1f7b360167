"""The folder of a store: seal rows into it, and find them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actstore.errors import StoreError
from actstore.store import durable
from actstore.store.contents import Contents, Part, stamp
from actstore.store.documents import Header, digest, natural, seal, text, undamaged, unseal, versioned
from actstore.store.format import (
    COMPLETE,
    JSON,
    PACKED,
    RANK_FOLDER,
    RANK_JOURNAL,
    STEP_JSON,
    STEPS,
    STORE_JOURNAL,
    STORE_JSON,
    is_shard_name,
    shard_name,
)
from actstore.store.journal import Journal, read_journal
from actstore.store.records import Fingerprint, ShardRecord
from actstore.store.shard import write_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from actstore.store.pending import PendingRows

FIRST_STEP: dict[str, JSON] = {"step": 0}
PROVEN = (STORE_JSON, STEP_JSON, RANK_JOURNAL)  # what COMPLETE has the hashes of


class Sealer:
    """Writes shards into a folder of its own, and lists them in the journal."""

    def __init__(self, folder: Path, header: Header, provenance: Mapping[str, JSON]) -> None:
        """Write the documents of a store without rows. store.json comes last: with it the folder is a store."""
        self._folder = folder
        self._header = header
        self._shards = 0
        self.rows = 0
        Journal(folder / STORE_JOURNAL, header.identity).append(FIRST_STEP)
        self._journal = Journal(folder / RANK_JOURNAL, header.identity)
        self.write_provenance(provenance)
        for subfolder in (RANK_FOLDER, STEPS):
            durable.sync_folder(folder / subfolder)
        durable.write_whole(folder / STORE_JSON, seal(header.document()))

    def write_provenance(self, provenance: Mapping[str, JSON]) -> None:
        """Write step.json, whole."""
        durable.write_whole(self._folder / STEP_JSON, seal(versioned(step=0, provenance=provenance)))

    def seal(self, pending: PendingRows) -> None:
        """Write the pending rows as the next shard: they are there once its record is."""
        name = shard_name(self._shards)
        path = self._folder / RANK_FOLDER / name
        file_bytes, gaps, extents = write_columns(durable.temporary_name(path), path, pending.columns())
        record = ShardRecord(name, self.rows, pending.rows, file_bytes, gaps, extents, pending.nonfinite)
        self._journal.append(record.document())
        self._shards += 1
        self.rows += pending.rows

    def complete(self, provenance: Mapping[str, JSON]) -> None:
        """Say that the store is whole, once its journal on the disk is seen to list every row once, in order."""
        self.write_provenance(provenance)
        mark = Fingerprint(self._header.identity)
        rows = 0
        for record in read_records(self._folder, self._header, complete=True):
            mark.update(record)
            rows += record.rows
        if rows != self.rows:
            msg = (
                f"{self._folder / RANK_JOURNAL} lists {rows:,} rows where {self.rows:,} were sealed; dump again"
            )
            raise StoreError(msg)
        proof = versioned(
            rows=rows, shards=self._shards, fingerprint=mark.hexdigest(), files=_hashes(self._folder)
        )
        durable.write_whole(self._folder / COMPLETE, seal(proof))


def read_records(folder: Path, header: Header, *, complete: bool) -> Iterator[ShardRecord]:
    """The shards that the journal lists, in order, each following on the rows before it."""
    journal = folder / RANK_JOURNAL
    rows = 0
    for entry in read_journal(journal, header.identity, complete=complete):
        with undamaged(journal):
            record = ShardRecord.parse(entry, rows, header.layers)
        rows += record.rows
        yield record


def clean_up(folder: Path, header: Header) -> int:
    """Remove what an interrupted writer left beside the shards that the journal lists. Returns the rows of these."""
    records = list(read_records(folder, header, complete=False))
    listed = {record.shard for record in records}
    for path in (folder / RANK_FOLDER).iterdir():
        if path.suffix == durable.TEMPORARY_SUFFIX or (is_shard_name(path.name) and path.name not in listed):
            path.unlink()
    (folder / PACKED).unlink(missing_ok=True)
    return sum(record.rows for record in records)


def read_folder(folder: Path) -> Contents:
    """What is in the store in ``folder``. StoreError, naming the file, where it is not sound."""
    header = read_header(folder)
    proof = _read_proof(folder)  # before the journal: rows that are sealed in between are not missed
    if list(read_journal(folder / STORE_JOURNAL, header.identity, complete=True)) != [FIRST_STEP]:
        msg = f"{folder / STORE_JOURNAL} does not list step 0 and nothing else; restore it from a copy"
        raise StoreError(msg)
    step = unseal(_read(folder / STEP_JSON), folder / STEP_JSON)
    parts = []
    mark = Fingerprint(header.identity)
    nonfinite = {layer.name: 0 for layer in header.layers}
    for record in read_records(folder, header, complete=proof is not None):
        mark.update(record)
        parts.append(_part(folder, record))
        nonfinite = {name: count + record.nonfinite[name] for name, count in nonfinite.items()}
    with undamaged(folder / STEP_JSON):
        provenance = dict(step["provenance"])
    contents = Contents(folder, header, parts, proof is not None, provenance, mark.hexdigest(), nonfinite)
    if proof is not None and proof != (contents.rows, contents.fingerprint):
        msg = f"{folder / COMPLETE} does not fit {folder / RANK_JOURNAL}: one of them is damaged; restore them"
        raise StoreError(msg)
    return contents


def read_header(folder: Path) -> Header:
    """The row unit and the layers, from store.json."""
    path = folder / STORE_JSON
    document = unseal(_read(path), path)
    with undamaged(path):
        return Header.parse(document)


def _read_proof(folder: Path) -> tuple[int, str] | None:
    """The rows and the fingerprint that COMPLETE vouches for; None while there is no COMPLETE."""
    path = folder / COMPLETE
    if not path.exists():
        return None
    proof = unseal(_read(path), path)
    with undamaged(path):
        promised = natural(proof["rows"]), text(proof["fingerprint"])
        expected = {name: proof["files"][name] for name in PROVEN}
    for name, found in _hashes(folder).items():
        if found != expected[name]:
            msg = f"{folder / name} is not what it was when the store was completed; restore it from a copy"
            raise StoreError(msg)
    return promised


def _part(folder: Path, record: ShardRecord) -> Part:
    path = folder / RANK_FOLDER / record.shard
    try:
        found = stamp(path)
    except OSError as error:
        msg = f"{path} can not be read ({error.strerror}); {record.rows:,} rows are missing. Restore it from a copy"
        raise StoreError(msg) from error
    if found[0] != record.file_bytes:
        msg = f"{path} has {found[0]:,} bytes where {record.file_bytes:,} were written; restore it from a copy"
        raise StoreError(msg)
    return Part(path, record.first_row, record.rows, record.extents, found)


def _hashes(folder: Path) -> dict[str, str]:
    return {name: digest(_read(folder / name)) for name in PROVEN}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"{path} can not be read ({error.strerror}); a store can not be read without it"
        raise StoreError(msg) from error
