"""Write one HDF5 file of rows: a shard of a folder, or the whole of a single-file store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
import xxhash

from actstore.store.disk.hdf5 import lay_out
from actstore.store.documents.records import Extent
from actstore.store.format import numpy_dtype

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from actstore.store.disk.output import WholeFile

SMALL_BYTES = (
    16 * 2**10
)  # spans shorter than this are gathered: copying one costs less than writing it by itself
GATHERED_BYTES = 2**20


class Stream(Protocol):
    """A running hash."""

    def update(self, data: memoryview, /) -> None:
        """Add bytes."""
        ...


@dataclass(frozen=True)
class ShardColumn:
    """A dataset to be: its dtype (as ``format.numpy_dtype`` knows it), its shape, and its rows in memory.

    ``pieces`` has the rows in order, cut anywhere along the first axis.
    """

    dtype: str
    shape: tuple[int, ...]
    pieces: Sequence[np.ndarray]

    @classmethod
    def of(cls, dtype: str, array: np.ndarray) -> ShardColumn:
        """A dataset whose rows lie in one array."""
        return cls(dtype, array.shape, [array])

    @property
    def kind(self) -> tuple[str, tuple[int, ...]]:
        """Dtype and shape, what a file is laid out from."""
        return self.dtype, self.shape


class NewFile:
    """An HDF5 file in the making: ``fill`` every dataset, then ``commit``.

    As a context manager it leaves nothing behind where it was not committed.
    """

    def __init__(self, file: WholeFile, datasets: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        """Make room in a new ``file`` for ``datasets``, path to (dtype, shape)."""
        self._layout = lay_out(datasets)
        self._datasets = dict(datasets)
        self._file = file

    @property
    def file_bytes(self) -> int:
        """The size the file has once it is filled, without a tail."""
        return self._layout.file_bytes

    @property
    def gaps(self) -> str:
        """The hash of all bytes outside the datasets, in order: xxh3, 64 bits."""
        gaps = xxhash.xxh3_64()
        for _, data in self._layout.gaps:
            gaps.update(data)
        return gaps.hexdigest()

    def add(self, path: str, dtype: str, shape: tuple[int, ...]) -> None:
        """Make room for one more dataset, behind those that are there; they may be filled already."""
        datasets = {**self._datasets, path: (dtype, shape)}
        layout = lay_out(datasets)
        moved = [name for name, offset in self._layout.offsets.items() if layout.offsets[name] != offset]
        if moved:  # the library allocates in the order of creation; the rows of a file depend on that
            msg = f"{self._file.path}: HDF5 moved the dataset {moved[0]!r} when {path!r} was added behind it"
            raise RuntimeError(msg)
        self._datasets, self._layout = datasets, layout

    def fill(self, path: str, pieces: Iterable[np.ndarray], stream: Stream | None = None) -> Extent:
        """Write a dataset, given in order in pieces of any number of rows; each may change once the next is asked for.

        Args:
            path: one of the file's datasets.
            pieces: together exactly its rows. ValueError where they are more or fewer.
            stream: a running hash that takes every byte as it is stored.
        """
        extent = Extent(*self._datasets[path], self._layout.offsets[path])
        hashes = BlockHashes(extent.block_rows * extent.row_bytes)
        output = _Output(self._file, extent.offset)
        for piece in pieces:
            for span in hashes.spans(block_bytes(piece, extent.dtype)):
                if stream is not None:
                    stream.update(span)
                output.write(span)
        output.flush()
        if output.offset != extent.offset + extent.nbytes:
            msg = f"{path}: {output.offset - extent.offset:,} bytes for a dataset of {extent.nbytes:,}"
            raise ValueError(msg)
        return Extent(extent.dtype, extent.shape, extent.offset, hashes.digests(extent.blocks))

    def commit(self, tail: bytes = b"") -> None:
        """Write the rest, and ``tail`` behind all that HDF5 knows of; name the file once all of it is on the disk."""
        for offset, data in self._layout.gaps:
            self._file.write(data, offset)
        self._file.write(tail, self.file_bytes)
        self._file.publish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def discard(self) -> None:
        """Close the file, and remove it unless it was committed."""
        self._file.discard()


class BlockHashes:
    """Hashes of the blocks of a dataset whose bytes come in pieces that end anywhere."""

    def __init__(self, block_bytes: int) -> None:
        """Blocks of ``block_bytes``; 0 for a dataset without bytes, whose blocks are all empty."""
        self._block_bytes = self._room = max(1, block_bytes)
        self._state = xxhash.xxh3_64()
        self._digests: list[str] = []

    def spans(self, data: memoryview) -> Iterator[memoryview]:
        """``data`` cut at the ends of blocks, each span just hashed and so in the cache."""
        while data.nbytes:
            span, data = data[: self._room], data[self._room :]
            self._state.update(span)
            self._room -= span.nbytes
            if not self._room:
                self._end_block()
            yield span

    def digests(self, blocks: int) -> tuple[str, ...]:
        """The hashes of all blocks, the last one shorter, once every byte came."""
        while len(self._digests) < blocks:
            self._end_block()
        return tuple(self._digests)

    def _end_block(self) -> None:
        self._digests.append(self._state.hexdigest())
        self._state.reset()
        self._room = self._block_bytes


class _Output:
    """Writes spans one behind the other; long ones as they are, short ones gathered."""

    def __init__(self, file: WholeFile, offset: int) -> None:
        self._file = file
        self._gathered = bytearray()
        self.offset = offset

    def write(self, span: memoryview) -> None:
        if span.nbytes < SMALL_BYTES:
            self._gathered += span
            if len(self._gathered) >= GATHERED_BYTES:
                self.flush()
            return
        self.flush()
        self._file.write(span, self.offset)
        self.offset += span.nbytes

    def flush(self) -> None:
        """Write what was gathered."""
        if self._gathered:
            self._file.write(bytes(self._gathered), self.offset)
            self.offset += len(self._gathered)
            self._gathered.clear()


def block_bytes(block: np.ndarray, dtype: str) -> memoryview:
    """The bytes of a block as they are stored: little-endian, in C order."""
    stored = np.ascontiguousarray(block, numpy_dtype(dtype))
    return stored.reshape(-1).view(np.uint8).data


def write_columns(
    whole: WholeFile, columns: Mapping[str, ShardColumn], streams: Mapping[str, Stream] | None = None
) -> tuple[int, str, dict[str, Extent]]:
    """Write a file of columns that lie in memory. Returns its size, the hash of its gaps, its extents by path.

    ``streams`` has running hashes by path, which take every byte of those datasets.
    """
    file, extents = fill_columns(whole, columns, streams)
    with file:
        file.commit()
    return file.file_bytes, file.gaps, extents


def fill_columns(
    whole: WholeFile, columns: Mapping[str, ShardColumn], streams: Mapping[str, Stream] | None = None
) -> tuple[NewFile, dict[str, Extent]]:
    """Begin a file of columns that lie in memory, all of them filled, which is yet to be committed."""
    streams = streams or {}
    try:
        file = NewFile(whole, {name: column.kind for name, column in columns.items()})
        return file, {
            name: file.fill(name, column.pieces, streams.get(name)) for name, column in columns.items()
        }
    except BaseException:
        whole.discard()
        raise
