"""Bring a sealed shard into another folder: as a second name of the same file, or as a copy, checked on the way."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from actstore.errors import StoreError
from actstore.store.disk import durable
from actstore.store.format import layer_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from actstore.store.documents.records import Extent, FileRecord
    from actstore.store.format import StoredLayer

GAP_BYTES = 2**20  # read at once of what is no dataset
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)


def link(source: Path, path: Path) -> None:
    """Give a file a second name. StoreError where the file system cannot."""
    try:
        os.link(os.path.realpath(source), path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        msg = (
            f"{source} cannot be linked to {path.parent} ({error.strerror}); pass copy=True (--copy) to copy the "
            "activations instead"
        )
        raise StoreError(msg) from error


class CheckedCopy:
    """A copy of a shard, every byte of which is compared with its hash before it counts."""

    def __init__(self, source: Path, file: FileRecord, layers: Sequence[StoredLayer], first_row: int) -> None:
        """Copy ``source``, which was recorded as ``file``; its first row is ``first_row`` of its store."""
        self._source, self._file, self._first_row = source, file, first_row
        self._names = {layer_path(layer.name): layer.name for layer in layers}

    def write(self, path: Path) -> None:
        """Write the copy, and wait until it is on the disk. StoreError where a byte is not what was written."""
        source = os.open(self._source, os.O_RDONLY | os.O_CLOEXEC)
        copy = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            gaps, end = xxhash.xxh3_64(), 0
            for name, extent in sorted(self._file.extents.items(), key=lambda item: item[1].offset):
                if not extent.nbytes:
                    continue
                for data in self._pieces(source, copy, end, extent.offset, GAP_BYTES):
                    gaps.update(data)
                self._copy_dataset(source, copy, name, extent)
                end = extent.offset + extent.nbytes
            for data in self._pieces(source, copy, end, self._file.file_bytes, GAP_BYTES):
                gaps.update(data)
            if gaps.hexdigest() != self._file.gaps:
                raise self._damaged("what lies between its datasets is")
            durable.sync_file(copy)
        finally:
            os.close(source)
            os.close(copy)

    def _copy_dataset(self, source: int, copy: int, name: str, extent: Extent) -> None:
        end = extent.offset + extent.nbytes
        blocks = self._pieces(source, copy, extent.offset, end, extent.block_rows * extent.row_bytes)
        for block, data in enumerate(blocks):
            if xxhash.xxh3_64_hexdigest(data) != extent.hashes[block]:
                first = block * extent.block_rows
                last = min(first + extent.block_rows, extent.shape[0]) - 1
                if name in self._names:
                    rows = f"rows {self._first_row + first:,} to {self._first_row + last:,}"
                    raise self._damaged(f"{rows} of layer {self._names[name]!r} are")
                raise self._damaged(f"entries {first:,} to {last:,} of {name} are")

    def _pieces(self, source: int, copy: int, start: int, end: int, piece_bytes: int) -> Iterator[memoryview]:
        """Copy the bytes from ``start`` to ``end``, and show them."""
        buffer = np.empty(min(piece_bytes, end - start), np.uint8).data
        while start < end:
            piece = buffer[: end - start]
            if durable.read_at(source, piece, start) < len(piece):
                raise self._damaged("its end is missing, which is")
            durable.write_at(copy, piece, start)
            yield piece
            start += len(piece)

    def _damaged(self, what: str) -> StoreError:
        return StoreError(f"{self._source} is damaged: {what} not what was written; restore it from a copy")
