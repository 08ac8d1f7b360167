"""One layer of a store: a row source (DESIGN section 2) over its files."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore.store.format import BFLOAT16, LayerInfo, layer_path, numpy_dtype
from actstore.store.indexing import as_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from os import PathLike

    from actstore.store.contents import Contents, Part
    from actstore.store.files import OpenFiles

GAP_BYTES = 16 * 2**10  # rows closer together than this are read in one go: it costs less than another call
SPAN_BYTES = 4 * 2**20  # rows further apart than this are never read in one go, whatever lies between them


class Layer:
    """The activations of one layer, (rows, *features), read from disk as they are asked for.

    ``layer[rows]`` takes an int, any slice, a list of ints in any order, or a mask. What it gives may be a
    read-only view of the file: copy it before writing to it. The same bits come on every read, threads may read at the
    same time, and a layer can be pickled (by path and name). bfloat16 arrives as the same values in float32; see
    ``raw``.
    """

    def __init__(self, contents: Contents, files: OpenFiles, info: LayerInfo, *, raw: bool = False) -> None:
        """A layer of an open store; get one from ``store.layers``."""
        self.info = info
        self._contents = contents
        self._files = files
        self._path = layer_path(info.name)
        self._stored = numpy_dtype(info.dtype).newbyteorder("=")
        self._widen = info.dtype == BFLOAT16 and not raw
        self._starts = np.array([part.first_row for part in contents.parts], np.int64)

    @property
    def name(self) -> str:
        """As the model calls it."""
        return self.info.name

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, *features)."""
        return (self._contents.rows, *self.info.shape)

    @property
    def ndim(self) -> int:
        """Number of axes, the rows' included."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype:
        """As delivered: bfloat16 as float32."""
        return np.dtype(np.float32) if self._widen else self._stored

    @property
    def stored_dtype(self) -> str:
        """As stored: NumPy's name, or "bfloat16"."""
        return self.info.dtype

    @property
    def axes(self) -> tuple[str, ...]:
        """The name of each feature axis."""
        return self.info.axes

    @property
    def nbytes(self) -> int:
        """Bytes that the layer takes on disk."""
        return len(self) * self.info.row_bytes

    @property
    def raw(self) -> Layer:
        """The same layer as it is stored: bfloat16 as its bits, in uint16."""
        return Layer(self._contents, self._files, self.info, raw=True)

    def __len__(self) -> int:
        return self._contents.rows

    def __repr__(self) -> str:
        return f"<Layer {self.name!r} {self.shape} {self.stored_dtype}>"

    def __getitem__(self, index: Any) -> np.ndarray:
        """Rows, in the order asked for. IndexError for what is out of range."""
        rows = as_rows(index, len(self))
        if isinstance(rows, int):
            return self._slice(rows, rows + 1)[0]
        if isinstance(rows, range):
            if rows.step == 1:
                return self._slice(rows.start, max(rows.start, rows.stop))
            rows = np.arange(rows.start, rows.stop, rows.step)
        if np.all(rows[1:] >= rows[:-1]):
            return self.take(rows)
        order = np.argsort(rows, kind="stable")
        out = np.empty((len(rows), *self.info.shape), self.dtype)
        out[order] = self.take(rows[order])
        return out

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        """All rows in memory, as ``np.asarray`` asks for them."""
        rows = self[:]
        if copy is False and (rows.flags.writeable or rows.dtype != (dtype or rows.dtype)):
            msg = f"layer {self.name!r} can not be had as {dtype or self.dtype} without a copy"
            raise ValueError(msg)
        return np.array(rows, dtype) if copy else np.asarray(rows, dtype)

    def blocks(self, block_rows: int) -> Iterator[np.ndarray]:
        """All rows in order, ``block_rows`` at a time, the last block shorter."""
        if block_rows < 1:
            msg = f"blocks of {block_rows} rows were asked for; 1 or more were expected"
            raise ValueError(msg)
        for start in range(0, len(self), block_rows):
            yield self._slice(start, min(start + block_rows, len(self)))

    def read_into(self, rows: slice, out: np.ndarray) -> None:
        """Read a slice into ``out``, which has its shape; straight from the file where dtype and memory order agree."""
        wanted = as_rows(rows, len(self))
        if not isinstance(wanted, range) or out.shape != (len(wanted), *self.info.shape):
            msg = f"{out.shape} was given for {rows} of layer {self.name!r} of shape {self.shape}"
            raise ValueError(msg)
        if wanted.step != 1 or out.dtype != self.dtype or not out.flags.c_contiguous:
            with np.errstate(invalid="ignore"):  # a NaN is no news: they are counted
                np.copyto(out, self[rows])
        elif self._widen:
            _widen(self.raw[rows], out)
        else:
            self._read(wanted.start, wanted.start + len(wanted), out)

    def take(self, ascending_rows: np.ndarray) -> np.ndarray:
        """Rows by number, ascending, repeats allowed; a copy. IndexError where they are not, or out of range."""
        rows = np.asarray(ascending_rows, np.int64)
        if len(rows) and (rows[0] < 0 or rows[-1] >= len(self) or (rows[1:] < rows[:-1]).any()):
            msg = (
                f"rows from {rows.min()} to {rows.max()} came; ascending ones below {len(self):,} were expected"
            )
            raise IndexError(msg)
        out = np.empty((len(rows), *self.info.shape), self._stored)
        if not len(rows) or not self.info.row_bytes:
            return self._deliver(out)
        bounds = np.searchsorted(rows, self._starts)
        for part, first, last in zip(self._contents.parts, bounds, [*bounds[1:], len(rows)], strict=True):
            if first < last:
                self._take_from(part, rows[first:last] - part.first_row, out[first:last])
        return self._deliver(out)

    def _take_from(self, part: Part, rows: np.ndarray, out: np.ndarray) -> None:
        """Rows of one file, in as few reads as their distances allow."""
        file, extent = self._files.get(part), part.extents[self._path]
        size = extent.row_bytes
        span_rows = max(1, SPAN_BYTES // size)
        steps = np.diff(rows)
        far = (steps - 1) * size > GAP_BYTES
        far |= np.diff(rows // span_rows) > 0
        cuts = [0, *(np.flatnonzero(far) + 1).tolist(), len(rows)]
        for start, stop in pairwise(cuts):
            low, high = int(rows[start]), int(rows[stop - 1]) + 1
            offset = extent.offset + low * size
            if high - low == stop - start and bool((steps[start : stop - 1] == 1).all()):
                file.read_into(out[start:stop], offset)
            else:
                span = np.empty((high - low, *out.shape[1:]), out.dtype)
                file.read_into(span, offset)
                np.take(span, rows[start:stop] - low, axis=0, out=out[start:stop])

    def _slice(self, start: int, stop: int) -> np.ndarray:
        """Neighbouring rows: a view of the file where one file has them all."""
        parts = list(self._overlaps(start, stop))
        if len(parts) == 1:
            part, first, last = parts[0]
            return self._deliver(self._files.get(part).view(part.extents[self._path], first, last))
        out = np.empty((stop - start, *self.info.shape), self._stored)
        self._read(start, stop, out)
        return self._deliver(out)

    def _read(self, start: int, stop: int, out: np.ndarray) -> None:
        done = 0
        for part, first, last in self._overlaps(start, stop):
            extent = part.extents[self._path]
            piece = out[done : done + last - first]
            self._files.get(part).read_into(piece, extent.offset + first * extent.row_bytes)
            done += last - first

    def _overlaps(self, start: int, stop: int) -> Iterator[tuple[Part, int, int]]:
        """The files that hold rows ``start`` to ``stop``, each with the rows of it, counted within it."""
        place = int(np.searchsorted(self._starts, start, side="right")) - 1
        while start < stop:
            part = self._contents.parts[place]
            last = min(stop - part.first_row, part.rows)
            yield part, start - part.first_row, last
            start, place = part.first_row + last, place + 1

    def _deliver(self, stored: np.ndarray) -> np.ndarray:
        return _widen(stored, np.empty(stored.shape, np.float32)) if self._widen else stored

    def __reduce__(self) -> tuple[Callable[..., Layer], tuple[Any, ...]]:
        raw = self.stored_dtype == BFLOAT16 and not self._widen
        steps = {self._contents.step: self._contents.fingerprint}
        return _reopen, (str(self._contents.path), self.name, steps, raw)


def _widen(bits: np.ndarray, out: np.ndarray) -> np.ndarray:
    """bfloat16 bits as the upper halves of contiguous float32s."""
    wide = out.view(np.uint32)
    wide[...] = bits
    wide <<= np.uint32(16)
    return out


def _reopen(path: str | PathLike[str], name: str, steps: Mapping[int, str], raw: bool) -> Layer:
    from actstore.store.reader import reopen

    layer = reopen(path, steps).layers[name]
    return layer.raw if raw else layer
