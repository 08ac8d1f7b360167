"""Compare all that is known of a store's rows with the hashes it was written with, before it is written anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from actstore.errors import StoreError
from actstore.store.documents.shard import BlockHashes
from actstore.store.format import layer_path
from actstore.store.reading.open_files import OpenFile

if TYPE_CHECKING:
    from actstore.store.documents.catalog import Catalog
    from actstore.store.documents.records import Extent


def check_row_table(catalog: Catalog) -> None:
    """Refuse ids, splits, groups, positions or labels that are not what was written.

    Layers are checked where they are read. Without this, a copy would give damaged ids a hash that fits.

    Raises:
        StoreError: the file and the dataset that is damaged.
    """
    layers = {layer_path(layer.name) for layer in catalog.header.layers}
    parts = [part for contents in catalog.steps.values() for part in contents.parts]
    for part in [*parts, *catalog.attached.values()]:
        file = OpenFile(part)
        for path, extent in part.extents.items():
            if path not in layers and not _is_sound(file, extent):
                msg = f"{part.path} is damaged: {path} is not what was written; restore it from a copy"
                raise StoreError(msg)


def _is_sound(file: OpenFile, extent: Extent) -> bool:
    """Whether a dataset has the hashes that were recorded. It is read whole, as readers do."""
    hashes = BlockHashes(extent.block_rows * extent.row_bytes)
    data = np.ascontiguousarray(file.read(extent)).reshape(-1).view(np.uint8).data
    for _ in hashes.spans(data):
        pass  # each span is hashed as it is asked for
    return hashes.digests(extent.blocks) == extent.hashes
