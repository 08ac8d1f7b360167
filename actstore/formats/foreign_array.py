"""A dataset in a file of others, as an array that is read in slices: a row source for whoever takes one."""

from __future__ import annotations

import itertools
import os
from collections import OrderedDict
from dataclasses import dataclass
from math import prod
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from actstore.errors import SourceError
from actstore.formats.hdf5_place import BOOLEAN, NULL_ENDED, SPACE_PADDED
from actstore.formats.opening import Stamp, stamp_of
from actstore.store.disk import durable
from actstore.store.documents.bfloat16 import widened
from actstore.store.format import BFLOAT16

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from actstore.formats.hdf5_place import Chunks, Place

KEPT_BYTES = 64 * 2**20
"""Of chunks that a slice needed a part of, which the next one may need the rest of."""

GAP_BYTES = 2**18
"""Rows that lie closer together than this are read in one slice."""

Box: TypeAlias = tuple[slice, ...]


@dataclass(frozen=True)
class Told:
    """What the file says of its values.

    Args:
        shape: of all.
        stored: the dtype of the bytes in the file.
        how: to understand them; see ``hdf5_types``.
        fills: numbers that stand for nothing.
    """

    shape: tuple[int, ...]
    stored: np.dtype
    how: str
    fills: tuple[float, ...] = ()

    @property
    def delivered(self) -> np.dtype:
        """The dtype that is read."""
        if self.how == BFLOAT16:
            return np.dtype(np.float32)
        return np.dtype(np.bool_) if self.how == BOOLEAN else self.stored


class ForeignArray:
    """The values at a place in a file, (rows, *features). Threads may share it; it can be pickled.

    Every slice is read from the file, which has to be the same as when it was opened, into an array of the caller's.
    """

    def __init__(self, path: Path, spec: str, stamp: Stamp, told: Told, place: Place) -> None:
        self.spec = spec
        self.shape = told.shape
        self.dtype = told.delivered
        self._path, self._stamp, self._told, self._place = path, stamp, told, place
        self._kept = _Kept()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_kept"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._kept = _Kept()

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many elements there are."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole, as delivered."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<{self.spec}: {self.dtype} {self.shape}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[()], dtype)

    def __getitem__(self, place: Any) -> np.ndarray:
        """Read slices of the first axes, or everything: ``[()]``.

        Raises:
            SourceError: the file changed, or what lies there cannot be decoded.
        """
        ranges = self._ranges(place)
        found = self._read(tuple(map(_covering, ranges)))
        steps = tuple(slice(None, None, span.step) for span in ranges)
        return found if all(span.step == 1 for span in ranges) else found[steps]

    def _ranges(self, place: Any) -> list[range]:
        """Return what slices mean along each axis; of the axes that they leave out, all."""
        parts = place if isinstance(place, tuple) else (place,)
        if not all(isinstance(part, slice) for part in parts) or len(parts) > self.ndim:
            msg = f"{self.spec} is read in slices; {place!r} was given"
            raise TypeError(msg)
        whole = (*parts, *[slice(None)] * (self.ndim - len(parts)))
        return [range(*part.indices(side)) for part, side in zip(whole, self.shape, strict=True)]

    def read_into(self, rows: slice, out: np.ndarray) -> None:
        """Read rows into an array of their shape and dtype."""
        out[...] = self[rows]

    def forget(self) -> None:
        """Give back the memory of what was decoded last."""
        self._kept = _Kept()

    def take(self, ascending: np.ndarray) -> np.ndarray:
        """(count, *features) rows by number: slices, out of which rows that lie close together are picked."""
        row_bytes = max(1, self.dtype.itemsize * prod(self.shape[1:]))
        breaks = np.flatnonzero(np.diff(ascending) > 1 + GAP_BYTES // row_bytes) + 1
        parts = [self[run[0] : run[-1] + 1][run - run[0]] for run in np.split(ascending, breaks) if len(run)]
        return np.concatenate(parts) if len(parts) != 1 else parts[0]

    def _read(self, box: Box) -> np.ndarray:
        out = np.empty([part.stop - part.start for part in box], self._told.stored)
        if not out.size:
            return out.astype(self.dtype)
        if self._place.data is not None:
            out[...] = np.frombuffer(self._place.data, self._told.stored).reshape(self.shape)[box]
        else:
            try:
                self._read_file(box, out)
            except OSError as error:
                msg = f"{self.spec} cannot be read: {error.strerror or error}"
                raise SourceError(msg) from error
        return self._understood(out, box)

    def _read_file(self, box: Box, out: np.ndarray) -> None:
        fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if stamp_of(fd) != self._stamp:
                msg = f"{self.spec}: the file changed since it was opened; read it once it is whole"
                raise SourceError(msg)
            if self._place.chunks is None:
                self._read_piece(fd, box, out, self._place.address, self.shape)
            else:
                self._read_chunks(fd, self._place.chunks, box, out)
        finally:
            os.close(fd)

    def _read_piece(self, fd: int, box: Box, out: np.ndarray, address: int, shape: Sequence[int]) -> None:
        """Read a box of an array that lies in one piece: at once where the box does, else part after part."""
        inner = prod(shape[1:]) * self._told.stored.itemsize
        if all(part == slice(0, side) for part, side in zip(box[1:], shape[1:], strict=True)):
            start = address + (box[0].start * inner if box else 0)
            buffer = out.reshape(-1).view(np.uint8).data
            if durable.read_at(fd, buffer, start) != buffer.nbytes:
                msg = f"{self.spec} cannot be read: the file ends too early"
                raise SourceError(msg)
            return
        for number, row in enumerate(range(box[0].start, box[0].stop)):
            self._read_piece(fd, box[1:], out[number], address + row * inner, shape[1:])

    def _read_chunks(self, fd: int, chunks: Chunks, box: Box, out: np.ndarray) -> None:
        spans = [
            range(part.start // side, -(-part.stop // side))
            for part, side in zip(box, chunks.shape, strict=True)
        ]
        for place in itertools.product(*spans):
            inside, target, is_whole = [], [], True
            for number, side, part, length in zip(place, chunks.shape, box, self.shape, strict=True):
                first = number * side
                start, stop = max(first, part.start), min(first + side, part.stop)
                inside.append(slice(start - first, stop - first))
                target.append(slice(start - part.start, stop - part.start))
                is_whole = is_whole and stop - start == min(side, length - first)
            out[tuple(target)] = self._chunk(fd, chunks, place, keep=not is_whole)[tuple(inside)]

    def _chunk(self, fd: int, chunks: Chunks, place: tuple[int, ...], *, keep: bool) -> np.ndarray:
        found = self._kept.get(place)
        if found is None:
            entry = chunks.index[place]
            buffer = bytearray(int(entry["nbytes"]))
            got = durable.read_at(fd, memoryview(buffer), int(entry["address"]))
            try:
                if got != len(buffer):
                    msg = "the file ends too early"
                    raise ValueError(msg)
                data = chunks.pipeline.undo(bytes(buffer), int(entry["mask"]))
            except ValueError as error:
                first = place[0] * chunks.shape[0]
                rows = f"{first:,} to {min(first + chunks.shape[0], self.shape[0]) - 1:,}"
                msg = (
                    f"{self.spec} cannot be read: the chunk at {place}, with rows {rows}, is damaged ({error})"
                )
                raise SourceError(msg) from error
            found = np.frombuffer(data, self._told.stored).reshape(chunks.shape)
        if keep:
            self._kept.put(place, found)
        return found

    def _understood(self, values: np.ndarray, box: Box) -> np.ndarray:
        """Return what the bits of elements stand for."""
        if self._told.how == BFLOAT16:
            values = widened(values.astype(np.uint16, copy=False))
        for fill in self._told.fills:
            odd = values == fill
            if values.dtype.kind in "iuf" and odd.any():
                row = int(np.argwhere(odd)[0, 0]) + box[0].start if box else 0
                msg = f"{self.spec} has {fill} in row {row:,}, which stands for no value (_FillValue); leave it out"
                raise SourceError(msg)
        if self._told.how == BOOLEAN:
            if values.max() > 1:
                msg = f"{self.spec} has a truth value that is neither true nor false"
                raise SourceError(msg)
            return values.view(np.bool_)
        return _ended(values, self._told.how) if values.dtype.kind == "S" else values


class _Kept:
    """The chunks that were decoded last, up to so many bytes."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._chunks: OrderedDict[tuple[int, ...], np.ndarray] = OrderedDict()
        self._nbytes = 0

    def get(self, place: tuple[int, ...]) -> np.ndarray | None:
        with self._lock:
            return self._chunks.get(place)

    def put(self, place: tuple[int, ...], chunk: np.ndarray) -> None:
        with self._lock:
            if place not in self._chunks and chunk.nbytes <= KEPT_BYTES:
                self._chunks[place] = chunk
                self._nbytes += chunk.nbytes
                while self._nbytes > KEPT_BYTES:
                    self._nbytes -= self._chunks.popitem(last=False)[1].nbytes


def _ended(texts: np.ndarray, how: str) -> np.ndarray:
    """Text without what pads it, which NumPy takes to be zeros."""
    if how == SPACE_PADDED:
        return np.char.rstrip(texts, b" ").astype(texts.dtype)
    if how == NULL_ENDED:  # whatever lies behind the first zero is no part of it
        letters = np.ascontiguousarray(texts).view(np.uint8).reshape(*texts.shape, texts.dtype.itemsize).copy()
        letters[np.maximum.accumulate(letters == 0, axis=-1)] = 0
        return letters.view(texts.dtype).reshape(texts.shape)
    return texts


def _covering(span: range) -> slice:
    """The elements from the least of a range to its greatest."""
    return slice(min(span[0], span[-1]), max(span[0], span[-1]) + 1) if span else slice(0, 0)
