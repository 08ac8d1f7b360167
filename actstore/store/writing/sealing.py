"""Seal rows into the folder of one rank. They are there once its journal lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from actstore.errors import StoreError
from actstore.store.disk import durable
from actstore.store.disk.output import WholeFile, write_new
from actstore.store.documents.documents import Header, seal, undamaged, versioned
from actstore.store.documents.folder import one_rank
from actstore.store.documents.journal import Journal
from actstore.store.documents.rank import BEGIN, END, journal_start, parse_records, read_rank
from actstore.store.documents.records import Begin, End, FileRecord, Seen, ShardRecord
from actstore.store.documents.running_hashes import ROW_TABLE, LayerHash, RowTableHash
from actstore.store.documents.shard import NewFile, Stream, fill_columns
from actstore.store.documents.steps import list_step
from actstore.store.documents.versions import RESUMED, VERSIONS, other_threads, other_versions, resumed
from actstore.store.format import (
    JOURNAL,
    JSON,
    STEP_JSON,
    STORE_JSON,
    is_shard_name,
    layer_path,
    rank_folder,
    shard_name,
    step_folder,
)
from actstore.store.reading.reader import Store, row_table
from actstore.store.writing.same_dump import (
    PER_RANK,
    check_header,
    check_share,
    check_step,
    check_versions,
    other_ranks,
    shared,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from actstore.store.documents.rank import Rank
    from actstore.store.documents.row_table import TableRows
    from actstore.store.documents.write_place import WritePlace
    from actstore.store.writing.pending import PendingRows


@dataclass(frozen=True)
class Unsealed:
    """A shard that is written, but not sealed yet: its file under a temporary name, and what is to be listed of it."""

    file: NewFile
    record: ShardRecord

    def discard(self) -> None:
        """Remove it."""
        self.file.discard()


class RankWriter:
    """Writes the shards of one rank. Nothing is on the disk before the first one, or where the rank is resumed."""

    def __init__(
        self,
        folder: Path,
        place: WritePlace,
        header: Header,
        provenance: Mapping[str, JSON],
        fence: Callable[[], None] = lambda: None,
        *,
        anyway: bool = False,
    ) -> None:
        """Write ``place`` of the store in ``folder``, of which the rank's folder is there and locked.

        Args:
            folder: the store's.
            place: which step, and which rank's share.
            header: the row unit and the layers.
            provenance: what the dump is: other ranks, and whoever resumes it, have to have the same.
            fence: raises where the rank's folder is not this writer's any more; asked before whatever is written.
            anyway: go on where other versions of the libraries computed the rows that are there; both are recorded.
        """
        self._folder, self._place, self.header, self._fence = folder, place, header, fence
        self._own = {key: value for key, value in provenance.items() if key in PER_RANK}
        self._shared = shared(provenance)
        self._path = folder / rank_folder(place.number, place.rank)
        self._journal: Journal | None = None
        self._layers = {layer.name: LayerHash(layer) for layer in header.layers}
        self._table = RowTableHash()
        self._anyway = anyway
        self._versions: list[
            tuple[int, Mapping[str, JSON] | None]
        ] = []  # of each shard that is there, by first row
        self._other_versions: Mapping[str, JSON] | None = None  # of this process, where others began the rank
        self._shards = 0
        self.rows = 0
        self.seen = Seen()
        self.ended = False

    def resume(self) -> TableRows | None:
        """Go on where the journal ends.

        Returns:
            the row table of what is sealed; None where nothing had been begun.

        Raises:
            StoreError: the store was begun with another header, provenance or share of the rows; each difference named.
        """
        path = self._path / JOURNAL
        if not (self._folder / STORE_JSON).exists() or not path.exists():
            remove_leftovers(self._path, set())
            return None
        check_header(self._folder, self.header)
        journal = self._open_journal()
        with undamaged(path):
            rank = parse_records(self._path, journal.records, self.header, self._place.rank, "")
        if rank is None:
            remove_leftovers(self._path, set())
            return None
        check_step(self._folder, self._place.number, self._shared)
        check_share(self._path, rank.begin, self._place)
        self._take_up_versions(rank)
        self._journal = journal
        self._shards, self.rows, self.ended = len(rank.shards), rank.rows, rank.end is not None
        if rank.shards:
            self.seen = rank.shards[-1].seen
            for name, state in rank.shards[-1].segments.items():
                self._layers[name] = LayerHash(self._layers[name].info, state)
            self.list_step()
        remove_leftovers(self._path, {record.shard for record in rank.shards})
        with Store(one_rank(self._folder, self.header, self._place.number, rank)) as store:
            return self._replay(store)

    def _replay(self, store: Store) -> TableRows:
        """Hash the sealed rows anew: the row table, and of each layer what follows its last whole segment."""
        table = row_table(store)
        self._table.update(table)
        for name, hashed in self._layers.items():
            rest = store.layers[name].raw[self.rows - self.rows % hashed.segment_rows :]
            hashed.update(np.ascontiguousarray(rest).reshape(-1).view(np.uint8).data)
        return table

    def write(self, pending: PendingRows) -> Unsealed:
        """Write the pending rows as the next shard, under a temporary name."""
        if self._journal is None:
            self._journal = self._begin()
        path = self._path / shard_name(self._shards)
        first_row, streams = self.rows, self.hash_pending(pending)
        self._fence()
        file, extents = fill_columns(WholeFile(path, fence=self._fence), pending.columns(), streams)
        record = ShardRecord(
            shard=path.name,
            first_row=first_row,
            rows=pending.rows,
            file=FileRecord(file.file_bytes, file.gaps, extents),
            nonfinite=pending.nonfinite(),
            seen=pending.seen,
            segments={name: hashed.state for name, hashed in self._layers.items()},
            versions=self._other_versions,
        )
        self._versions.append((first_row, self._other_versions))
        self._shards += 1
        return Unsealed(file, record)

    def hash_pending(self, pending: PendingRows) -> dict[str, Stream]:
        """Count rows in that are about to be written; by path, the hashes that are to take every byte of a layer."""
        for rows in pending.tables:
            self._table.update(rows)
        self.rows += pending.rows
        return {layer_path(name): hashed for name, hashed in self._layers.items()}

    def seal(self, shard: Unsealed) -> None:
        """Wait until a shard is on the disk, and list it: now its rows are there. Shards come in their order."""
        if self._journal is None:
            msg = "a shard cannot be sealed before it is written"
            raise RuntimeError(msg)
        with shard.file as file:
            file.commit()
        self._journal.append(shard.record.document())
        if shard.record.first_row == 0:
            self.list_step()

    def list_step(self) -> None:
        """Let readers of the store know of the step, once it has rows."""
        self._fence()
        list_step(self._folder, self.header, self._place.number)

    def end(self, provenance: Mapping[str, JSON]) -> None:
        """Say that these are all rows of the rank. StoreError where it was to have another number of them."""
        if self.ended:
            return
        account = self.account(provenance)
        journal = self._journal or self._begin()
        journal.append({END: asdict(account)})
        self.ended = True

    def account(self, provenance: Mapping[str, JSON]) -> End:
        """Return what is to be said of all rows. StoreError where the rank was to have another number of them."""
        if self._place.rows not in (None, self.rows):
            msg = (
                f"{self._path} has {self.rows:,} rows where {self._place.rows:,} were announced: the data gave another "
                "number than it said. Dump again"
            )
            raise StoreError(msg)
        hashes = {ROW_TABLE: self._table.hexdigest()}
        hashes |= {name: hashed.hexdigest() for name, hashed in self._layers.items()}
        said = self.begun_with
        late = {key: value for key, value in provenance.items() if key not in said or said[key] != value}
        other = resumed(self._versions)
        late |= {RESUMED: other} if other else {}
        return End(self.rows, hashes, late)

    @property
    def untouched(self) -> bool:
        """Whether nothing of the rank is on the disk, and no other rank or step is beside it."""
        return self._journal is None and not self._place.shared

    @property
    def step(self) -> int:
        """The number of the step."""
        return self._place.number

    @property
    def begun_with(self) -> dict[str, JSON]:
        """The provenance that the store and the rank were begun with."""
        return {**self._shared, **self._own}

    def ids(self) -> set[bytes]:
        """The ids of all sealed rows."""
        rank = read_rank(self._folder, self.header, self._place.number, self._place.rank)
        if rank is None:
            return set()
        with Store(one_rank(self._folder, self.header, self._place.number, rank)) as store:
            return {row_id.encode("utf-8") for row_id in store.ids.tolist()}

    def listed(self) -> list[ShardRecord]:
        """The shards that the journal on the disk lists."""
        rank = read_rank(self._folder, self.header, self._place.number, self._place.rank)
        return list(rank.shards) if rank else []

    def _begin(self) -> Journal:
        """Write the documents. Other ranks may do the same: whoever comes second compares."""
        place = self._place
        self._fence()
        if not write_new(self._folder / STORE_JSON, seal(self.header.document())):
            check_header(self._folder, self.header)
        step = versioned(step=place.number, provenance=self._shared)
        if not write_new(self._folder / step_folder(place.number) / STEP_JSON, seal(step)):
            check_step(self._folder, self._place.number, self._shared)
        self._check_others()
        begin = Begin(place.rank, place.world_size, place.first_row, place.rows, self._own)
        self._journal = self._open_journal()
        if not self._journal.records:
            self._journal.append({BEGIN: asdict(begin)})
            self._check_others()  # again: one that began at the same moment sees this rank, or is seen by it
        for folder in (self._path, self._path.parent, self._path.parent.parent, self._folder):
            durable.sync_folder(folder)
        return self._journal

    def _open_journal(self) -> Journal:
        start = journal_start(self.header, self._place.number, self._place.rank)
        return Journal(self._path / JOURNAL, start, self._fence)

    def _check_others(self) -> None:
        for rank in other_ranks(self._folder, self.header, self._place):
            if not self._anyway:
                check_versions(rank.folder, rank.begin.provenance.get(VERSIONS), self._own.get(VERSIONS))

    def _take_up_versions(self, rank: Rank) -> None:
        """Compare with what computed the last rows; a rank that has ended computes no more."""
        self._versions = [(record.first_row, record.versions) for record in rank.shards]
        first = rank.begin.provenance.get(VERSIONS)
        last = next((found for _, found in reversed(self._versions)), None) or first
        now = self._own.get(VERSIONS)
        if rank.end is None and not self._anyway:
            check_versions(rank.folder, last, now)
        if (other_versions(first, now) or other_threads(first, now)) and isinstance(now, Mapping):
            self._other_versions = now


def remove_leftovers(folder: Path, listed: set[str]) -> None:
    """Remove what an interrupted writer left in a rank's folder beside the shards that its journal lists."""
    for path in folder.iterdir():
        if is_shard_name(path.name) and path.name not in listed:
            path.unlink()
    durable.remove_temporaries(folder, lambda name: is_shard_name(name) or name == JOURNAL)
