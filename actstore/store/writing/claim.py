"""An output while it is being written: claimed, then published under its name, or left for somebody to go on with."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from actstore.errors import StoreError
from actstore.store.disk import durable
from actstore.store.disk.locks import Lock, is_locked
from actstore.store.documents.own_files import marked, remove_own, with_mark
from actstore.store.documents.rank import locks_of, rank_folders
from actstore.store.format import COMPLETE, JOURNAL, LOCK, PACKED, STORE_JSON, step_folder
from actstore.store.writing.destination import (
    REMOVED_SUFFIX,
    REPLACED_SUFFIX,
    Destination,
    check_folder,
    check_free,
    in_use,
    taken,
)
from actstore.store.writing.sealing import remove_leftovers

if TYPE_CHECKING:
    from pathlib import Path

    from actstore.store.writing.sealing import RankWriter


class Claim:
    """A destination that this process writes to, and nobody else."""

    def __init__(self, destination: Destination) -> None:
        """Nothing is made yet; see ``take``."""
        self._to = destination
        self._source = destination.staging / PACKED if destination.single_file else destination.staging
        self._publishing = self._fresh = self._alone = False
        self._lock: Lock | None = None

    def take(self) -> None:
        """Make the folders that are missing, and keep other writers out of this place."""
        to = self._to
        check_free(to)
        settle(to)
        check_free(to)
        if to.staging == to.partial and not to.resume:
            _remove(to, to.partial)
        new = not to.staging.exists()
        to.rank_folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = Lock(to.rank_folder / LOCK)
        except BlockingIOError:
            raise in_use(to.staging) from None
        if not to.resume and (to.rank_folder / JOURNAL).exists():  # another process was quicker, and has ended
            self.release()
            raise taken(to, to.staging)
        self._fresh = not (to.rank_folder / JOURNAL).exists()
        self._alone = not (to.staging / STORE_JSON).exists()
        if self._fresh:
            remove_leftovers(to.rank_folder, set())
        if new:
            durable.sync_folder(to.staging.parent)

    def publish(self) -> None:
        """Give the output its name; what had it is replaced."""
        to = self._to
        if to.single_file and to.final.exists() and not (to.overwrite or to.resume):
            msg = f"{to.final} has appeared meanwhile; the dump is in {to.staging}. Move one of them"
            raise StoreError(msg)
        self._publishing = True
        if to.single_file:
            durable.rename(self._source, to.final)
        elif not to.in_place:
            self._swap()
        self.tidy_up()

    def _swap(self) -> None:
        """Two renames: a folder, unlike a file, cannot be replaced in one."""
        to, before = self._to, None
        if to.final.exists():
            if any(map(is_locked, locks_of(to.final))):
                raise in_use(to.final)
            before = with_mark(to.final, REPLACED_SUFFIX)
            os.replace(to.final, before)
        try:
            durable.rename(to.staging, to.final)
        except BaseException:
            if before is not None and to.staging.exists() and before.exists():
                os.replace(before, to.final)
            raise

    @property
    def published(self) -> bool:
        """Whether the output has its name."""
        return self._publishing and (self._to.in_place or not self._source.exists())

    def tidy_up(self) -> None:
        """Remove what a published output makes superfluous, and let other writers in."""
        if self._to.single_file:
            _remove(self._to, self._to.staging)
        elif not self._to.in_place:
            for folder in marked(self._to.final, REPLACED_SUFFIX):
                _remove(self._to, folder)
        self.release()

    def leave(self, rank: RankWriter | None) -> str:
        """Tidy up after a writer that ends early: sealed rows stay, all else goes.

        Args:
            rank: what was written; None where that had not begun.

        Returns:
            a sentence that says what is left, and where.
        """
        to = self._to
        if self.published:
            with suppress(OSError):  # whoever writes there next does so, too
                self.tidy_up()
            return f"{to.final} is whole"
        if rank is None:
            self.discard()
            return f"{to.final} is as it was: nothing was written there"
        listed = rank.listed()
        if not listed:
            self.discard()
            what = f" of {to.place}" if to.place.shared else ""
            return f"nothing{what} is left in {to.final}: no shard had been sealed"
        with suppress(OSError):  # whoever resumes it does so, too
            rank.list_step()
        remove_leftovers(to.rank_folder, {record.shard for record in listed})
        (to.staging / PACKED).unlink(missing_ok=True)
        rows = sum(record.rows for record in listed)
        if (to.staging / step_folder(to.place.number) / COMPLETE).exists():
            return f"{to.staging} keeps all {rows:,} rows, as a whole store"
        return (
            f"{to.staging} keeps the {rows:,} rows that were sealed, as an unfinished store; "
            "--resume continues it"
        )

    def discard(self) -> None:
        """Remove what was claimed, unless it was there before; other ranks and steps stay."""
        step = self._to.rank_folder.parent
        if self._lock is None:
            with suppress(OSError):  # claiming failed half way: what it made is empty
                for folder in (self._to.rank_folder, step, step.parent, self._to.staging):
                    if folder.exists():
                        folder.rmdir()
        elif self._fresh:
            remove_own(self._to.rank_folder, self._to.staging)
            if not rank_folders(step):
                remove_own(step, self._to.staging)
            with suppress(OSError):  # what others use is not empty, and stays
                step.parent.rmdir()
                if self._alone:
                    remove_own(self._to.staging)
                self._to.staging.rmdir()
        self.release()

    def release(self) -> None:
        """Let other writers in."""
        if self._lock is not None:
            self._lock.release()


def settle(to: Destination) -> None:
    """Finish or roll back what an interrupted process left of giving an output its name."""
    for folder in marked(to.final, REMOVED_SUFFIX):
        remove_own(folder)
    for folder in marked(to.final, REPLACED_SUFFIX):
        check_folder(folder)
        if to.final.exists():
            _remove(to, folder)
        elif not (to.resume and to.staging == to.partial):  # there, publishing does the other half
            durable.rename(folder, to.final)


def _remove(to: Destination, folder: Path) -> None:
    """Remove a folder of ours, renamed first: a crash half way leaves no half of a store under a name of one."""
    if folder.exists():
        removed = with_mark(to.final, REMOVED_SUFFIX)
        durable.rename(folder, removed)
        remove_own(removed)
