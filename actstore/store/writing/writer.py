"""Write a store: rows gather in memory, are sealed in shards, and are there once the journal says so."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from actstore.errors import StoreError
from actstore.store.disk import cures
from actstore.store.documents.documents import Header, check_provenance
from actstore.store.documents.records import Seen
from actstore.store.documents.write_place import WritePlace
from actstore.store.format import JSON, ROW_UNITS, StoredLayer
from actstore.store.reading.reader import Store
from actstore.store.reading.reader import open as open_store
from actstore.store.writing import pending
from actstore.store.writing.at_once import pack_pending
from actstore.store.writing.batch_checks import KnownColumns, check_rows, check_same_layers, describe_layers
from actstore.store.writing.claim import Claim, settle
from actstore.store.writing.completion import complete_step
from actstore.store.writing.destination import check_disk, choose
from actstore.store.writing.id_check import IdCheck
from actstore.store.writing.pack import pack_staged
from actstore.store.writing.pending import PendingRows, shard_bytes
from actstore.store.writing.pipeline import Begun, Pipeline
from actstore.store.writing.same_dump import check_same
from actstore.store.writing.sealing import RankWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from os import PathLike
    from types import TracebackType

    from actstore.activations import RowBatch

SEAL_S = 30.0  # a slow dump is sealed after so long, or a tenth of the time it has taken, if that is longer


class Writer:
    """Writes one store, ``NAME.acts`` (a folder) or ``NAME.h5`` (a single file); for one thread.

    As a context manager it finishes the store, or abandons it where the block raises. Rows that a shard was sealed for
    survive a crash at any moment. A shard is written in the background while the next one gathers, and waits for the
    disk while that one is written: memory holds the rows of two, a batch, and 8 bytes per id. Batches are kept, not
    copied: nobody may write into their arrays any more.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        place: WritePlace | None = None,
        row_unit: str = "example",
        provenance: Mapping[str, JSON] | None = None,
        overwrite: bool = False,
        resume: bool = False,
        shard_bytes: int | None = None,
        inputs: Iterable[str | PathLike[str]] = (),
        resume_anyway: bool = False,
    ) -> None:
        """Prepare to write; nothing is made on disk before ``begin`` or the first row.

        Args:
            path: ``NAME.acts`` or ``NAME.h5``.
            place: which step and which rank's share is written; by default all rows of a store's only step.
            row_unit: what a row is: "example", "token" or "word".
            provenance: plain JSON, kept with the store; see ``note``.
            overwrite: whether an existing output may be replaced, which happens once the new one is whole.
            resume: whether to go on with what an interrupted writer left, where there is such; see ``begin``.
            shard_bytes: the size at which rows are sealed; by default a thousandth of the dump.
            inputs: the files and folders that the rows come from, none of which is ever replaced.
            resume_anyway: go on where other versions of the libraries computed rows that are there; both are recorded.

        Raises:
            StoreError where the output exists, or cannot be written there.
        """
        if row_unit not in ROW_UNITS:
            msg = f"row unit is {row_unit!r}; expected one of {', '.join(ROW_UNITS)}"
            raise StoreError(msg)
        if shard_bytes is not None and shard_bytes < 1:
            msg = f"shards of {shard_bytes} bytes were asked for; expected 1 or more"
            raise StoreError(msg)
        self._place = place or WritePlace()
        self._destination = choose(path, self._place, overwrite=overwrite, resume=resume, inputs=inputs)
        self._claimed = Claim(self._destination)
        self._row_unit, self._resume, self._anyway = row_unit, resume, resume_anyway
        self._given_shard_bytes, self.shard_bytes = shard_bytes, shard_bytes or pending.SHARD_BYTES[0]
        self._provenance: dict[str, JSON] = check_provenance(provenance or {})
        self._header: Header | None = None
        self._columns: KnownColumns | None = None
        self._rows = 0  # of this rank, sealed or not
        self._resumed_rows = 0  # that were there, and have not been expected yet
        self._begun: Begun | None = None
        self._state = "open"  # then "broken" where a write was interrupted; "ended" by finish or abandon
        self._left = ""
        self._start_s = self._sealed_s = time.monotonic()

    def note(self, **provenance: JSON) -> None:
        """Add to the provenance, until ``finish``. StoreError where it is not plain JSON.

        What is noted before ``begin`` is what the dump is: it is never resumed with something else.
        """
        self._check_going()
        self._provenance |= check_provenance(provenance)

    @property
    def whole(self) -> bool:
        """Whether there is nothing to resume: all rows of an earlier dump are there, under the final name."""
        return self._destination.whole

    def open_whole(self, layers: Sequence[StoredLayer]) -> Store:
        """The store that is there already, of these layers and what was noted. StoreError where it is another one."""
        store = open_store(self._destination.final)
        own = store.at(self._place.number) if self._place.number in store.steps else store
        check_same(self._destination.final, own, Header(self._row_unit, tuple(layers)), self._provenance)
        settle(self._destination)
        self._state, self._left = "ended", f"{self._destination.final} is whole"
        return store

    @property
    def other_steps(self) -> Mapping[int, Mapping[str, Any]]:
        """The provenance of the steps that the store has besides this one; none before ``begin``."""
        return self._begun.ids.other_steps if self._begun else {}

    def begin(self, layers: Sequence[StoredLayer]) -> Seen:
        """Claim the output for rows of these layers, and find out what of it there is already.

        Returns:
            how far an interrupted dump was, whose rows are there; the beginning otherwise.

        Raises:
            StoreError: another process writes here, or what is to be resumed was begun differently (each difference is
                named), or the other steps of the store are unfinished.
        """
        self._check_going()
        if self._begun is None:
            return self._claim(layers).rank.seen
        msg = "the writer has begun already; begin comes once, before the first row"
        raise StoreError(msg)

    def _claim(self, layers: Sequence[StoredLayer]) -> Begun:
        header = Header(self._row_unit, tuple(layers))
        try:
            with self._writing():
                self._claimed.take()
                staging, noted = self._destination.staging, dict(self._provenance)
                rank = RankWriter(staging, self._place, header, noted, self._claimed.check, anyway=self._anyway)
                known = rank.resume() if self._resume else None
                ids = IdCheck(staging, self._place)
        except BaseException:
            self.abandon()  # and so let go of the lock
            raise
        if known is not None:
            ids.add(known)
            self._rows = self._resumed_rows = len(known.ids)
            self._columns = KnownColumns.of(known) if known.ids else None
        self._header = header
        self._begun = Begun(rank, ids, Pipeline(rank), PendingRows(header.layers))
        return self._begun

    def expect(self, rows: int | None) -> None:
        """Make sure that there is room for so many more rows, and choose the size of the shards by it.

        What an interrupted writer sealed of them needs no more room.

        Raises:
            StoreError: the disk has less room than they will take.
        """
        self._check_going()
        if rows is None or self._header is None:
            return
        there = min(rows, self._resumed_rows)
        self._resumed_rows -= there
        if self._given_shard_bytes is None:
            self.shard_bytes = shard_bytes(self._header, rows)
        check_disk(self._destination, self._header, rows, there)

    def append(self, batch: RowBatch, seen: Seen | None = None) -> None:
        """Add rows. They are on the disk once their shard is sealed, later on, in the background.

        Args:
            batch: rows of every layer, sealed together.
            seen: how far the dump is with them, for ``begin`` to return when it is resumed.

        Raises:
            LayerError where layers differ from the first batch's, or a dtype cannot be stored.
            StoreError where counts disagree, an id came before, or the disk takes no more. Only in the last case has
            the store changed, and takes nothing more; ``abandon`` it.
        """
        self._check_going()
        found = describe_layers(batch.activations)
        check_same_layers(found, self._header.layers if self._header else found)
        known = check_rows(batch)
        columns = KnownColumns.of(known) if self._columns is None else self._columns.joined(known)
        if not known.ids:
            return
        begun = self._begun or self._claim(found)
        if begun.rank.ended:
            what = f"{self._destination.staging} already has all {begun.rank.rows:,} rows of {self._place}"
            msg = f"{what}, and takes no more. Resume with the same data, or dump to another name"
            raise StoreError(msg)
        begun.ids.check(known, self._rows, lambda: self._stored_ids(begun))
        self._columns = columns
        begun.ids.add(known)
        self._rows += len(known.ids)
        begun.pending.add(batch.activations, known, seen or Seen())
        waited_s = time.monotonic() - self._sealed_s
        long_s = max(SEAL_S, (self._sealed_s - self._start_s) / 10)
        if begun.pending.nbytes >= self.shard_bytes or waited_s > long_s:
            with self._writing():
                begun.seal()
            self._sealed_s = time.monotonic()

    def finish(self) -> Store:
        """Seal the rest, prove that every row is there, and give the store its name.

        A rank among others ends its share; the last one to end it says that the step is whole.

        Returns:
            the store, open.

        Raises:
            StoreError where there are no rows (nothing is left then), or the disk takes no more (``abandon`` it).
        """
        self._check_going()
        if self._begun is None or not self._rows:
            self.abandon()
            msg = f"{self._destination.final} was not written: there are no rows. Check the data and its limit"
            raise StoreError(msg)
        rank, destination = self._begun.rank, self._destination
        with self._writing():
            if (
                rank.untouched
                and self._begun.all_pending
                and destination.single_file
                and self._claimed.may_publish()
            ):
                self._begun.ids.check_end(self._rows)
                fence = self._claimed.check
                pack_pending(destination.staging, rank, self._begun.pending, self._provenance, fence)
                complete = True
            else:
                complete = self._complete(self._begun)
            if complete or self._place.shared:
                self._claimed.publish()
        self._begun.pipeline.close()
        self._state, self._left = "ended", f"{self._destination.final} is whole"
        return open_store(self._destination.final)

    def _complete(self, begun: Begun) -> bool:
        """Seal what is left, and pack a single file; returns whether all ranks of the step have ended."""
        destination = self._destination
        begun.seal()
        begun.pipeline.wait()
        begun.ids.check_end(self._rows)
        begun.rank.end(self._provenance)
        self._claimed.check()
        complete = complete_step(destination.staging, begun.rank.header, self._place.number)
        if destination.single_file:
            pack_staged(destination.staging, self._claimed.check)
        return complete

    def abandon(self) -> str:
        """End without the rows that are not sealed yet; sealed ones stay. Again, or after ``finish``: nothing changes.

        Returns:
            a sentence that says what is left, and where.
        """
        if self._state != "ended":
            self._state = "ended"
            if self._begun is not None:
                self._begun.pipeline.close()
            try:
                rank = self._begun.rank if self._begun else None
                self._left = self._claimed.leave(rank)
            except (OSError, StoreError) as error:
                self._left = f"what is left in {self._destination.staging} could not be tidied up: {error}"
            finally:
                self._claimed.release()
        return self._left

    def _stored_ids(self, begun: Begun) -> set[bytes]:
        with self._writing():
            return begun.stored_ids()

    def _check_going(self) -> None:
        if self._state != "open":
            broken = self._state == "broken"
            what = "was interrupted while it wrote; abandon it" if broken else "has ended; open another"
            msg = f"the writer of {self._destination.final} {what}"
            raise StoreError(msg)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Whatever interrupts the block leaves the writer broken; the disk's errors become one line."""
        self._state = "broken"
        try:
            yield
        except OSError as error:
            place = self._destination.staging
            msg = f"{place} cannot be written: {error.strerror or error}. {cures.to_write(error)}"
            raise StoreError(msg) from error
        self._state = "open"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(self.abandon())
        elif self._state != "ended":
            try:
                self.finish()
            except BaseException as failure:
                failure.add_note(self.abandon())
                raise
