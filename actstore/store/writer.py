"""Write a store: rows gather in memory, are sealed in shards, and are there once the journal says so."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from actstore.errors import StoreError
from actstore.store import durable
from actstore.store.checks import KnownColumns, check_rows, check_same_layers, describe_layers
from actstore.store.destination import Destination
from actstore.store.documents import Header, check_provenance
from actstore.store.folder import Sealer, clean_up, read_folder
from actstore.store.format import COMPLETE, JSON, PACKED, ROW_UNITS
from actstore.store.pack import pack
from actstore.store.pending import PendingRows
from actstore.store.reader import Store
from actstore.store.reader import open as open_store
from actstore.store.unique import SeenIds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from os import PathLike
    from types import TracebackType

    import numpy as np

    from actstore.captured import RowBatch

SHARD_BYTES = 128 * 2**20


class Writer:
    """Writes one store, ``NAME.acts`` (a folder) or ``NAME.h5`` (a single file); for one thread.

    As a context manager it finishes the store, or abandons it where the block raises. Rows that a shard was sealed for
    survive a crash at any moment; memory holds the rows of one shard, the batch, and 8 bytes per id.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        row_unit: str = "example",
        provenance: Mapping[str, JSON] | None = None,
        overwrite: bool = False,
        shard_bytes: int | None = None,
    ) -> None:
        """Prepare to write; nothing is made on disk before the first row.

        Args:
            path: ``NAME.acts`` or ``NAME.h5``.
            row_unit: what a row is: "example", "token" or "word".
            provenance: plain JSON, kept with the store; see ``note``.
            overwrite: whether an existing output may be replaced, which happens once the new one is whole.
            shard_bytes: the size at which rows are sealed (128 MiB), also what is held in memory.

        Raises:
            StoreError where the output exists, or can not be written there.
        """
        if row_unit not in ROW_UNITS:
            msg = f"row unit {row_unit!r} came; one of {', '.join(ROW_UNITS)} was expected"
            raise StoreError(msg)
        if shard_bytes is not None and shard_bytes < 1:
            msg = f"shards of {shard_bytes} bytes were asked for; 1 or more were expected"
            raise StoreError(msg)
        self._destination = Destination(path, overwrite=overwrite)
        self._row_unit = row_unit
        self._shard_bytes = shard_bytes or SHARD_BYTES
        self._provenance: dict[str, JSON] = check_provenance(provenance or {})
        self._header: Header | None = None
        self._columns: KnownColumns | None = None
        self._pending: PendingRows | None = None
        self._sealer: Sealer | None = None
        self._seen = SeenIds()
        self._state = "open"  # then "broken" where a write was interrupted; "ended" by finish or abandon
        self._left = ""

    def note(self, **provenance: JSON) -> None:
        """Add to the provenance, until ``finish``. StoreError where it is not plain JSON."""
        self._check_going()
        self._provenance |= check_provenance(provenance)

    def append(self, batch: RowBatch) -> None:
        """Add rows; those that fill a shard are on the disk when this returns.

        Raises:
            LayerError where layers differ from the first batch's, or a dtype can not be stored.
            StoreError where counts disagree, an id came before, or the disk takes no more. Only in the last case has
            the store changed, and takes nothing more; ``abandon`` it.
        """
        self._check_going()
        found = describe_layers(batch.activations)
        header = self._header or Header(self._row_unit, found)
        check_same_layers(found, header.layers)
        known = check_rows(batch)
        columns = KnownColumns.of(known) if self._columns is None else self._columns.joined(known)
        hashes = self._check_ids(known.ids)
        self._header, self._columns = header, columns
        if not known.ids:
            return
        with self._writing():
            sealer, pending = self._begin(header)
            start = 0
            while start < len(known.ids):
                stop = min(start + pending.room, len(known.ids))
                pending.add(batch.activations, known, slice(start, stop))
                if not pending.room:
                    sealer.seal(pending)
                    pending.clear()
                start = stop
            self._seen.add(hashes)

    def _begin(self, header: Header) -> tuple[Sealer, PendingRows]:
        if self._sealer is None or self._pending is None:
            self._destination.claim()
            self._sealer = Sealer(self._destination.staging, header, self._provenance)
            self._pending = PendingRows(header.layers, self._shard_bytes)
        return self._sealer, self._pending

    def _check_ids(self, ids: Sequence[bytes]) -> np.ndarray:
        """The hashes of new ids. StoreError where one is not new."""
        hashes = SeenIds.hashes(ids)
        repeated = {row_id for row_id, count in Counter(ids).items() if count > 1}
        suspects = {ids[place] for place in self._seen.suspects(hashes)}
        if suspects and self._pending is not None:
            sealed = Store(read_folder(self._destination.staging)).ids.tolist()
            repeated |= suspects & {*self._pending.table.ids, *(row_id.encode("utf-8") for row_id in sealed)}
        if repeated:
            msg = (
                f"id {min(repeated).decode('utf-8')!r} came twice, as did {len(repeated) - 1:,} others of its batch; "
                "every row of a store needs an id of its own"
            )
            raise StoreError(msg)
        return hashes

    def finish(self) -> Store:
        """Seal the rest, prove that every row is there, and give the store its name.

        Returns:
            the store, open.

        Raises:
            StoreError where no row came (nothing is left then), or the disk takes no more (``abandon`` it).
        """
        self._check_going()
        if self._sealer is None or self._pending is None:
            self.abandon()
            msg = f"{self._destination.final} was not written: no row came. Check the data and its limit"
            raise StoreError(msg)
        with self._writing():
            if self._pending.rows:
                self._sealer.seal(self._pending)
            self._pending = None
            self._sealer.complete(self._provenance)
            if self._destination.single_file:
                packed = self._destination.staging / PACKED
                pack(read_folder(self._destination.staging), durable.temporary_name(packed), packed)
            self._destination.publish()
        self._state, self._left = "ended", f"{self._destination.final} is whole"
        return open_store(self._destination.final)

    def abandon(self) -> str:
        """End without the rows that are not sealed yet. Sealed ones stay, as an unfinished store.

        Returns:
            a sentence that says what is left, and where. Calling it again, or after ``finish``, changes nothing.
        """
        if self._state != "ended":
            self._state, self._pending = "ended", None
            try:
                self._left = self._clean_up()
            except (OSError, StoreError) as error:
                self._left = f"what is left in {self._destination.staging} could not be tidied up: {error}"
        return self._left

    def _clean_up(self) -> str:
        destination = self._destination
        if destination.published:
            destination.tidy_up()
            return f"{destination.final} is whole"
        rows = clean_up(destination.staging, self._header) if self._header and self._sealer else 0
        if rows:
            destination.release()
            state = "a whole" if (destination.staging / COMPLETE).exists() else "an unfinished"
            return f"{destination.staging} keeps the {rows:,} rows that were sealed, as {state} store"
        destination.discard()
        return f"nothing of {destination.final} is left: no shard had been sealed"

    def _check_going(self) -> None:
        if self._state != "open":
            what = (
                "was interrupted while it wrote; abandon it"
                if self._state == "broken"
                else "has ended; open another"
            )
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
            msg = f"{place} can not be written: {error.strerror or error}. Make room there, or write elsewhere"
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
