"""One layer of a store: a row source over its files."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore.store.documents.bfloat16 import widened
from actstore.store.format import BFLOAT16, StoredLayer, layer_path, numpy_dtype
from actstore.store.reading.indexing import as_rows
from actstore.store.reading.read_hashes import Checked
from actstore.store.reading.scattered_rows import take_rows
from actstore.store.reading.shown import layer_html

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from os import PathLike

    from actstore.store.documents.catalog import Contents, Part
    from actstore.store.reading.open_files import OpenFiles

MAPPED_BYTES = (
    32 * 2**20
)  # of the views that ``blocks`` gave, so much stays mapped: each unmapping has its price
AHEAD_BYTES = 4 * 2**20  # small blocks are read so much at a time
PIECE_BYTES = 2**20  # rows that are converted on the way pass through a buffer of this size


class Layer:
    """The activations of one layer, (rows, *features), read from disk as they are asked for.

    ``layer[rows]`` takes an int, any slice, a list of ints in any order, or a mask; ``layer[rows, ...]`` is the same.
    What it gives is the reader's own: writing to it changes neither the file nor what is read next. (Many rows at once
    are a private map of the file, so that they take no memory before they are looked at.) The same bits come on every
    read, threads may read at the same time, and a layer can be pickled (by path and name). bfloat16 arrives as the
    same values in float32; see ``raw``.

    Hashes are checked by the first pass over the rows, whether it goes by ``blocks``, ``read_into`` or slices, in one
    thread or in several with a range each: a block of about 4 MiB is hashed, once per opened store, when the rows
    that were read cover it. The read that completes a damaged block gives none of its rows but a StoreError that names
    them. Rows read here and there, and ``take``, read what was asked for and check nothing.
    """

    def __init__(self, contents: Contents, files: OpenFiles, info: StoredLayer, *, raw: bool = False) -> None:
        """A layer of an open store; get one from ``store.layers``."""
        self.info = info
        self._contents = contents
        self._files = files
        self._path = layer_path(info.name)
        self._stored = numpy_dtype(info.dtype).newbyteorder("=")
        self._widen = info.dtype == BFLOAT16 and not raw
        self._starts = np.array([part.first_row for part in contents.parts], np.int64)
        self._checked: dict[int, Checked] = {}  # by the part's first row

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
        raw = Layer(self._contents, self._files, self.info, raw=True)
        raw._checked = self._checked
        return raw

    def __len__(self) -> int:
        return self._contents.rows

    def __repr__(self) -> str:
        return f"<Layer {self.name!r} {self.shape} {self.stored_dtype}>"

    def _repr_html_(self) -> str:
        return layer_html(self)

    def __getitems__(self, rows: Sequence[int]) -> list[np.ndarray]:
        """Rows by number, each by itself: how a ``DataLoader`` of torch asks for a batch."""
        return list(self[rows])

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
        if copy is False and (rows.flags.owndata or rows.dtype != (dtype or rows.dtype)):
            msg = f"layer {self.name!r} cannot be had as {dtype or self.dtype} without a copy"
            raise ValueError(msg)
        return np.array(rows, dtype) if copy else np.asarray(rows, dtype)

    def blocks(self, block_rows: int) -> Iterator[np.ndarray]:
        """All rows in order, ``block_rows`` at a time, the last block shorter.

        The first time they are copies, checked, and two more are read while the caller works on one; after that they
        are read-only views. Memory does not grow with the layer.
        """
        if block_rows < 1:
            msg = f"blocks of {block_rows} rows were asked for; expected 1 or more"
            raise ValueError(msg)
        if all(self._check(part).covers(0, part.rows) for part in self._contents.parts):
            return self._mapped(block_rows)
        return self._read_ahead(block_rows)

    def _mapped(self, block_rows: int) -> Iterator[np.ndarray]:
        looked_at = 0
        for start in range(0, len(self), block_rows):
            stop = min(start + block_rows, len(self))
            yield self._slice(start, stop, shared=True)
            if (stop - looked_at) * self.info.row_bytes >= MAPPED_BYTES:
                for part, first, last in self._overlaps(looked_at, stop):
                    self._files.get(part).unmap(part.extents[self._path], first, last)
                looked_at = stop

    def _read_ahead(self, block_rows: int) -> Iterator[np.ndarray]:
        """Copies, in order: two reads at a time, so that the disk does not wait for the hashes."""
        step = block_rows * max(1, AHEAD_BYTES // max(1, block_rows * self.info.row_bytes))
        with ThreadPoolExecutor(2, "actstore-read-ahead") as ahead:
            coming: deque[Future[np.ndarray]] = deque()
            for start in range(0, len(self), step):
                room = self._room(min(step, len(self) - start))
                coming.append(ahead.submit(self._copy, start, start + len(room), room))
                if len(coming) > 2:
                    yield from _cut(coming.popleft().result(), block_rows)
            while coming:
                yield from _cut(coming.popleft().result(), block_rows)

    def read_into(self, rows: slice, out: np.ndarray) -> None:
        """Read a slice into ``out``, which has its shape; straight from the file where dtype and memory order agree.

        Maps nothing: the process does not grow. What ``out`` holds after an error is of no use.
        """
        wanted = as_rows(rows, len(self))
        if not isinstance(wanted, range) or out.shape != (len(wanted), *self.info.shape):
            msg = f"{out.shape} was given for {rows} of layer {self.name!r} of shape {self.shape}"
            raise ValueError(msg)
        if wanted.step != 1:
            with np.errstate(invalid="ignore"):  # a NaN is no news: they are counted
                np.copyto(out, self[rows])
        elif out.dtype == self._stored and not self._widen and out.flags.c_contiguous:
            self._read(wanted.start, wanted.start + len(wanted), out)
        else:
            self._read_converted(wanted.start, out)

    def _read_converted(self, start: int, out: np.ndarray) -> None:
        """Neighbouring rows by way of a buffer that stays in the processor's cache."""
        piece_rows = max(1, PIECE_BYTES // max(1, self.info.row_bytes))
        buffer = np.empty((min(piece_rows, len(out)), *self.info.shape), self._stored)
        for done in range(0, len(out), piece_rows):
            target = out[done : done + piece_rows]
            stored = buffer[: len(target)]
            self._read(start + done, start + done + len(target), stored)
            if self._widen and out.dtype == np.float32 and out.flags.c_contiguous:
                widened(stored, target)
            else:
                with np.errstate(invalid="ignore"):
                    np.copyto(target, self._deliver(stored))

    def take(self, ascending_rows: np.ndarray) -> np.ndarray:
        """Rows by number, ascending, repeats allowed; a copy. IndexError where they are not, or out of range."""
        rows = np.asarray(ascending_rows, np.int64)
        if len(rows) and (rows[0] < 0 or rows[-1] >= len(self) or (rows[1:] < rows[:-1]).any()):
            msg = f"rows go from {rows.min()} to {rows.max()}; expected ascending ones below {len(self):,}"
            raise IndexError(msg)
        out = np.empty((len(rows), *self.info.shape), self._stored)
        if not len(rows) or not self.info.row_bytes:
            return self._deliver(out)
        bounds = np.searchsorted(rows, self._starts)
        for part, first, last in zip(self._contents.parts, bounds, [*bounds[1:], len(rows)], strict=True):
            if first < last:
                wanted = rows[first:last] - part.first_row
                take_rows(self._files.get(part), part.extents[self._path], wanted, out[first:last])
        return self._deliver(out)

    def _slice(self, start: int, stop: int, *, shared: bool = False) -> np.ndarray:
        """Neighbouring rows: where one file has them all, a map of it, the reader's own unless it is to be shared."""
        parts = list(self._overlaps(start, stop))
        if len(parts) != 1:
            return self._copy(start, stop, self._room(stop - start))
        part, first, last = parts[0]
        file = self._files.get(part)
        mapped = file.view if shared or self._widen else file.own
        view = mapped(part.extents[self._path], first, last)
        self._check(part).pass_on(file, first, view)
        return self._deliver(view)

    def _room(self, rows: int) -> np.ndarray:
        return np.empty((rows, *self.info.shape), self._stored)

    def _copy(self, start: int, stop: int, out: np.ndarray) -> np.ndarray:
        self._read(start, stop, out)
        return self._deliver(out)

    def _read(self, start: int, stop: int, out: np.ndarray) -> None:
        """Neighbouring rows as stored, into ``out``; the hashes of the blocks they complete are checked."""
        done = 0
        for part, first, last in self._overlaps(start, stop):
            extent, file = part.extents[self._path], self._files.get(part)
            piece = out[done : done + last - first]
            file.read_into(piece, extent.offset + first * extent.row_bytes)
            self._check(part).pass_on(file, first, piece)
            done += last - first

    def _check(self, part: Part) -> Checked:
        known = self._checked.get(part.first_row)
        return known or self._checked.setdefault(part.first_row, Checked(part, self.name))

    def _overlaps(self, start: int, stop: int) -> Iterator[tuple[Part, int, int]]:
        """The files that hold rows ``start`` to ``stop``, each with the rows of it, counted within it."""
        place = int(np.searchsorted(self._starts, start, side="right")) - 1
        while start < stop:
            part = self._contents.parts[place]
            last = min(stop - part.first_row, part.rows)
            yield part, start - part.first_row, last
            start, place = part.first_row + last, place + 1

    def _deliver(self, stored: np.ndarray) -> np.ndarray:
        return widened(stored) if self._widen else stored

    def __reduce__(self) -> tuple[Callable[..., Layer], tuple[Any, ...]]:
        raw = self.stored_dtype == BFLOAT16 and not self._widen
        steps = {self._contents.step: self._contents.fingerprint}
        return _reopen, (str(self._contents.path), self.name, steps, raw)


def _cut(rows: np.ndarray, block_rows: int) -> Iterator[np.ndarray]:
    return (rows[first : first + block_rows] for first in range(0, len(rows), block_rows))


def _reopen(path: str | PathLike[str], name: str, steps: Mapping[int, str], raw: bool) -> Layer:
    from actstore.store.reading.reader import reopen

    layer = reopen(path, steps).layers[name]
    return layer.raw if raw else layer
