"""One rank of one step, as it lies in a store's folder: the shards that its journal lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from actstore.errors import StoreError
from actstore.store.disk import cures
from actstore.store.documents.catalog import Part, stamp
from actstore.store.documents.documents import digest, undamaged
from actstore.store.documents.journal import has_records, read_journal
from actstore.store.documents.records import Begin, End, ShardRecord
from actstore.store.format import JOURNAL, LOCK, STEPS, is_rank_folder, rank_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from actstore.store.documents.documents import Header

BEGIN, END = "begin", "end"


@dataclass(frozen=True)
class Rank:
    """What the journal of a rank lists; ``end`` is there once all its rows are.

    ``checksum`` covers the whole journal.
    """

    folder: Path
    begin: Begin
    shards: Sequence[ShardRecord]
    end: End | None
    checksum: str

    @property
    def rows(self) -> int:
        """How many rows are sealed."""
        return sum(record.rows for record in self.shards)

    def parts(self) -> Iterator[Part]:
        """The shards as they lie on disk now. StoreError where one is missing or of another size."""
        for record in self.shards:
            path = self.folder / record.shard
            found = check_size(path, record.file.file_bytes)
            yield Part(path, self.begin.first_row + record.first_row, record.rows, record.file.extents, found)


def journal_start(header: Header, step: int, rank: int) -> str:
    """Return what the checksums of a rank's journal begin with: no record fits another store, step or rank."""
    return digest(f"{header.identity} step {step} rank {rank}".encode("ascii"))


def read_rank(folder: Path, header: Header, step: int, rank: int, *, whole: bool = False) -> Rank | None:
    """A rank of the store in ``folder``; None while its journal lists nothing. StoreError where it is not sound."""
    place = folder / rank_folder(step, rank)
    path = place / JOURNAL
    if not path.exists() and not whole:
        return None
    listing = read_journal(path, journal_start(header, step, rank), whole=whole)
    with undamaged(path):
        return parse_records(place, listing.records, header, rank, listing.checksum)


def parse_records(
    place: Path, entries: Sequence[Mapping[str, Any]], header: Header, rank: int, checksum: str
) -> Rank | None:
    """Return what records say; ValueError, KeyError or TypeError where they do not follow one another."""
    if not entries:
        return None
    first, *others = entries
    begin = Begin.parse(first[BEGIN], rank)
    ended = bool(others) and END in others[-1]
    shards: list[ShardRecord] = []
    rows = 0
    for entry in others[: len(others) - ended]:
        shards.append(ShardRecord.parse(entry, rows, header.layers))
        rows += shards[-1].rows
    if len({record.shard for record in shards}) < len(shards):
        msg = "it lists a shard twice"
        raise ValueError(msg)
    return Rank(place, begin, shards, End.parse(others[-1][END], rows) if ended else None, checksum)


def ranks_of(folder: Path) -> list[int]:
    """The ranks that have begun in the folder of a step, ascending: their journals list something.

    A folder without that is no rank: its process died before its first record, and whoever dumps again may have other
    ranks. A journal that cannot be read counts, so that what is wrong with it is told where it is read.
    """
    try:
        names = [entry.name for entry in folder.iterdir()]
    except OSError as error:
        msg = f"{folder} cannot be read ({error.strerror}); {cures.to_read(error)}"
        raise StoreError(msg) from error
    begun = [name for name in names if is_rank_folder(name) and has_records(folder / name / JOURNAL)]
    return sorted(map(rank_number, begun))


def rank_number(name: str) -> int:
    """Which rank a folder of that name is of."""
    return int(name.partition("-")[2])


def rank_folders(step: Path) -> list[Path]:
    """The folders of ranks in the folder of a step, of those that have written nothing yet, too."""
    return sorted(path for path in step.iterdir() if is_rank_folder(path.name)) if step.is_dir() else []


def locks_of(folder: Path) -> list[Path]:
    """The locks of all ranks of all steps of a store."""
    return [rank / LOCK for step in sorted((folder / STEPS).glob("*")) for rank in rank_folders(step)]


_MISSING = "what it holds is missing. Restore it from a copy"


def check_size(path: Path, file_bytes: int) -> tuple[int, int]:
    """The stamp of a sealed file. StoreError where it is missing, or not of the size that was recorded."""
    try:
        found = stamp(path)
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}); {cures.to_read(error, _MISSING)}"
        raise StoreError(msg) from error
    if found[0] != file_bytes:
        msg = f"{path} has {found[0]:,} bytes where {file_bytes:,} were written; restore it from a copy"
        raise StoreError(msg)
    return found
