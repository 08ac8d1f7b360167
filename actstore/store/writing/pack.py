"""Pack a complete store into one file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from actstore.errors import StoreError
from actstore.store.disk.output import WholeFile, check_room, whole_file
from actstore.store.documents.cast import Cast, check_float
from actstore.store.documents.catalog import Catalog
from actstore.store.documents.documents import HASH_DIGITS
from actstore.store.documents.folder import read_folder
from actstore.store.documents.records import Extent
from actstore.store.documents.row_table import RowTable, text_column
from actstore.store.documents.shard import NewFile, ShardColumn
from actstore.store.format import FILE_SUFFIX, FLOATS, LAYER_NAMES, MANIFEST, PACKED, layer_path
from actstore.store.reading.reader import Store, row_table
from actstore.store.reading.reader import open as open_store
from actstore.store.reading.row_hashes import check_row_table
from actstore.store.reading.single_file import FOOTER_BYTES, footer, is_single_file, manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from os import PathLike

    from actstore.store.documents.catalog import Catalog, Contents
    from actstore.store.reading.layer import Layer


PIECES = 4  # of a hashed block, 1 MiB each: of more, a shard's pages were often not those that the file gets


def pack(
    catalog: Catalog, whole: WholeFile, dtype: str | None = None, *, once: bool = False
) -> dict[str, Cast]:
    """Write a store as one file, and name it. Activations pass through memory block by block.

    Args:
        catalog: a complete store, of one step.
        whole: the new file; nothing is left of it after an error.
        dtype: what layers of floats are cast to; those of integers are kept.
        once: whether the store is removed afterwards: its rows need not stay in the system's memory.

    Returns:
        by layer, what a cast has lost; nothing for a layer that needed none.

    Raises:
        StoreError: the store is unfinished or damaged, ``dtype`` is no float, or there is no room.
        OSError: the disk takes no more.
    """
    contents = catalog.base
    if not contents.complete:
        msg = f"{contents.path} is unfinished; only a complete store can be packed. Finish the dump first"
        raise StoreError(msg)
    casts = _casts(contents, dtype)
    check_row_table(catalog)
    with Store(catalog, once=once) as store:
        columns = {LAYER_NAMES: text_column(list(store.layers))} | RowTable.of(row_table(store)).columns()
        kinds = {name: column.kind for name, column in columns.items()}
        for name, layer in store.layers.items():
            stored = casts[name].after if name in casts else layer.stored_dtype
            kinds[layer_path(name)] = (stored, layer.shape)
        with NewFile(whole, kinds) as file:
            check_room(whole.path, file.file_bytes)
            extents = _fill(file, columns, store, casts)
            commit_packed(file, whole.path, _as_packed(contents, casts, dtype), extents)
    return casts


def pack_staged(staging: Path, fence: Callable[[], None]) -> None:
    """Pack a store that is staged in a folder, beside its shards; ``fence`` raises where it is not ours any more."""
    with WholeFile(staging / PACKED, replace=True, fence=fence) as file:
        pack(read_folder(staging), file, once=True)


@dataclass(frozen=True)
class PackedFile:
    """What was packed: its rows, how many layers, the file's size, and by layer what a cast has lost."""

    rows: int
    layers: int
    file_bytes: int
    casts: Mapping[str, Cast]


def pack_store(
    path: str | PathLike[str],
    out: str | PathLike[str],
    *,
    step: int | None = None,
    dtype: str | None = None,
    overwrite: bool = False,
) -> PackedFile:
    """Pack one step of the store at ``path`` into the file ``out``, which appears only whole.

    Raises:
        StoreError: see ``pack``; ``out`` is no ``NAME.h5``, exists, or cannot be written.
    """
    if Path(out).suffix != FILE_SUFFIX:
        msg = f"{out} is not the name of a single file; expected NAME{FILE_SUFFIX}"
        raise StoreError(msg)
    with (
        open_store(path) as store,
        whole_file(out, overwrite=overwrite, inputs=[path], same_kind=is_single_file) as file,
    ):
        casts = pack(store.one(step).catalog, file, dtype)
        return PackedFile(store.rows, len(store.layers), file.file_bytes, casts)


def _casts(contents: Contents, dtype: str | None) -> dict[str, Cast]:
    """A cast for each layer that needs one."""
    if dtype is None:
        return {}
    check_float(dtype)
    layers = contents.header.layers
    return {one.name: Cast(one.dtype, dtype) for one in layers if one.dtype in FLOATS and one.dtype != dtype}


def _fill(
    file: NewFile, columns: Mapping[str, ShardColumn], store: Store, casts: Mapping[str, Cast]
) -> dict[str, Extent]:
    extents = {name: file.fill(name, column.pieces) for name, column in columns.items()}
    for name, layer in store.layers.items():
        blocks = layer_blocks(layer)
        cast = casts.get(name)
        extents[layer_path(name)] = file.fill(layer_path(name), map(cast, blocks) if cast else blocks)
    return extents


def commit_packed(file: NewFile, path: Path, contents: Contents, extents: Mapping[str, Extent]) -> None:
    """Add the manifest, the footer that leads to it, and the name."""
    nbytes = len(manifest(contents, extents, "0" * HASH_DIGITS))
    file.add(MANIFEST, f"S{nbytes}", ())
    place = file.fill(MANIFEST, [np.array(manifest(contents, extents, file.gaps))])
    check_room(path, FOOTER_BYTES)
    file.commit(footer(place.offset, nbytes))


def _as_packed(contents: Contents, casts: Mapping[str, Cast], dtype: str | None) -> Contents:
    """Return what the file says of itself: as the store does, but for the layers that were cast."""
    if not casts:
        return contents
    layers = tuple(
        replace(layer, dtype=casts[layer.name].after) if layer.name in casts else layer
        for layer in contents.header.layers
    )
    earlier = contents.provenance.get("cast")
    account = {name: cast.document() for name, cast in casts.items()}
    return replace(
        contents,
        header=replace(contents.header, layers=layers),
        fingerprint=xxhash.xxh3_128_hexdigest(json.dumps([contents.fingerprint, dtype]).encode("ascii")),
        provenance={
            **contents.provenance,
            "cast": {**(earlier if isinstance(earlier, Mapping) else {}), **account},
        },
        nonfinite={**contents.nonfinite, **{name: cast.nonfinite_rows for name, cast in casts.items()}},
    )


def layer_blocks(layer: Layer) -> Iterator[np.ndarray]:
    """All rows of a layer as they are stored, in order, in one buffer: mapping the files would grow the process."""
    raw = layer.raw
    block_rows = -(-Extent(layer.stored_dtype, layer.shape, 0).block_rows // PIECES)
    buffer = np.empty((min(block_rows, len(raw)), *raw.shape[1:]), raw.dtype)
    for start in range(0, len(raw), block_rows):
        block = buffer[: len(raw) - start]
        raw.read_into(slice(start, start + block_rows), block)
        yield block
