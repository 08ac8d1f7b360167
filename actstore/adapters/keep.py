"""How a layer leaves its framework: reduced where it is, then copied; whole where nothing is to be reduced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from actstore import arrays
from actstore.activations import INPUT, Captured
from actstore.errors import AdapterError
from actstore.patterns import batch_axis
from actstore.reductions.arrays import ArrayOperations
from actstore.reductions.buffers import Buffers
from actstore.reductions.positions import RealPositions

if TYPE_CHECKING:
    import numpy as np

    from actstore.activations import ModelLayer
    from actstore.reductions.apply import Operations
    from actstore.reductions.parts_of_examples import BatchRows
    from actstore.reductions.plan import Reductions

Keep: TypeAlias = Callable[..., Captured]
"""``keep(name, value, axes=None)`` copies what an adapter found of a layer; without names, axes are numbered."""

_How: TypeAlias = "tuple[Operations[Any], Callable[[Any], AbstractContextManager[object]]]"
"""What reduces arrays of one library, and the context that it does so in."""


class Keeper:
    """Keeps the layers of one batch after another, each reduced as planned."""

    def __init__(self, reductions: Reductions | None, batch_axis: Sequence[str] = ()) -> None:
        """Reduce as planned; ``batch_axis`` says by ``PATTERN=N`` which axis of a layer is the rows."""
        self._reductions = reductions
        self._batch_axis = batch_axis
        self._changed = set() if reductions is None else reductions.changed()
        self._rows, self._real = 0, RealPositions(None)
        self._buffers = Buffers()
        self._arrays = ArrayOperations(self._buffers.copy)
        self._operations: dict[tuple[type, str], _How] = {}

    def begin(
        self, inputs: object, count: int, rows: BatchRows | None = None, word_of: np.ndarray | None = None
    ) -> None:
        """Begin another batch, with its inputs as they are before a model could change them.

        Args:
            inputs: as the model takes them.
            count: of its examples.
            rows: to be found in it, where its tokens or words are the rows of the store.
            word_of: (examples, positions) see ``Adapter.prepared``.
        """
        self._rows, self._real = count, RealPositions(inputs, rows)
        if rows is not None:
            rows.begin(self._rows, self._real.mask, word_of)

    def keep(self, name: str, value: object, axes: tuple[str, ...] | None = None) -> Captured:
        """Return a copy of the reduced layer.

        Raises:
            AdapterError: ``value`` is no array that a store can hold, or not one with a row for each of the batch.
            LayerError, DumpError: see ``reduce_layer``.
        """
        if self._batch_axis and hasattr(value, "shape") and name != INPUT:
            value = arrays.rows_first(value, batch_axis(self._batch_axis, name))
        if self._reductions is None or name not in self._changed or not hasattr(value, "shape"):
            return capture_layer(name, value, axes, self._buffers.copy)
        check_rows(name, tuple(value.shape), self._rows)
        operations, reducing = self._of_type(value)
        with _naming(name), reducing(value):
            return self._reductions.capture(name, value, self._real, operations)

    def with_axes(self, layer: ModelLayer, captured: Captured) -> Captured:
        """Return what was captured with the axes that the layer is described with, unless a reduction changed them."""
        if layer.name in self._changed or len(layer.axes) != captured.array.ndim - 1:
            return captured
        return captured if captured.axes == layer.axes else replace(captured, axes=layer.axes)

    def _of_type(self, value: object) -> _How:
        """Return what works on arrays like this one, asked for once for each type and dtype."""
        key = type(value), str(getattr(value, "dtype", ""))
        if key not in self._operations:
            tensors = self._torch.takes(value) if arrays.is_tensor(value) else False
            self._operations[key] = self._tensors if tensors else (self._arrays, nullcontext)
        return self._operations[key]

    @cached_property
    def _torch(self) -> Any:
        # Found by its name, as the registry finds adapters, and only once there is a tensor.
        return import_module("actstore.adapters.for_torch.operations")

    @cached_property
    def _tensors(self) -> _How:
        return self._torch.TensorOperations(), self._torch.reducing


def capture_layer(
    name: str,
    value: object,
    axes: tuple[str, ...] | None = None,
    copy: Callable[[np.ndarray], np.ndarray] = arrays.native_copy,
) -> Captured:
    """``arrays.capture`` with the layer's name on its error.

    Raises:
        AdapterError: ``value`` is no array that a store can hold.
    """
    with _naming(name):
        return arrays.capture(value, axes, copy)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except TypeError as error:
        msg = f"layer {name!r} cannot be stored: {error}"
        raise AdapterError(msg) from error


def check_rows(name: str, shape: tuple[int, ...], rows: int) -> None:
    """Refuse a layer of another ``shape`` than one with a row for each row of the batch.

    Raises:
        AdapterError: with both counts.
    """
    if shape[:1] != (rows,):
        found = shape[0] if shape else "no"
        msg = (
            f"layers whose batch sizes disagree: {name!r} gave {found} rows for a batch of {rows}; "
            "its first axis must be the batch: leave it out, or let the model put the batch first"
        )
        raise AdapterError(msg)
