"""A file in memory that is mostly holes: what the HDF5 library writes when it plans a file without its rows."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PagedMemory"]


class PagedMemory(io.RawIOBase):
    """A file of which only the pages that were written take room; the others are zeros."""

    _PAGE = 512  # small: between the arrays of a file there are few bytes of the library's own

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._position = 0
        self.size = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; behind the end, too."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """Return the place."""
        return self._position

    def truncate(self, size: int | None = None) -> int:
        """Set the size."""
        self.size = self._position if size is None else size
        return self.size

    def write(self, data: Any) -> int:
        """Write bytes at the place."""
        piece = memoryview(data).cast("B")
        for page, start, part in self._parts(len(piece)):
            held = self._pages.setdefault(page, bytearray(self._PAGE))
            held[start : start + part.stop - part.start] = piece[part]
        self._position += len(piece)
        self.size = max(self.size, self._position)
        return len(piece)

    def readinto(self, buffer: Any) -> int:
        """Read bytes at the place, zeros where none were written."""
        for page, start, part in self._parts(len(buffer)):
            held = self._pages.get(page, bytes(self._PAGE))
            buffer[part] = held[start : start + part.stop - part.start]
        self._position += len(buffer)
        return len(buffer)

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, bytes) of what was written, in order."""
        for page in sorted(self._pages):
            offset = page * self._PAGE
            yield offset, bytes(self._pages[page][: max(0, self.size - offset)])

    def _parts(self, length: int) -> Iterator[tuple[int, int, slice]]:
        """Yield what of the next ``length`` bytes lies in which page: (page, start within it, part of the bytes)."""
        done = 0
        while done < length:
            page, start = divmod(self._position + done, self._PAGE)
            part = slice(done, min(length, done + self._PAGE - start))
            yield page, start, part
            done = part.stop
