"""Pack a complete store into one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from actstore.errors import StoreError
from actstore.store.contents import Catalog
from actstore.store.format import LAYER_NAMES, MANIFEST, layer_path
from actstore.store.packed import manifest
from actstore.store.reader import Store
from actstore.store.records import Extent, unhashed
from actstore.store.rowtable import RowTable, row_table, text_column
from actstore.store.shard import NewFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from actstore.store.contents import Contents
    from actstore.store.layer import Layer


def pack(contents: Contents, temporary: Path, path: Path) -> None:
    """Write a store as one file, first under a ``temporary`` name. Activations pass through memory block by block."""
    if not contents.complete:
        msg = f"{contents.path} is unfinished; only a complete store can be packed. Finish the dump first"
        raise StoreError(msg)
    with Store(Catalog.of(contents)) as store:
        columns = {LAYER_NAMES: text_column(list(store.layers))} | RowTable.of(row_table(store)).columns()
        plan = {name: unhashed(*column.kind) for name, column in columns.items()}
        plan |= {
            layer_path(name): unhashed(layer.stored_dtype, layer.shape) for name, layer in store.layers.items()
        }
        size = len(manifest(contents, plan))  # hashes are of one length: the size is known before they are
        kinds = {name: (extent.dtype, extent.shape) for name, extent in plan.items()}
        with NewFile(temporary, {**kinds, MANIFEST: (f"S{size}", ())}) as file:
            extents: dict[str, Extent] = {}
            for name, column in columns.items():
                extents[name] = file.fill(name, column.pieces)
            for layer in store.layers.values():
                name = layer_path(layer.name)
                extents[name] = file.fill(name, _copied_blocks(layer.raw, plan[name].block_rows))
            file.fill(MANIFEST, [np.array(manifest(contents, extents))])
            file.commit(path)


def _copied_blocks(layer: Layer, block_rows: int) -> Iterator[np.ndarray]:
    """All rows in order, in one buffer: the process does not grow as it would by mapping the files."""
    buffer = np.empty((min(block_rows, len(layer)), *layer.shape[1:]), layer.dtype)
    for start in range(0, len(layer), block_rows):
        block = buffer[: len(layer) - start]
        layer.read_into(slice(start, start + block_rows), block)
        yield block
