"""How a layer leaves its framework: reduced where it is, then copied; whole where nothing is to be reduced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from actstore import arrays
from actstore.activations import Captured
from actstore.errors import AdapterError
from actstore.reductions.apply import reduce_layer
from actstore.reductions.arrays import ArrayOperations, Bits
from actstore.reductions.positions import RealPositions

if TYPE_CHECKING:
    from actstore.reductions.parts_of_examples import BatchRows
    from actstore.reductions.plan import LayerReduction, Reductions

Keep: TypeAlias = Callable[..., Captured]
"""``keep(name, value, axes=None)`` copies what an adapter found of a layer; without names, axes are numbered."""


class Keeper:
    """Keeps the layers of one batch after another, each reduced as planned."""

    def __init__(self, reductions: Reductions | None) -> None:
        self._reductions = reductions
        self._rows, self._real = 0, RealPositions(None)
        self._arrays = ArrayOperations()

    def begin(self, inputs: object, rows: BatchRows | None = None, word_of: np.ndarray | None = None) -> None:
        """Another batch; its inputs as they come, before a model could change them.

        Args:
            inputs: as the model takes them.
            rows: to be found in it, where its tokens or words are the rows of the store.
            word_of: (examples, positions) see ``Adapter.prepared``.
        """
        self._rows, self._real = arrays.count_rows(inputs), RealPositions(inputs, rows)
        if rows is not None:
            rows.begin(self._rows, self._real.mask, word_of)

    def keep(self, name: str, value: object, axes: tuple[str, ...] | None = None) -> Captured:
        """A copy of the reduced layer.

        Raises:
            AdapterError: ``value`` is no array that a store can hold, or not one with a row for each of the batch.
            LayerError, DumpError: see ``reduce_layer``.
        """
        reduction = None if self._reductions is None else self._reductions.of(name)
        if reduction is None or not reduction.changes or not arrays.is_array(value):
            return capture_layer(name, value, axes)
        check_rows(name, value, self._rows)
        if arrays.is_tensor(value) and self._torch.takes(value):
            return self._keep_tensor(value, reduction)
        return self._keep_array(name, value, reduction)

    @cached_property
    def _torch(self) -> Any:
        # Found by its name, as the registry finds adapters, and only once there is a tensor.
        return import_module("actstore.adapters.for_torch.operations")

    @cached_property
    def _tensors(self) -> Any:
        return self._torch.TensorOperations()

    def _keep_tensor(self, value: object, reduction: LayerReduction) -> Captured:
        reduced, cost = self._torch.reduce_tensor(value, reduction, self._real, self._tensors)
        self._count(reduction, cost)
        return arrays.capture(reduced, reduction.stored.axes)

    def _keep_array(self, name: str, value: object, reduction: LayerReduction) -> Captured:
        bits = _bits(name, value)
        reduced, cost = reduce_layer(bits, reduction, self._real, self._arrays)
        self._count(reduction, cost)
        array = reduced.array
        if np.may_share_memory(array, bits.array) or not array.flags.c_contiguous or not array.dtype.isnative:
            array = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
        return Captured(array, reduced.dtype, reduction.stored.axes)

    def _count(self, reduction: LayerReduction, cost: tuple[float, int, int] | None) -> None:
        if cost is not None and self._reductions is not None:
            self._reductions.count(reduction.layer.name, *cost)


def _bits(name: str, value: object) -> Bits:
    with _naming(name):
        return Bits(*arrays.storable_bits(value))


def capture_layer(name: str, value: object, axes: tuple[str, ...] | None = None) -> Captured:
    """``interop.capture`` with the layer's name on its error.

    Raises:
        AdapterError: ``value`` is no array that a store can hold.
    """
    with _naming(name):
        return arrays.capture(value, axes)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except TypeError as error:
        msg = f"layer {name!r} can not be stored: {error}"
        raise AdapterError(msg) from error


def check_rows(name: str, value: object, rows: int) -> None:
    """Refuse a layer that has not one row for each row of the batch.

    Raises:
        AdapterError: with both counts.
    """
    shape: tuple[int, ...] = value.shape  # type: ignore[attr-defined]
    if shape[:1] != (rows,):
        found = shape[0] if shape else "no"
        msg = (
            f"layers whose batch sizes disagree: {name!r} gave {found} rows for a batch of {rows}; "
            "its first axis must be the batch: leave it out, or let the model put the batch first"
        )
        raise AdapterError(msg)
