"""Write one HDF5 file of rows: a shard of a folder, or the whole of a single-file store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import xxhash

from actstore.store import durable
from actstore.store.format import numpy_dtype
from actstore.store.hdf5 import lay_out
from actstore.store.records import Extent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType


@dataclass(frozen=True)
class Column:
    """A dataset to be: its dtype (as ``format.numpy_dtype`` knows it), its shape, and its rows in memory."""

    dtype: str
    array: np.ndarray

    @property
    def kind(self) -> tuple[str, tuple[int, ...]]:
        """Dtype and shape, what a file is laid out from."""
        return self.dtype, self.array.shape

    def blocks(self, block_rows: int) -> Iterator[np.ndarray]:
        """The rows in order, ``block_rows`` at a time."""
        for start in range(0, len(self.array), block_rows):
            yield self.array[start : start + block_rows]


class NewFile:
    """An HDF5 file in the making, under a temporary name: ``fill`` every dataset, then ``commit``.

    As a context manager it leaves nothing behind where it was not committed.
    """

    def __init__(self, temporary: Path, datasets: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        """Create the file with room for ``datasets``, path to (dtype, shape)."""
        self._layout = lay_out(datasets)
        self._datasets = datasets
        self._temporary = temporary
        self._fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)

    @property
    def file_bytes(self) -> int:
        """The size the file has once it is filled."""
        return self._layout.file_bytes

    def fill(self, path: str, blocks: Iterable[np.ndarray]) -> Extent:
        """Write a dataset, given in order in blocks of its extent's ``block_rows``."""
        dtype, shape = self._datasets[path]
        start = offset = self._layout.offsets[path]
        hashes = []
        for block in blocks:
            data = block_bytes(block, dtype)
            durable.write_at(self._fd, data, offset)
            hashes.append(xxhash.xxh3_64_hexdigest(data))
            offset += data.nbytes
        return Extent(dtype, shape, start, tuple(hashes))

    def commit(self, path: Path) -> str:
        """Write the rest, and give the file its name once all of it is on the disk. Returns the hash of the gaps."""
        gaps = xxhash.xxh3_64()
        for offset, data in self._layout.gaps:
            durable.write_at(self._fd, data, offset)
            gaps.update(data)
        durable.sync_file(self._fd)
        durable.rename(self._temporary, path)
        return gaps.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
        self._temporary.unlink(missing_ok=True)


def block_bytes(block: np.ndarray, dtype: str) -> memoryview:
    """The bytes of a block as they are stored: little-endian, in C order."""
    stored = np.ascontiguousarray(block, numpy_dtype(dtype))
    return stored.reshape(-1).view(np.uint8).data


def write_columns(
    temporary: Path, path: Path, columns: Mapping[str, Column]
) -> tuple[int, str, dict[str, Extent]]:
    """Write a file of columns that lie in memory. Returns its size, the hash of its gaps, its extents by path."""
    with NewFile(temporary, {name: column.kind for name, column in columns.items()}) as file:
        extents = {
            name: file.fill(name, column.blocks(Extent(*column.kind, 0).block_rows))
            for name, column in columns.items()
        }
        gaps = file.commit(path)
    return file.file_bytes, gaps, extents
