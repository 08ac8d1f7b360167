"""Files open for reading: a bounded number of them, shared by threads, each closed when nobody reads it any more."""

from __future__ import annotations

import errno
import mmap
import os
import sys
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from actstore.errors import StoreError
from actstore.store.disk import cures, durable
from actstore.store.format import numpy_dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from actstore.store.documents.catalog import Part
    from actstore.store.documents.records import Extent

OPEN_FILES = 32
SAMPLED = 8  # one span in so many is looked for in memory before the disk is told of them
ANNOUNCED_BYTES = 128 * 2**10  # of longer spans the disk learns early enough by itself
COPIED_BYTES = 2**20  # more rows at once are mapped: a copy costs more, and memory that may not be there
_NO_MORE_MAPS = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENODEV)  # the last: a file system without maps
_NO_RESERVE = (
    0x4000 if sys.platform == "linux" else 0
)  # MAP_NORESERVE: pages that nobody writes to need no swap
_PRIVATE: dict[str, int] = {
    "flags": mmap.MAP_PRIVATE | _NO_RESERVE,
    "prot": mmap.PROT_READ | mmap.PROT_WRITE,
}


class OpenFile:
    """One part of a store. Reads share no position, so threads need no lock."""

    def __init__(self, part: Part, *, once: bool = False) -> None:
        """Open the file. StoreError where it is gone, or another one than when the store was opened.

        ``once``: what was read is not read again, and need not stay in the system's memory.
        """
        self._path = part.path
        self._stamp = part.stamp
        self._once = once
        self._map: mmap.mmap | None = None
        self._fd = -1
        try:
            self._fd = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            msg = f"{part.path} cannot be read ({error.strerror}); {cures.to_read(error)}"
            raise StoreError(msg) from error
        self._check_unchanged()

    def _check_unchanged(self) -> None:
        status = os.fstat(self._fd)
        if (status.st_size, status.st_mtime_ns) != self._stamp:
            msg = f"{self._path} has changed since the store was opened; open the store again"
            raise StoreError(msg)

    def fill(self, buffer: memoryview, offset: int) -> None:
        """Fill a buffer with the bytes from ``offset`` on. StoreError where the disk fails or the file is too short."""
        try:
            got = durable.read_at(self._fd, buffer, offset)
        except OSError as error:
            msg = f"{self._path} cannot be read at byte {offset:,} ({error.strerror}); {cures.to_read(error)}"
            raise StoreError(msg) from error
        if got < buffer.nbytes:
            msg = f"{self._path} ends {buffer.nbytes - got:,} bytes too early; restore it from a copy"
            raise StoreError(msg)
        if self._once and got:
            durable.let_go(self._fd, offset, got)

    def read_into(self, out: np.ndarray, offset: int) -> None:
        """Fill a C-contiguous array with the bytes from ``offset`` on."""
        self.fill(out.reshape(-1).view(np.uint8).data, offset)

    def read(self, extent: Extent) -> np.ndarray:
        """A dataset, copied. StoreError where the file does not have as much as it declares."""
        if extent.offset + extent.nbytes > self._stamp[0]:
            msg = (
                f"{self._path} declares a dataset of {extent.nbytes:,} bytes at {extent.offset:,} but has "
                f"{self._stamp[0]:,} bytes; restore it from a copy"
            )
            raise StoreError(msg)
        out = np.empty(extent.shape, numpy_dtype(extent.dtype))
        self.read_into(out, extent.offset)
        return out

    def is_in_memory(self, offsets: Sequence[int]) -> bool:
        """Whether the bytes at all of these offsets are in memory."""
        return all(durable.in_memory(self._fd, offset) for offset in offsets)

    def expect(self, offsets: Sequence[int], lengths: Sequence[int]) -> None:
        """Let the disk begin with spans that will be read soon, unless a sample says that they are in memory."""
        if not self.is_in_memory(offsets[::SAMPLED]):
            for offset, length in zip(offsets, lengths, strict=True):
                if length <= ANNOUNCED_BYTES:
                    durable.will_read(self._fd, offset, length)

    def view(self, extent: Extent, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop`` of a dataset, a read-only map of the file that outlives this object.

        StoreError where the file is not what it was. One that is cut off later ends the process that touches the
        view (SIGBUS), as with any map; sealed files never are.
        """
        dtype, shape = numpy_dtype(extent.dtype), (stop - start, *extent.shape[1:])
        if not extent.row_bytes or stop == start:
            return np.empty(shape, dtype)
        self._check_unchanged()
        if self._map is None:  # two threads may both map it: the loser's map is dropped
            self._map = self._mapped(0, access=mmap.ACCESS_READ)
        if self._map is None:
            out = self._copied(extent, start, stop)
            out.flags.writeable = False
            return out
        return np.ndarray(shape, dtype, self._map, extent.offset + start * extent.row_bytes)

    def own(self, extent: Extent, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop`` of a dataset, an array of the caller's own that may be written to.

        A copy; beyond ``COPIED_BYTES`` a private map, whose pages are copied as they are written to. StoreError and
        SIGBUS as for ``view``.
        """
        dtype, shape = numpy_dtype(extent.dtype), (stop - start, *extent.shape[1:])
        offset, nbytes = extent.offset + start * extent.row_bytes, (stop - start) * extent.row_bytes
        if not nbytes:
            return np.empty(shape, dtype)
        self._check_unchanged()
        if nbytes > COPIED_BYTES:
            first = offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
            mapped = self._mapped(offset + nbytes - first, **_PRIVATE, offset=first)
            if mapped is not None:
                return np.ndarray(shape, dtype, mapped, offset - first)
        return self._copied(extent, start, stop)

    def _mapped(self, nbytes: int, **how: int) -> mmap.mmap | None:
        """A map of the file; None where this process may have no more of them (each keeps the file open)."""
        try:
            return mmap.mmap(self._fd, nbytes, **how)
        except OSError as error:
            if error.errno in _NO_MORE_MAPS:
                return None
            msg = f"{self._path} cannot be mapped ({error.strerror}); {cures.to_read(error)}"
            raise StoreError(msg) from error

    def _copied(self, extent: Extent, start: int, stop: int) -> np.ndarray:
        out = np.empty((stop - start, *extent.shape[1:]), numpy_dtype(extent.dtype))
        self.read_into(out, extent.offset + start * extent.row_bytes)
        return out

    def unmap(self, extent: Extent, start: int, stop: int) -> None:
        """Rows ``start`` to ``stop`` were looked at: they need no longer count as this process's memory."""
        if self._map is not None:
            size = extent.row_bytes
            durable.unmap(self._map, extent.offset + start * size, extent.offset + stop * size)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # Bound here, as a module may be gone by the time an interpreter that ends comes to this.
        if self._fd >= 0:
            close(self._fd)


class OpenFiles:
    """The parts that were read last."""

    def __init__(self, *, once: bool = False) -> None:
        """None is open yet; ``once`` as ``OpenFile`` takes it."""
        self._once = once
        self._files: OrderedDict[Path, OpenFile] | None = OrderedDict()
        self._lock = Lock()

    def get(self, part: Part) -> OpenFile:
        """The file of ``part``, open. StoreError once the store is closed."""
        with self._lock:
            if self._files is None:
                msg = f"{part.path} belongs to a store that was closed; open the store again"
                raise StoreError(msg)
            file = self._files.pop(part.path, None) or self._opened(part)
            self._files[part.path] = file
            if len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)
            return file

    def _opened(self, part: Part) -> OpenFile:
        """A file, newly open; where this process may have no more of them, those that nobody asks for are closed."""
        try:
            return OpenFile(part, once=self._once)
        except StoreError as error:
            full = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EMFILE
            if not self._files or not full:
                raise
            self._files.clear()
            return OpenFile(part, once=self._once)

    def close(self) -> None:
        """Let go of every file; arrays that map one stay valid."""
        with self._lock:
            self._files = None
