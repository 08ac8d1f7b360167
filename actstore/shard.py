"""Write one HDF5 file of rows: a shard of a folder, or the whole of a single-file store."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from actstore import durable
from actstore.format import numpy_dtype
from actstore.records import Extent, hash_block_rows


@dataclass(frozen=True)
class Column:
    """A dataset to be written.

    Args:
        dtype: as ``format.numpy_dtype`` knows it.
        shape: of the whole.
        blocks: called once with a number of rows; yields the whole in blocks of so many, the last one shorter.
    """

    dtype: str
    shape: tuple[int, ...]
    blocks: Callable[[int], Iterable[np.ndarray]]

    @property
    def block_rows(self) -> int:
        """Rows that are written and hashed together."""
        return hash_block_rows(Extent(self.dtype, self.shape, 0).row_bytes)

    @classmethod
    def of(cls, array: np.ndarray, dtype: str) -> Column:
        """A column that lies in memory."""

        def blocks(block_rows: int) -> Iterator[np.ndarray]:
            for start in range(0, len(array), block_rows):
                yield array[start : start + block_rows]

        return cls(dtype, array.shape, blocks)


@dataclass(frozen=True)
class WrittenFile:
    """A file on the disk: its size, the hash of what is not data, and its datasets."""

    file_bytes: int
    gaps: str
    extents: Mapping[str, Extent]


def write_file(path: Path, columns: Mapping[str, Column], last: Callable[..., bytes] | None = None) -> WrittenFile: ...
