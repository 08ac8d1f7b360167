"""What a batch has to be before a row of it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from actstore.errors import LayerError, StoreError
from actstore.store.documents.coding import as_labels, check_texts, common_dtype
from actstore.store.documents.row_table import TableRows
from actstore.store.format import DTYPES, MOST_AXES, StoredLayer, encode_text, numpy_dtype

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actstore.activations import Captured, RowBatch


def describe_layers(activations: Mapping[str, Captured]) -> tuple[StoredLayer, ...]:
    """The layers of a batch, in its order. LayerError where a store cannot hold one."""
    if not activations:
        msg = "a batch comes without a layer; expected one layer at least. Check the layer patterns"
        raise StoreError(msg)
    return tuple(_describe(name, captured, order) for order, (name, captured) in enumerate(activations.items()))


def _describe(name: str, captured: Captured, order: int) -> StoredLayer:
    array, dtype = captured.array, captured.dtype
    for text, what in [(name, "layer name"), *((axis, f"layer {name!r}: axis name") for axis in captured.axes)]:
        encode_text(text, what)
    if dtype not in DTYPES or array.dtype.newbyteorder("<") != numpy_dtype(dtype):
        msg = (
            f"layer {name!r} is {array.dtype} named {dtype!r}; a store holds {', '.join(DTYPES)} "
            "(bfloat16 as its bits in uint16). Cast the layer, or leave it out"
        )
        raise LayerError(msg)
    if array.ndim > MOST_AXES:
        msg = f"layer {name!r} has {array.ndim} axes, {array.shape}; HDF5 holds at most {MOST_AXES}. Reshape it"
        raise LayerError(msg)
    if array.ndim != 1 + len(captured.axes):
        msg = (
            f"layer {name!r} has shape {array.shape} and axis names {captured.axes}; "
            "expected (rows, *features) and a name for each feature axis"
        )
        raise LayerError(msg)
    return StoredLayer(name, dtype, array.shape[1:], tuple(captured.axes), order)


def check_same_layers(found: Sequence[StoredLayer], expected: Sequence[StoredLayer]) -> None:
    """LayerError unless a batch has the layers of the first one, in any order."""
    by_name = {layer.name: layer for layer in found}
    names = {layer.name for layer in expected}
    if by_name.keys() != names:
        missing, extra = sorted(names - by_name.keys()), sorted(by_name.keys() - names)
        msg = (
            f"a batch has other layers than the first one (missing: {missing or 'none'}, new: {extra or 'none'}); "
            "a store holds every row at every layer"
        )
        raise LayerError(msg)
    for layer in expected:
        other = by_name[layer.name]
        if (other.dtype, other.shape, other.axes) != (layer.dtype, layer.shape, layer.axes):
            msg = (
                f"layer {layer.name!r} is {_kind(other)} where the first batch had {_kind(layer)}; "
                "a row is the same size throughout a store. Pad the inputs alike, or cast the layer"
            )
            raise LayerError(msg)


def _kind(layer: StoredLayer) -> str:
    return f"{layer.dtype} {layer.shape} {layer.axes}"


def check_rows(batch: RowBatch) -> TableRows:
    """Return the row table, ready to be stored. StoreError where counts disagree or a value cannot be held."""
    counts = {f"layer {name!r}": len(captured.array) for name, captured in batch.activations.items()}
    counts |= {"ids": len(batch.ids), "splits": len(batch.splits)}
    counts |= {f"target {name!r}": len(values) for name, values in batch.targets.items()}
    counts |= {} if batch.groups is None else {"groups": len(batch.groups)}
    counts |= {} if batch.positions is None else {"positions": len(batch.positions)}
    for (first, rows), (second, other) in pairwise(counts.items()):
        if rows != other:
            msg = (
                f"{first} has {rows:,} rows in a batch where {second} has {other:,}; "
                "expected the same rows everywhere. A layer without one entry per row cannot be stored with them"
            )
            raise StoreError(msg)
    check_texts(batch.splits, "split")
    check_texts(() if batch.groups is None else batch.groups, "group")
    for name in batch.targets:
        encode_text(name, "target name")
    return TableRows(
        ids=[encode_text(row_id, "id") for row_id in batch.ids],
        splits=batch.splits,
        groups=batch.groups,
        positions=None if batch.positions is None else check_positions(batch.positions),
        targets={name: as_labels(name, np.asanyarray(values)) for name, values in batch.targets.items()},
    )


@dataclass(frozen=True)
class KnownColumns:
    """What the row table has so far: every batch has groups and positions or none does; labels keep their kind."""

    groups: bool
    positions: bool
    dtypes: Mapping[str, np.dtype]

    @classmethod
    def of(cls, rows: TableRows) -> KnownColumns:
        """The columns of the first rows."""
        dtypes = {name: values.dtype for name, values in rows.targets.items()}
        return cls(rows.groups is not None, rows.positions is not None, dtypes)

    def joined(self, rows: TableRows) -> KnownColumns:
        """The columns with more rows. StoreError where these do not go with the ones before."""
        new = KnownColumns.of(rows)
        for what, before, now in (
            ("groups", self.groups, new.groups),
            ("positions", self.positions, new.positions),
        ):
            if before != now:
                msg = f"a batch comes {'with' if now else 'without'} {what}, unlike the first one; give them throughout"
                raise StoreError(msg)
        dtypes = {
            name: common_dtype(name, [self.dtypes.get(name, dtype), dtype])
            for name, dtype in new.dtypes.items()
        }
        return KnownColumns(self.groups, self.positions, {**self.dtypes, **dtypes})


def check_positions(positions: Sequence[int] | np.ndarray) -> np.ndarray:
    """(rows,) int64. StoreError where they are not ints."""
    values = np.asarray(positions)
    if values.size and values.dtype.kind not in "iu":
        msg = f"positions are {values.dtype}; expected ints (the index within the group)"
        raise StoreError(msg)
    return values.astype(np.int64)
