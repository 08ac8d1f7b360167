"""Where a dataset's bytes lie in its file, checked: what an index says is believed only where it can be true."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore.formats.hdf5_filters import COMPRESSORS, FLETCHER32, SHUFFLE, Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PLAIN, NULL_ENDED, SPACE_PADDED, BOOLEAN = "plain", "null-ended", "space-padded", "boolean"
"""How elements are to be understood; or ``BFLOAT16``."""


@dataclass(frozen=True)
class Chunks:
    """The chunks of a dataset.

    Args:
        shape: of a chunk.
        pipeline: what they were packed with.
        index: (chunks along each axis) of ``hdf5_child.index_dtype``, in the order of the array.
    """

    shape: tuple[int, ...]
    pipeline: Pipeline
    index: np.ndarray


@dataclass(frozen=True)
class Place:
    """Where the values are.

    Args:
        address: of the first byte, where all lie in one piece.
        data: the values themselves, where they lie in the object header.
        chunks: where they lie in chunks.
    """

    address: int = 0
    data: bytes | None = None
    chunks: Chunks | None = None


def index_dtype(rank: int) -> np.dtype:
    """Of one chunk: where it begins in the array, bits of filters left out, where it lies in the file, stored bytes."""
    return np.dtype([("start", "<i8", (rank,)), ("mask", "<u4"), ("address", "<u8"), ("nbytes", "<u8")])


def place_of(said: Mapping[str, Any], data: bytes, file_bytes: int) -> Place:
    """Return the place that the child tells of.

    Raises:
        ValueError: it cannot be: outside the file, over itself, of another size than the shape has, or not all there.
    """
    shape, item_bytes = tuple(said["shape"]), np.dtype(said["dtype"]).itemsize
    nbytes = prod(shape) * item_bytes
    if said["layout"] == "empty":
        return Place(data=b"")
    if said["layout"] == "compact":
        if len(data) != nbytes:
            msg = f"is damaged: it has {len(data):,} bytes where its shape needs {nbytes:,}"
            raise ValueError(msg)
        return Place(data=data)
    if said["layout"] == "contiguous":
        _check_piece(said["address"], said["nbytes"], nbytes, file_bytes)
        _check_apart(np.array([said["address"]]), np.array([nbytes]), said["needed"])
        return Place(address=said["address"])
    return Place(chunks=_chunks(said, data, file_bytes))


_UNWRITTEN = "was never written: the file has room for it but no values. What wrote it did not finish"


def _check_piece(address: int | None, stored: int, nbytes: int, file_bytes: int) -> None:
    if address is None or not stored:
        raise ValueError(_UNWRITTEN)
    if stored != nbytes:
        msg = f"is damaged: {stored:,} bytes are stored where its shape needs {nbytes:,}"
        raise ValueError(msg)
    if not 0 < address <= file_bytes - nbytes:
        msg = f"is damaged: its values reach from byte {address:,} out of a file of {file_bytes:,}"
        raise ValueError(msg)


def _chunks(said: Mapping[str, Any], data: bytes, file_bytes: int) -> Chunks:
    shape, chunk = tuple(said["shape"]), tuple(said["chunk"])
    item_bytes = np.dtype(said["dtype"]).itemsize
    pipeline = Pipeline(tuple(said["filters"]), prod(chunk) * item_bytes, item_bytes)
    index = np.frombuffer(data, index_dtype(len(shape)))
    grid = tuple(-(-side // part) for side, part in zip(shape, chunk, strict=True))
    _check_count(len(index), shape, chunk, grid)
    index = _ordered(index, chunk, grid)
    _check_stored(index, pipeline, file_bytes)
    _check_apart(index["address"].astype(np.int64), index["nbytes"].astype(np.int64), said["needed"])
    return Chunks(chunk, pipeline, index.reshape(grid))


def _check_count(found: int, shape: tuple[int, ...], chunk: tuple[int, ...], grid: tuple[int, ...]) -> None:
    if not found:
        raise ValueError(_UNWRITTEN)
    if found > prod(grid):
        msg = f"is damaged: its index has more than the {prod(grid):,} chunks of its shape {shape}"
        raise ValueError(msg)
    if found < prod(grid):
        msg = (
            f"was written in part: {found:,} of {prod(grid):,} chunks of {chunk} are there for its shape {shape}, "
            "and what would stand for the others is no value that anybody wrote. Write it whole, or cut it to the rows "
            "that were written (dataset.resize), or, where its fill value is meant, write that"
        )
        raise ValueError(msg)


def _ordered(index: np.ndarray, chunk: tuple[int, ...], grid: tuple[int, ...]) -> np.ndarray:
    """The chunks in the order of the array; each has to be there once."""
    places, rest = np.divmod(index["start"], np.array(chunk, np.int64))
    if rest.any() or (places < 0).any() or (places >= np.array(grid)).any():
        msg = "is damaged: a chunk in its index begins where none can"
        raise ValueError(msg)
    numbers = np.ravel_multi_index(tuple(places.T), grid)
    order = np.argsort(numbers, kind="stable")
    if not np.array_equal(numbers[order], np.arange(len(index))):
        msg = "is damaged: a chunk is twice in its index"
        raise ValueError(msg)
    return index[order]


def _check_stored(index: np.ndarray, pipeline: Pipeline, file_bytes: int) -> None:
    """Every chunk of a size that its filters give, inside the file, and apart from all others."""
    for mask in np.unique(index["mask"]):
        least, most = pipeline.sizes(int(mask))
        stored = index["nbytes"][index["mask"] == mask]
        if stored.min() < least or stored.max() > most:
            odd = stored.min() if stored.min() < least else stored.max()
            expected = f"{least:,}" if least == most else f"{least:,} to {most:,}"
            msg = f"is damaged: a chunk is stored in {odd:,} bytes where its filters give {expected}"
            raise ValueError(msg)
    _check_masks(index["mask"], pipeline)
    order = np.argsort(index["address"], kind="stable")
    starts, sizes = index["address"][order], index["nbytes"][order]
    if max(starts.max(), sizes.max(), (starts + sizes).max()) > file_bytes:
        msg = f"is damaged: a chunk reaches out of its file of {file_bytes:,} bytes"
        raise ValueError(msg)
    if (starts[:-1] + sizes[:-1] > starts[1:]).any():
        msg = "is damaged: two chunks lie over each other in its file"
        raise ValueError(msg)


def _check_apart(starts: np.ndarray, sizes: np.ndarray, needed: Iterable[tuple[int, int]]) -> None:
    for start, size in needed:
        if ((starts < start + size) & (starts + sizes > start)).any():
            msg = "is damaged: its values lie over what the file itself needs"
            raise ValueError(msg)


def _check_masks(masks: np.ndarray, pipeline: Pipeline) -> None:
    """Filters that no library leaves out of some chunks alone; a changed bit would give other numbers of one size."""
    for place, code in enumerate(pipeline.codes):
        left_out = masks >> place & 1
        if code not in COMPRESSORS and left_out.any() and not left_out.all():
            name = {SHUFFLE: "shuffle", FLETCHER32: "fletcher32"}[code]
            msg = f"is damaged: {name} is left out of some of its chunks and not of others"
            raise ValueError(msg)
    if (masks >> len(pipeline.codes)).any():
        msg = "is damaged: filters that it has not are left out of a chunk"
        raise ValueError(msg)
