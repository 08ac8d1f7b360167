"""What is recorded of a sealed shard: where each dataset lies, and a hash of every block of it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import xxhash

from actstore.store.documents import HASH_DIGITS, natural
from actstore.store.format import (
    HASH_BLOCK_BYTES,
    IDENTIFYING,
    JSON,
    ROW_ID,
    LayerInfo,
    is_row_column,
    is_shard_name,
    layer_path,
    numpy_dtype,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Extent:
    """One dataset in a file: contiguous, little-endian, from ``offset`` on.

    ``hashes`` has one xxh3 (64 bits) per block of ``block_rows`` entries of the first axis, the last one shorter.
    """

    dtype: str
    shape: tuple[int, ...]
    offset: int
    hashes: tuple[str, ...] = ()

    @property
    def row_bytes(self) -> int:
        """Bytes of one entry of the first axis."""
        return prod(self.shape[1:]) * numpy_dtype(self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of the whole."""
        return prod(self.shape) * numpy_dtype(self.dtype).itemsize

    @property
    def block_rows(self) -> int:
        """Entries of the first axis that are hashed together: about 4 MiB, at least one."""
        return max(1, HASH_BLOCK_BYTES // max(1, self.row_bytes))

    @property
    def blocks(self) -> int:
        """Number of hashed blocks; a scalar is one."""
        return -(-self.shape[0] // self.block_rows) if self.shape else 1

    def document(self) -> dict[str, JSON]:
        """The extent as JSON."""
        return {"dtype": self.dtype, "shape": self.shape, "offset": self.offset, "hashes": self.hashes}

    @classmethod
    def parse(cls, entry: Mapping[str, Any], file_bytes: int) -> Extent:
        """The extent in ``entry``; ValueError, KeyError or TypeError unless it lies inside the file."""
        shape = tuple(natural(side) for side in entry["shape"])
        extent = cls(entry["dtype"], shape, natural(entry["offset"]), tuple(entry["hashes"]))
        if extent.offset + extent.nbytes > file_bytes:
            msg = f"a dataset of {extent.nbytes} bytes at {extent.offset} does not lie in {file_bytes} bytes"
            raise ValueError(msg)
        if len(extent.hashes) != extent.blocks or not all(_is_hash(value) for value in extent.hashes):
            msg = f"{len(extent.hashes)} hashes of {extent.blocks} blocks"
            raise ValueError(msg)
        return extent


def unhashed(dtype: str, shape: tuple[int, ...]) -> Extent:
    """A dataset that is yet to be written, with room for its hashes."""
    extent = Extent(dtype, shape, 0)
    return replace(extent, hashes=("0" * HASH_DIGITS,) * extent.blocks)


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(rf"[0-9a-f]{{{HASH_DIGITS}}}", value) is not None


@dataclass(frozen=True)
class ShardRecord:
    """One sealed shard, as the journal lists it.

    Args:
        shard: its file name.
        first_row: the store's row that its first row is.
        rows: how many.
        file_bytes: the size of the file.
        gaps: xxh3 (64 bits) of all bytes outside the datasets, in order: the file's metadata and padding.
        extents: its datasets, by HDF5 path.
        nonfinite: by layer, how many rows have a NaN or an infinity.
    """

    shard: str
    first_row: int
    rows: int
    file_bytes: int
    gaps: str
    extents: Mapping[str, Extent]
    nonfinite: Mapping[str, int]

    def document(self) -> dict[str, JSON]:
        """The record as JSON."""
        return {
            "shard": self.shard,
            "first_row": self.first_row,
            "rows": self.rows,
            "file_bytes": self.file_bytes,
            "gaps": self.gaps,
            "datasets": {path: extent.document() for path, extent in self.extents.items()},
            "nonfinite": dict(self.nonfinite),
        }

    @classmethod
    def parse(cls, entry: Mapping[str, Any], first_row: int, layers: Sequence[LayerInfo]) -> ShardRecord:
        """The record in ``entry``, which has to begin at ``first_row`` and hold ``layers``, or it is a ValueError."""
        file_bytes, rows = natural(entry["file_bytes"]), natural(entry["rows"])
        extents = {path: Extent.parse(item, file_bytes) for path, item in entry["datasets"].items()}
        follows = entry["first_row"] == first_row and rows > 0
        if not (follows and is_shard_name(entry["shard"]) and _is_hash(entry["gaps"])):
            msg = f"record {entry['shard']!r} of {rows} rows does not follow on row {first_row}"
            raise ValueError(msg)
        check_datasets(extents, rows, layers)
        nonfinite = {layer.name: natural(entry["nonfinite"][layer.name]) for layer in layers}
        return cls(entry["shard"], first_row, rows, file_bytes, entry["gaps"], extents, nonfinite)


def check_datasets(extents: Mapping[str, Extent], rows: int, layers: Sequence[LayerInfo]) -> None:
    """ValueError or KeyError unless every layer, the ids and all else that counts by row have ``rows`` rows."""
    for layer in layers:
        extent = extents[layer_path(layer.name)]
        if (extent.dtype, extent.shape) != (layer.dtype, (rows, *layer.shape)):
            msg = f"layer {layer.name!r} is {extent.dtype} {extent.shape}, not {layer.dtype} {(rows, *layer.shape)}"
            raise ValueError(msg)
    for path, extent in extents.items():
        if is_row_column(path) and extent.shape != (rows,):
            msg = f"{path} has shape {extent.shape}, for {rows} rows"
            raise ValueError(msg)
    if ROW_ID not in extents:
        raise KeyError(ROW_ID)


class Fingerprint:
    """What identifies the rows and activations of a store: labels do not enter, moving or packing changes nothing."""

    def __init__(self, identity: str) -> None:
        """Start from the identity of the header: the layers and the row unit."""
        self._hash = xxhash.xxh3_128(identity.encode("ascii"))

    def update(self, record: ShardRecord) -> None:
        """Add the next shard: its number of rows, and the hashes of its activations and its row table."""
        hashes = {p: extent.hashes for p, extent in record.extents.items() if p.startswith(IDENTIFYING)}
        self._hash.update(json.dumps([record.rows, hashes]).encode("ascii"))

    def hexdigest(self) -> str:
        """32 hexadecimal digits."""
        return self._hash.hexdigest()
