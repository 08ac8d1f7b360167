"""An output while it is being written: claimed, then published under its name, or left for somebody to go on with."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from actstore.errors import StoreError
from actstore.store.disk import durable
from actstore.store.disk.locks import Lock, is_locked, read_note
from actstore.store.documents.journal import has_records
from actstore.store.documents.own_files import marked, remove_own, with_mark
from actstore.store.documents.rank import locks_of, rank_folders
from actstore.store.format import COMPLETE, JOURNAL, LOCK, PACKED, STORE_JSON, step_folder
from actstore.store.writing.destination import (
    MERGING_SUFFIX,
    REMOVED_SUFFIX,
    REPLACED_SUFFIX,
    Destination,
    check_folder,
    check_free,
    check_replaces,
    in_use,
    is_begun,
    store_mark,
    taken,
)
from actstore.store.writing.sealing import remove_leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from actstore.store.documents.records import ShardRecord
    from actstore.store.writing.sealing import RankWriter


HELD = 200  # locks of complete steps that are held at once


class Claim:
    """A destination that this process writes to, and nobody else."""

    def __init__(self, destination: Destination) -> None:
        """Nothing is made yet; see ``take``."""
        self._to = destination
        self._source = destination.staging / PACKED if destination.single_file else destination.staging
        self._publishing = self._publishing_refused = self._fresh = self._alone = False
        self._lock: Lock | None = None
        self._replaces = ""

    def take(self) -> None:
        """Make the folders that are missing, and keep other writers out of this place."""
        to = self._to
        check_free(to)
        settle(to)
        check_free(to)
        replaces = store_mark(to.final) if to.overwrite and to.final.exists() else ""
        _begin_anew(to)
        new = not to.staging.exists()
        self._hold()
        self._fresh = not has_records(to.rank_folder / JOURNAL)
        self._alone = not (to.staging / STORE_JSON).exists()
        if self._fresh:
            remove_leftovers(to.rank_folder, set())
        if not to.resume:
            self._note(replaces)
        self._replaces = read_note(to.rank_folder / LOCK)
        if new:
            durable.sync_folder(to.staging.parent)

    def _hold(self) -> None:
        """Lock the place, which nobody else may have begun."""
        to = self._to
        for last in (False, True):
            try:
                to.rank_folder.mkdir(parents=True, exist_ok=True)
                self._lock = Lock(to.rank_folder / LOCK)
                break
            except BlockingIOError:
                raise in_use(to.staging) from None
            except FileNotFoundError:  # what is not locked yet, another may have put away as a claim of nothing
                if last:
                    raise
        if not to.resume and (to.rank_folder / JOURNAL).exists():  # another process was quicker, and has ended
            self.release()
            raise taken(to, to.staging)

    def _note(self, replaces: str) -> None:
        """Keep on the disk what the output may replace, before there is anything to resume."""
        path = self._to.rank_folder / LOCK
        if self._lock is None or read_note(path) == replaces:
            return
        self._lock.note(replaces)
        for folder in (path.parent, path.parent.parent, path.parent.parent.parent, self._to.staging):
            durable.sync_folder(folder)

    def check(self) -> None:
        """StoreError unless the place is still this process's own; asked before whatever is written there."""
        if self._lock is not None:
            self._lock.check()

    def publish(self) -> None:
        """Give the output its name; what had it is replaced, where that was asked for."""
        to = self._to
        self.check()
        self._publishing_refused = True
        self._check_final()
        self._publishing, self._publishing_refused = True, False
        if not to.single_file:
            self._swap()
        elif to.final.exists():
            durable.rename(self._source, to.final)
        else:
            durable.publish(self._source, to.final)
        self.tidy_up()

    def _check_final(self) -> None:
        to = self._to
        if not to.in_place and to.final.exists():
            if not (to.overwrite or to.resume):
                msg = f"{to.final} has appeared meanwhile; the dump is in {to.staging}. Move one of them"
                raise StoreError(msg)
            check_replaces(to, self._replaces)

    def may_publish(self) -> bool:
        """Return whether the output could be given its name now."""
        try:
            self._check_final()
        except StoreError:
            return False
        return True

    def _swap(self) -> None:
        """Two renames: a folder, unlike a file, cannot be replaced in one. Nobody else writes to the old one."""
        to = self._to
        if to.in_place:
            return
        with ExitStack() as held:
            before = None
            if to.final.exists():
                held.enter_context(holding(to.final))
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
        """Remove what a published output makes superfluous, and let other writers in.

        Nothing here fails a dump that is whole: what cannot be removed now is removed by whoever writes there next.
        """
        with suppress(OSError):
            if self._lock is not None and self._replaces:
                self._lock.note("")
            if self._to.single_file:
                _rename_away(self._to, self._to.staging)
            elif not self._to.in_place:
                for folder in marked(self._to.final, REPLACED_SUFFIX):
                    _rename_away(self._to, folder)
        self.release()  # some file systems keep a name for what is open, in its folder
        _sweep(self._to)

    def leave(self, rank: RankWriter | None) -> str:
        """Tidy up after a writer that ends early: sealed rows stay, all else goes.

        Args:
            rank: what was written; None where that had not begun.

        Returns:
            a sentence that says what is left, and where.
        """
        to = self._to
        if self.published:
            self.tidy_up()
            return f"{to.final} is whole"
        if self._lock is not None and not self._lock.is_ours():
            return f"{to.staging} is another process's now, and was left alone"
        if rank is None:
            self.discard()
            return f"{to.final} is as it was: nothing was written there"
        listed = rank.listed()
        if not listed and to.single_file and self._publishing_refused and self._source.exists():
            self.release()
            return f"{self._source} keeps all {rank.rows:,} rows, as a whole store"
        return self._leave_rows(rank, listed) if listed else self._leave_nothing()

    def _leave_nothing(self) -> str:
        to = self._to
        self.discard()
        what = f" of {to.place}" if to.place.shared else ""
        if not to.in_place and to.final.exists():
            return f"nothing{what} is left of the new store: no shard had been sealed; {to.final} is as it was"
        return f"nothing{what} is left in {to.final}: no shard had been sealed"

    def _leave_rows(self, rank: RankWriter, listed: Sequence[ShardRecord]) -> str:
        to = self._to
        with suppress(OSError):  # whoever resumes it does so, too
            rank.list_step()
        remove_leftovers(to.rank_folder, {record.shard for record in listed})
        if to.single_file:
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


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Hold every lock of a store that is about to be renamed or removed. StoreError where a process writes there.

    Of thousands (a process may open a thousand files or so) those of unfinished steps, and ``HELD`` more; the others
    are looked at: a rank of a complete step takes no more rows.
    """
    locks = sorted(locks_of(folder), key=lambda path: (path.parent.parent / COMPLETE).exists())
    if any(map(is_locked, locks)):
        raise in_use(folder)
    unfinished = sum(not (path.parent.parent / COMPLETE).exists() for path in locks)
    with ExitStack() as held:
        for path in [folder / f"{JOURNAL}.lock", *locks[: unfinished + HELD]]:
            try:
                held.callback(Lock(path).release)
            except BlockingIOError:
                raise in_use(folder) from None
        yield


def settle(to: Destination) -> None:
    """Finish or roll back what an interrupted process left of giving an output its name."""
    _sweep(to)
    for folder in marked(to.final, MERGING_SUFFIX):
        if not any(map(is_locked, locks_of(folder))):
            remove_own(folder)
    for folder in marked(to.final, REPLACED_SUFFIX):
        check_folder(folder)
        if to.final.exists():
            _rename_away(to, folder)
        elif not (to.resume and to.staging == to.partial):  # there, publishing does the other half
            durable.rename(folder, to.final)
    needless = (to.in_place or to.whole) and to.partial.is_dir() and not is_begun(to.partial)
    needless = needless and not to.partial.is_symlink()
    if needless and not any(map(is_locked, locks_of(to.partial))):
        _rename_away(to, to.partial)  # claimed by a dump that sealed nothing
    _sweep(to)


def _begin_anew(to: Destination) -> None:
    """Put an unfinished output away that nobody asked to go on with."""
    if to.staging == to.partial and not to.resume and to.partial.exists():
        with holding(to.partial):
            _rename_away(to, to.partial)
        _sweep(to)


def _rename_away(to: Destination, folder: Path) -> None:
    """Give a folder of ours a name that says it is to go: a crash half way leaves no half of a store under its own."""
    with suppress(FileNotFoundError):  # somebody else was quicker
        durable.rename(folder, with_mark(to.final, REMOVED_SUFFIX))


def _sweep(to: Destination) -> None:
    """Remove what was renamed away."""
    for folder in marked(to.final, REMOVED_SUFFIX):
        remove_own(folder)
