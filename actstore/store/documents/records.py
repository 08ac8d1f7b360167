"""What is recorded of a sealed shard: where each dataset lies, and a hash of every block of it."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Any

from actstore.store.documents.documents import HASH_DIGITS, natural, text
from actstore.store.format import (
    HASH_BLOCK_BYTES,
    JSON,
    MOST_AXES,
    MOST_RANKS,
    ROW_ID,
    TARGET_NAMES,
    StoredLayer,
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
        if len(shape) > MOST_AXES or prod(max(1, side) for side in shape) >= 2**63:
            msg = f"a dataset of {len(shape)} axes that no array can have"
            raise ValueError(msg)
        if len(extent.hashes) != extent.blocks or not all(is_hash(value) for value in extent.hashes):
            msg = f"{len(extent.hashes)} hashes of {extent.blocks} blocks"
            raise ValueError(msg)
        return extent


def is_hash(value: object) -> bool:
    """Whether ``value`` is what xxh3 (64 bits) gives, as hexadecimal digits."""
    return isinstance(value, str) and re.fullmatch(rf"[0-9a-f]{{{HASH_DIGITS}}}", value) is not None


def hash_text(value: object) -> str:
    """``value`` where ``is_hash``; ValueError otherwise."""
    if not isinstance(value, str) or not is_hash(value):
        msg = f"{value!r} is not a hash"
        raise ValueError(msg)
    return value


@dataclass(frozen=True)
class FileRecord:
    """A sealed HDF5 file.

    Args:
        file_bytes: its size.
        gaps: xxh3 (64 bits) of all bytes outside the datasets, in order: the file's metadata and padding.
        extents: its datasets, by HDF5 path.
    """

    file_bytes: int
    gaps: str
    extents: Mapping[str, Extent]

    def document(self) -> dict[str, JSON]:
        """The record as JSON."""
        datasets = {path: extent.document() for path, extent in self.extents.items()}
        return {"file_bytes": self.file_bytes, "gaps": self.gaps, "datasets": datasets}

    @classmethod
    def parse(cls, entry: Mapping[str, Any]) -> FileRecord:
        """The record in ``entry``; ValueError, KeyError or TypeError unless its datasets lie apart, in the file."""
        file_bytes = natural(entry["file_bytes"])
        extents = {path: Extent.parse(item, file_bytes) for path, item in entry["datasets"].items()}
        check_apart(extents)
        return cls(file_bytes, hash_text(entry["gaps"]), extents)


@dataclass(frozen=True)
class Seen:
    """How far into its data a rank is: what resuming replays and compares.

    Args:
        batches: how many batches have been stored.
        inputs: a running hash of their inputs.
        targets: a running hash of the labels that came with them.
    """

    batches: int = 0
    inputs: str = ""
    targets: str = ""

    @classmethod
    def parse(cls, entry: Mapping[str, Any]) -> Seen:
        """Return what ``asdict`` made of it."""
        return cls(natural(entry["batches"]), text(entry["inputs"]), text(entry["targets"]))


@dataclass(frozen=True)
class ShardRecord:
    """One sealed shard, as the journal of its rank lists it.

    Args:
        shard: its file name.
        first_row: the rank's row that its first row is.
        rows: how many.
        file: what was written.
        nonfinite: by layer, how many rows have a NaN or an infinity.
        seen: how far the dump was when its last row was stored.
        segments: by layer, the state of its running hash after the last row (see ``running_hashes``).
        versions: of what computed the rows, where they are others than the rank began with; kept beside ``seen``.
    """

    shard: str
    first_row: int
    rows: int
    file: FileRecord
    nonfinite: Mapping[str, int]
    seen: Seen
    segments: Mapping[str, str]
    versions: Mapping[str, JSON] | None = None

    def document(self) -> dict[str, JSON]:
        """The record as JSON."""
        return {
            "shard": self.shard,
            "first_row": self.first_row,
            "rows": self.rows,
            **self.file.document(),
            "nonfinite": dict(self.nonfinite),
            "seen": asdict(self.seen) | ({} if self.versions is None else {"versions": dict(self.versions)}),
            "segments": dict(self.segments),
        }

    @classmethod
    def parse(cls, entry: Mapping[str, Any], first_row: int, layers: Sequence[StoredLayer]) -> ShardRecord:
        """The record in ``entry``, which has to begin at ``first_row`` and hold ``layers``, or it is a ValueError."""
        rows = natural(entry["rows"])
        if entry["first_row"] != first_row or rows == 0 or not is_shard_name(entry["shard"]):
            msg = f"record {entry['shard']!r} of {rows} rows does not follow on row {first_row}"
            raise ValueError(msg)
        file = FileRecord.parse(entry)
        check_datasets(file.extents, rows, layers)
        nonfinite = {layer.name: natural(entry["nonfinite"][layer.name]) for layer in layers}
        segments = {layer.name: text(entry["segments"][layer.name]) for layer in layers}
        versions = entry["seen"].get("versions")
        return cls(
            shard=entry["shard"],
            first_row=first_row,
            rows=rows,
            file=file,
            nonfinite=nonfinite,
            seen=Seen.parse(entry["seen"]),
            segments=segments,
            versions=None if versions is None else dict(versions),
        )


@dataclass(frozen=True)
class Begin:
    """The first record of a rank: which rows of the store it has.

    Args:
        rank: which one this is, from 0.
        world_size: how many there are.
        first_row: the store's row that its first row is.
        rows: how many it is going to have; None where only reading the data tells.
        provenance: what is the rank's own: its command, versions.
    """

    rank: int
    world_size: int
    first_row: int
    rows: int | None
    provenance: Mapping[str, JSON]

    @classmethod
    def parse(cls, entry: Mapping[str, Any], rank: int) -> Begin:
        """Return what ``asdict`` made of it; ValueError where it is not of this ``rank``."""
        rows = entry["rows"]
        begin = cls(
            natural(entry["rank"]),
            natural(entry["world_size"]),
            natural(entry["first_row"]),
            None if rows is None else natural(rows),
            dict(entry["provenance"]),
        )
        if begin.rank != rank or not rank < begin.world_size <= MOST_RANKS:
            msg = f"it begins rank {begin.rank} of {begin.world_size} in the folder of rank {rank}"
            raise ValueError(msg)
        return begin


@dataclass(frozen=True)
class End:
    """The last record of a rank, once all its rows are sealed.

    Args:
        rows: how many they are.
        hashes: of each layer's activations by name, and of the row table under "" (see ``running_hashes``).
        provenance: what was known only then: the hashes of the inputs.
    """

    rows: int
    hashes: Mapping[str, str]
    provenance: Mapping[str, JSON]

    @classmethod
    def parse(cls, entry: Mapping[str, Any], rows: int) -> End:
        """Return what ``asdict`` made of it; ValueError where it does not end after ``rows`` rows."""
        if natural(entry["rows"]) != rows:
            msg = f"it ends after {entry['rows']} rows where {rows} are listed"
            raise ValueError(msg)
        return cls(
            rows, {name: text(value) for name, value in entry["hashes"].items()}, dict(entry["provenance"])
        )


def check_apart(extents: Mapping[str, Extent]) -> None:
    """ValueError where two datasets overlap."""
    spans = sorted((e.offset, e.offset + e.nbytes, path) for path, e in extents.items() if e.nbytes)
    for (_, end, path), (start, _, other) in pairwise(spans):
        if start < end:
            msg = f"datasets {path!r} and {other!r} overlap"
            raise ValueError(msg)


def check_datasets(extents: Mapping[str, Extent], rows: int, layers: Sequence[StoredLayer]) -> None:
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


def check_targets(extents: Mapping[str, Extent], rows: int) -> None:
    """ValueError unless the one target of a file of its own has a code for each of ``rows`` rows."""
    codes = [extent for path, extent in extents.items() if is_row_column(path)]
    if TARGET_NAMES not in extents or len(codes) != 1 or codes[0].shape != (rows,):
        msg = f"it has {len(codes)} targets where one of {rows} rows is needed"
        raise ValueError(msg)
