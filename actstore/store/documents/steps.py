"""The steps of a store's folder: what lists them, and what proves that one is whole."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from actstore.errors import StoreError
from actstore.store.disk import durable
from actstore.store.disk.locks import Lock
from actstore.store.documents.journal import Journal
from actstore.store.documents.rank import ranks_of, read_rank
from actstore.store.format import JOURNAL, STEP_JSON, STORE_JSON, rank_folder, step_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from actstore.store.documents.documents import Header
    from actstore.store.documents.rank import Rank
    from actstore.store.format import JSON

STEP, TARGET = "step", "target"
LOCK_WAIT_S = 60.0
JOURNAL_LOCK = f"{JOURNAL}.lock"
"""Held by whoever appends to the journal of the store; names the file that is about to be listed."""


@contextmanager
def store_journal(folder: Path, header: Header) -> Iterator[Journal]:
    """The journal of the store, to append to; others wait meanwhile. StoreError where another has it too long."""
    try:
        lock = Lock(folder / JOURNAL_LOCK, wait_s=LOCK_WAIT_S)
    except BlockingIOError:
        msg = f"{folder} has been written to by another process for {LOCK_WAIT_S:.0f} s; try again later"
        raise StoreError(msg) from None
    try:
        journal = Journal(folder / JOURNAL, header.identity, lock.check, lock.note)
        durable.sync_folder(folder)
        yield journal
    finally:
        lock.release()


def list_in_store(folder: Path, header: Header, record: dict[str, JSON]) -> None:
    """Append a record to the journal of the store, unless it is there. Other processes may append meanwhile."""
    with store_journal(folder, header) as journal:
        if record not in journal.records:
            journal.append(record)


def list_step(folder: Path, header: Header, step: int) -> None:
    """Add a step to those of the store."""
    list_in_store(folder, header, {STEP: step})


def read_ended(folder: Path, header: Header, step: int) -> list[Rank] | None:
    """The ranks of a step, whose rows follow one another; None while one has not ended."""
    ranks = [read_rank(folder, header, step, number) for number in ranks_of(folder / step_folder(step))]
    sound = [rank for rank in ranks if rank is not None]
    if not sound or len(sound) < sound[0].begin.world_size or any(rank.end is None for rank in sound):
        return None
    rows = 0
    for number, rank in enumerate(sound):
        begin = rank.begin
        if (begin.rank, begin.world_size, begin.first_row) != (number, len(sound), rows):
            msg = (
                f"{rank.folder} is rank {begin.rank} of {begin.world_size} from row {begin.first_row:,} on, where rank "
                f"{number} of {len(sound)} from row {rows:,} on is needed; the ranks are not shares of one dump"
            )
            raise StoreError(msg)
        rows += rank.rows
    return sound


def proven(step: int, world_size: int) -> list[str]:
    """Return what COMPLETE has the hashes of."""
    journals = [f"{rank_folder(step, rank)}/{JOURNAL}" for rank in range(world_size)]
    return [STORE_JSON, f"{step_folder(step)}/{STEP_JSON}", *journals]
