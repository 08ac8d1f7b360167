"""Hash sealed files anew, in the order of their bytes, and compare with what was recorded. Bounded memory."""

from __future__ import annotations

import os
import stat
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import local
from typing import TYPE_CHECKING, Any, Self

import xxhash

from actstore.errors import StoreError
from actstore.store.disk import cures, durable
from actstore.store.disk.hdf5 import HDF5File
from actstore.store.documents.documents import natural
from actstore.store.documents.records import FileRecord
from actstore.store.verifying.report import METADATA, Damage, RowNumbers, dataset_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from actstore.store.documents.records import Extent

BUFFER_BYTES = 2**20  # read and hashed while it is in the cache
BATCH_BYTES = 4 * 2**20  # what one thread checks at a time, in whole blocks
OTHER_BYTES = "these bytes are not those that were written"


@dataclass(frozen=True)
class SealedFile:
    """A file of rows, and what was recorded of it.

    Args:
        path: where it lies.
        file_bytes: its size.
        hdf5_bytes: how many of these HDF5 knows of; what follows was checked already.
        gaps: the hash of all bytes outside the datasets.
        extents: its datasets.
        numbers: how its rows are counted.
        rows: how many rows it has.
        checked: one more dataset, which was checked already.
    """

    path: Path
    file_bytes: int
    hdf5_bytes: int
    gaps: str
    extents: Mapping[str, Extent]
    numbers: RowNumbers
    rows: int
    checked: Extent | None = None

    @classmethod
    def recorded(cls, path: Path, entry: Mapping[str, Any], numbers: RowNumbers) -> Self:
        """The file that a record of a journal describes; ValueError, KeyError or TypeError where it describes none."""
        file = FileRecord.parse(entry)
        nbytes = file.file_bytes
        return cls(path, nbytes, nbytes, file.gaps, file.extents, numbers, natural(entry["rows"]))


@dataclass(frozen=True)
class _Span:
    """Bytes with one hash: entries ``start`` to ``stop`` of a dataset, or all gaps where ``dataset`` is ""."""

    pieces: Sequence[tuple[int, int]]
    expected: str
    dataset: str = ""
    start: int = 0
    stop: int = 0

    @property
    def nbytes(self) -> int:
        return sum(nbytes for _, nbytes in self.pieces)


def check_files(
    files: Iterable[SealedFile], advance: Callable[[Path, int], None], workers: int
) -> Iterator[Damage]:
    """The damages of ``files``, file by file; ``advance`` is told, in this thread, how many bytes were checked."""
    pending: deque[tuple[_Check, Future[list[tuple[_Span, str]]] | None, int]] = deque()

    def settle(most: int) -> Iterator[Damage]:
        while len(pending) > most:
            check, future, nbytes = pending.popleft()
            if future is None:
                yield from check.conclude()
            else:
                check.failures += future.result()
                advance(check.file.path, nbytes)

    with ThreadPoolExecutor(workers, "verify") as pool:
        try:
            for file in files:
                check = _Check(file)
                for batch in _batches(_spans(file)):
                    nbytes = sum(span.nbytes for span in batch)
                    pending.append((check, pool.submit(check.failing, batch), nbytes))
                    yield from settle(2 * workers)
                pending.append((check, None, 0))
            yield from settle(0)
        finally:
            pool.shutdown(cancel_futures=True)
            for check, _, _ in pending:
                check.close()


def _spans(file: SealedFile) -> Iterator[_Span]:
    """Every byte of the file once: the blocks in the order in which they lie, then the gaps, cached by now."""
    gaps = []
    end = 0
    datasets = [*file.extents.items()] + ([("", file.checked)] if file.checked else [])
    for path, extent in sorted(datasets, key=lambda item: item[1].offset):
        if extent.nbytes:
            gaps.append((end, extent.offset - end))
            end = extent.offset + extent.nbytes
        if path:
            yield from _blocks(path, extent)
    gaps.append((end, file.hdf5_bytes - end))
    yield _Span(gaps, file.gaps)


def _blocks(path: str, extent: Extent) -> Iterator[_Span]:
    entries = extent.shape[0] if extent.shape else 1
    size = extent.row_bytes if extent.shape else extent.nbytes
    for number, expected in enumerate(extent.hashes):
        start = number * extent.block_rows
        stop = min(entries, start + extent.block_rows)
        yield _Span([(extent.offset + start * size, (stop - start) * size)], expected, path, start, stop)


def _batches(spans: Iterable[_Span]) -> Iterator[list[_Span]]:
    batch: list[_Span] = []
    room = BATCH_BYTES
    for span in spans:
        if batch and span.nbytes > room:
            yield batch
            batch, room = [], BATCH_BYTES
        batch.append(span)
        room -= span.nbytes
    if batch:
        yield batch


class _Check:
    """One file while its blocks are hashed by several threads."""

    _buffers = local()

    def __init__(self, file: SealedFile) -> None:
        self.file = file
        self.failures: list[tuple[_Span, str]] = []
        self._fd = -1
        self._whole: tuple[str, str] | None = None  # place and reason of what is wrong with the file as such
        rows = f"all it holds, {file.numbers.text(0, file.rows)}"
        try:
            self._fd = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            _check_tells(file.path, error)
            self._whole = rows, f"the file cannot be opened ({error.strerror})"
            return
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            self._whole = rows, "this is no file"
            self.close()
        elif status.st_size != file.file_bytes:
            self._whole = "size", f"{status.st_size:,} bytes where {file.file_bytes:,} were written"

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def failing(self, spans: Iterable[_Span]) -> list[tuple[_Span, str]]:
        """Those of the spans that are not as they were written, each with a reason."""
        if self._fd < 0:
            return []
        found = []
        for span in spans:
            try:
                if self._hash(span.pieces) != span.expected:
                    found.append((span, OTHER_BYTES))
            except OSError as error:
                _check_tells(self.file.path, error)
                found.append((span, f"cannot be read ({error.strerror})"))
        return found

    def _hash(self, pieces: Iterable[tuple[int, int]]) -> str:
        if not hasattr(self._buffers, "view"):
            self._buffers.view = memoryview(bytearray(BUFFER_BYTES))
        state = xxhash.xxh3_64()
        for offset, nbytes in pieces:
            end = offset + nbytes
            while offset < end:
                part = self._buffers.view[: end - offset]
                got = durable.read_at(self._fd, part, offset)
                state.update(part[:got])
                if got < part.nbytes:  # the file ends here, and so does what can be compared
                    return ""
                offset += got
        return state.hexdigest()

    def conclude(self) -> list[Damage]:
        """Return what is wrong with the file, once every span was checked: only a sound one is shown to HDF5."""
        self.close()
        found = [self._whole] if self._whole else []
        found += [(self._place(span), reason) for span, reason in _joined(self.failures)]
        if not found:
            found = self._differences_to_hdf5()
        return [Damage(self.file.path, place, reason) for place, reason in found]

    def _place(self, span: _Span) -> str:
        return (
            dataset_place(span.dataset, span.start, span.stop, self.file.numbers) if span.dataset else METADATA
        )

    def _differences_to_hdf5(self) -> list[tuple[str, str]]:
        try:
            with HDF5File(self.file.path) as file:
                for path, extent in self.file.extents.items():
                    offset = file.offset(path, extent.dtype, extent.shape)
                    if extent.nbytes and offset != extent.offset:
                        return [
                            (
                                METADATA,
                                f"HDF5 has dataset {path!r} at {offset:,}, the record at {extent.offset:,}",
                            )
                        ]
        except StoreError as error:
            return [(METADATA, str(error))]
        return []


def _check_tells(path: Path, error: OSError) -> None:
    """StoreError where a file was not read for a reason that says nothing of it: then it is not verified."""
    if cures.says_nothing(error):
        msg = f"{path} cannot be read ({error.strerror}), and so not be verified; {cures.to_read(error)}"
        raise StoreError(msg) from error


def _joined(failures: Iterable[tuple[_Span, str]]) -> list[tuple[_Span, str]]:
    """Neighbouring blocks of a dataset as one."""
    joined: list[tuple[_Span, str]] = []
    for span, reason in failures:
        last, why = joined[-1] if joined else (span, "")
        if joined and span.dataset and (last.dataset, last.stop, why) == (span.dataset, span.start, reason):
            joined[-1] = replace(last, stop=span.stop), reason
        else:
            joined.append((span, reason))
    return joined
