"""The one file that calls the HDF5 library for a store: it plans a file in memory, and finds datasets in one to verify.

The library never writes to a disk: a full disk would make it crash the process (measured). It lays out an empty file in
memory; the bytes it makes (its metadata) and the rows are then written by ``durable``.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import h5py
import numpy as np
from h5py import h5d, h5f, h5fd, h5g, h5l, h5o, h5p, h5s, h5t

from actstore.errors import StoreError
from actstore.store.format import BFLOAT16, numpy_dtype

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

ALIGNMENT_BYTES = 64  # of every dataset, so that memory maps of it are aligned for any dtype


@dataclass(frozen=True)
class Layout:
    """A file yet to be written.

    Args:
        file_bytes: its size.
        offsets: where each dataset's bytes go, by path; 0 for an empty one.
        gaps: (offset, bytes) of all that is not a dataset's bytes, in order.
    """

    file_bytes: int
    offsets: Mapping[str, int]
    gaps: Sequence[tuple[int, bytes]]


def lay_out(datasets: Mapping[str, tuple[str, tuple[int, ...]]]) -> Layout:
    """Plan an HDF5 file with these datasets, path to (dtype, shape): contiguous, allocated early, never filled."""
    image = _MemoryFile()
    spans = {}
    file = _create_file(image)
    for path, (dtype, shape) in datasets.items():
        dataset = _create_dataset(file, path, dtype, shape)
        spans[path] = (dataset.get_offset() or 0, dataset.get_storage_size())
    file.close()
    gaps = []
    end = 0
    for offset, nbytes in sorted(span for span in spans.values() if span[1]):
        gaps.append((end, image.read_span(end, offset)))
        end = offset + nbytes
    gaps.append((end, image.read_span(end, image.size)))
    return Layout(image.size, {path: offset for path, (offset, _) in spans.items()}, gaps)


def _create_file(image: _MemoryFile) -> h5f.FileID:
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fclose_degree(h5f.CLOSE_STRONG)  # what is still open in the file closes with it
    access.set_fileobj_driver(h5fd.fileobj_driver, image)
    access.set_libver_bounds(h5f.LIBVER_V18, h5f.LIBVER_V110)
    access.set_alignment(1, ALIGNMENT_BYTES)
    return h5f.create(b"image", h5f.ACC_TRUNC, _timeless(h5p.FILE_CREATE), access)


def _timeless(kind: h5p.PropClassID) -> Any:
    """Properties without times of change: the same rows make the same bytes."""
    properties = h5p.create(kind)
    properties.set_obj_track_times(False)
    return properties


def _create_dataset(file: h5f.FileID, path: str, dtype: str, shape: tuple[int, ...]) -> h5d.DatasetID:
    links = h5p.create(h5p.LINK_CREATE)
    links.set_char_encoding(h5t.CSET_UTF8)
    *groups, name = path.encode("utf-8").split(b"/")
    place = file
    for group in groups:
        if group in h5g.open(place, b"."):
            place = h5g.open(place, group)
        else:
            place = h5g.create(place, group, links, _timeless(h5p.GROUP_CREATE))
    creation = _timeless(h5p.DATASET_CREATE)
    creation.set_layout(h5d.CONTIGUOUS)
    creation.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5d.FILL_TIME_NEVER)
    space = h5s.create_simple(shape) if shape else h5s.create(h5s.SCALAR)
    return h5d.create(place, name, hdf5_type(dtype), space, dcpl=creation, lcpl=links)


def hdf5_type(dtype: str) -> h5t.TypeID:
    """The HDF5 type of a dtype name. bfloat16 is a float of 8 exponent and 7 fraction bits that any reader converts."""
    if dtype == BFLOAT16:
        kind = h5t.IEEE_F16LE.copy()
        kind.set_fields(15, 7, 8, 0, 7)  # where sign, exponent and its length, fraction and its length lie
        kind.set_ebias(127)
        return kind
    if dtype.startswith("S"):
        kind = h5t.C_S1.copy()
        kind.set_size(numpy_dtype(dtype).itemsize)
        kind.set_strpad(h5t.STR_NULLPAD)
        kind.set_cset(h5t.CSET_UTF8)
        return kind
    return h5t.py_create(numpy_dtype(dtype))  # bool: h5py's enumeration of FALSE and TRUE


class _MemoryFile(io.RawIOBase):
    """A file whose unwritten bytes are zeros and take no memory."""

    def __init__(self) -> None:
        self._writes: list[tuple[int, bytes]] = []
        self._position = 0
        self.size = 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def truncate(self, size: int | None = None) -> int:
        self.size = self._position if size is None else size
        return self.size

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._writes.append((self._position, piece))
        self._position += len(piece)
        self.size = max(self.size, self._position)
        return len(piece)

    def readinto(self, buffer: Any) -> int:
        data = self.read_span(self._position, self._position + len(buffer))
        buffer[:] = data
        self._position += len(data)
        return len(data)

    def read_span(self, start: int, stop: int) -> bytes:
        """The bytes from ``start`` to ``stop``."""
        span = bytearray(stop - start)
        for offset, piece in self._writes:
            first, last = max(start, offset), min(stop, offset + len(piece))
            if first < last:
                span[first - start : last - start] = piece[first - offset : last - offset]
        return bytes(span)


class HDF5File:
    """An HDF5 file opened to see that its datasets lie where a record says. What is outside the profile is refused."""

    def __init__(self, path: Path) -> None:
        """Open ``path``. StoreError where HDF5 cannot."""
        self._path = path
        self._file_bytes = path.stat().st_size
        try:
            self._file = h5py.File(path, "r", locking=False)
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            msg = f"{path} is damaged: HDF5 cannot open it ({str(error).splitlines()[0]})"
            raise StoreError(msg) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def offset(self, path: str, dtype: str, shape: tuple[int, ...]) -> int:
        """Where the dataset at ``path`` lies, which has to be of this dtype and shape."""
        dataset = self._dataset(path)
        if dataset.get_type() != hdf5_type(dtype) or dataset.shape != shape:
            raise self._refusal(path, f"is not {dtype} {shape}")
        return self._offset(path, dataset, int(np.prod(shape, dtype=object)) * numpy_dtype(dtype).itemsize)

    def _dataset(self, path: str) -> h5d.DatasetID:
        """Open a dataset, going down by hard links only."""
        group: Any = self._file.id
        try:
            for component in path.encode("utf-8").split(b"/"):
                if not isinstance(group, h5g.GroupID) or group.links.get_info(component).type != h5l.TYPE_HARD:
                    raise self._refusal(path, "is reached through a link")
                group = h5o.open(group, component)
        except (KeyError, RuntimeError, OSError, ValueError) as error:
            raise self._refusal(path, "cannot be opened") from error
        if not isinstance(group, h5d.DatasetID):
            raise self._refusal(path, "is not a dataset")
        return group

    def _offset(self, path: str, dataset: h5d.DatasetID, nbytes: int) -> int:
        creation = dataset.get_create_plist()
        if creation.get_layout() != h5d.CONTIGUOUS or creation.get_external_count() or creation.get_nfilters():
            raise self._refusal(path, "is not stored in one piece inside the file")
        offset = dataset.get_offset() if nbytes else 0
        if offset is None or offset + nbytes > self._file_bytes:
            raise self._refusal(path, "does not lie inside the file")
        return offset

    def _refusal(self, path: str, reason: str) -> StoreError:
        return StoreError(
            f"{self._path}: dataset {path!r} {reason}, so it is not read; restore the file from a copy"
        )
