"""The steps of a reduction, written once over the operations of a library of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from actstore.errors import LayerError
from actstore.store.format import EXAMPLE

if TYPE_CHECKING:
    from actstore.activations import Captured
    from actstore.reductions.columns import Projection
    from actstore.reductions.parts_of_examples import Spots
    from actstore.reductions.plan import LayerReduction
    from actstore.reductions.pool import Pool
    from actstore.reductions.positions import RealPositions

V = TypeVar("V")


class Operations(Protocol[V]):
    """What a library does to its arrays, (rows, *features), where they are."""

    def given(self, value: object) -> V:
        """Take an array as a model gives it. TypeError where a store cannot hold it."""
        ...

    def captured(self, value: V, given: V, axes: tuple[str, ...]) -> Captured:
        """Copy what is left of ``given`` off the device, unless it is a copy already."""
        ...

    def shape(self, value: V) -> tuple[int, ...]:
        """Rows and features."""
        ...

    def dtype(self, value: V) -> str:
        """As ``format.DTYPES`` calls it."""
        ...

    def mean(self, value: V, axes: tuple[int, ...], real: np.ndarray | None) -> V:
        """Over ``axes``, summed in at least float32; of the entries where ``real``, which broadcasts, is True."""
        ...

    def largest(self, value: V, axes: tuple[int, ...], real: np.ndarray | None) -> V:
        """Over ``axes``; NaN where there is one."""
        ...

    def at(self, value: V, axis: int, index: np.ndarray | int) -> V:
        """One entry of ``axis``: the same, or (rows,) for each row its own."""
        ...

    def spread(self, value: V, axis: int, rows: np.ndarray, index: np.ndarray) -> V:
        """As many rows as there are pairs of ``rows`` and an ``index`` along ``axis``: the entries there."""
        ...

    def joined(self, value: V, counts: np.ndarray, kind: str) -> V:
        """Runs of so many rows each as one row: their ``mean``, summed in at least float32, or ``max``."""
        ...

    def columns(self, value: V, layer: str, indices: np.ndarray) -> V:
        """Some of the features, flattened in C order."""
        ...

    def project(self, value: V, projection: Projection) -> V:
        """The features, flattened in C order, times the matrix; summed in at least float32."""
        ...

    def cast(self, value: V, dtype: str) -> V:
        """To another dtype, rounding to nearest even."""
        ...

    def cost(self, before: V, after: V) -> tuple[float, int, int]:
        """Of a cast: the largest error, overflows and NaN, as in ``CastReport``."""
        ...


def reduce_layer(
    value: V, reduction: LayerReduction, real: RealPositions, operations: Operations[V]
) -> tuple[V, tuple[float, int, int] | None]:
    """All steps of one layer, and what the cast cost where that is reported.

    Raises:
        LayerError: the layer has other axes than the first batch showed, or nothing to pool.
        DumpError: a row without a real token.
    """
    name = reduction.layer.name
    _check_kind(operations.shape(value), operations.dtype(value), reduction)
    if reduction.pool is not None and reduction.pool.axes:
        value = _pooled(value, name, reduction.pool, real, operations)
    chosen, projection = reduction.random_features, reduction.projection
    if chosen is not None and chosen.indices is not None:
        _check_width(operations.shape(value), chosen.of, name)
        value = operations.columns(value, name, chosen.indices)
    if projection is not None and projection.changes:
        _check_width(operations.shape(value), projection.of, name)
        value = operations.project(value, projection)
    cast = operations.cast(value, reduction.stored.dtype)
    return cast, operations.cost(value, cast) if reduction.reported else None


def _pooled(value: V, name: str, pool: Pool, positions: RealPositions, operations: Operations[V]) -> V:
    shape = operations.shape(value)
    if not all(shape[axis] for axis in pool.axes):
        msg = f"layer {name!r} has the shape {shape[1:]} for this batch; there is nothing to pool in it"
        raise LayerError(msg)
    if pool.row != EXAMPLE:
        return _as_rows(value, pool, positions.rows.at(name, shape, pool.axes[0]), operations)
    real = None
    if pool.masked and pool.position is not None:
        real = positions.of(name, shape[pool.position])
    if pool.kind in ("mean", "max"):
        if real is not None:
            around = (1 if axis != pool.position else shape[axis] for axis in range(1, len(shape)))
            real = real.reshape(len(real), *around)
        operation = operations.mean if pool.kind == "mean" else operations.largest
        return operation(value, pool.axes, real)
    index: np.ndarray | int = -1 if pool.kind == "last" else 0
    if real is not None:
        index = real.argmax(axis=1)
        if pool.kind == "last":
            index = real.shape[1] - 1 - real[:, ::-1].argmax(axis=1)
    return operations.at(value, pool.axes[0], index)


def _as_rows(value: V, pool: Pool, spots: Spots, operations: Operations[V]) -> V:
    """A row for each token or word."""
    axis, ends = pool.axes[0], np.cumsum(spots.counts)
    if pool.kind in ("mean", "max"):
        parts = operations.spread(value, axis, np.repeat(spots.examples, spots.counts), spots.places)
        return operations.joined(parts, spots.counts, pool.kind)
    chosen = ends - 1 if pool.kind == "last" else ends - spots.counts
    return operations.spread(value, axis, spots.examples, spots.places[chosen])


def _check_kind(shape: tuple[int, ...], dtype: str, reduction: LayerReduction) -> None:
    layer = reduction.layer
    if len(shape) != len(layer.axes) + 1 or dtype != layer.dtype:
        msg = (
            f"layer {layer.name!r} is {dtype} {shape[1:]} for this batch, where the first had {layer.dtype} "
            f"{layer.shape}; a layer needs the same axes and dtype in every batch"
        )
        raise LayerError(msg)


def _check_width(shape: tuple[int, ...], expected: int, name: str) -> None:
    width = 1
    for length in shape[1:]:
        width *= length
    if width != expected:
        msg = (
            f"layer {name!r} has {width:,} features for this batch, where the first had {expected:,}; random "
            "features and projections need the same in every batch: pool its positions, or pad batches to one length"
        )
        raise LayerError(msg)
