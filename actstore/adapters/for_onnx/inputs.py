"""How for_onnx gives a batch to a model: as its inputs, in the types and shapes that it declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from actstore import arrays
from actstore.errors import AdapterError
from actstore.store.documents.bfloat16 import widened
from actstore.store.format import BFLOAT16
from actstore.wording import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx import ValueInfoProto


class Inputs:
    """What a model takes: batches as feeds, with floats and integers cast to the type that the model declares."""

    def __init__(self, values: Sequence[ValueInfoProto]) -> None:
        self._values = {value.name: value for value in values}

    @property
    def fixed_rows(self) -> int | None:
        """How many rows the model was exported for; None for any number: the first axis of an input is open."""
        first = [dims[0] for value in self._values.values() if (dims := _dims(value))]
        return None if not first or None in first else first[0]

    def feeds(self, batch: object) -> dict[str, np.ndarray]:
        """The arrays of a batch by the names of the inputs: one array for one input, a dict, or a tuple in order.

        Raises:
            AdapterError: other inputs than the model has, or of another type or shape.
        """
        names = list(self._values)
        if isinstance(batch, Mapping):
            given = dict(batch)
        elif isinstance(batch, tuple):
            given = dict(zip(names, batch, strict=False)) if len(batch) == len(names) else {}
        else:
            given = dict(zip(names, [batch], strict=False)) if len(names) == 1 else {}
        if set(given) != set(names):
            msg = (
                f"the model takes {listed(names)}, but the batch is {arrays.describe(batch)}; "
                "give one array for a single input, a dict by these names, or a tuple in this order"
            )
            raise AdapterError(msg)
        feeds = {name: self._feed(value, given[name]) for name, value in self._values.items()}
        rows = self._count(feeds)
        return {name: self._of_as_many(self._values[name], array, rows) for name, array in feeds.items()}

    def check_rows(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Refuse another number of rows than the model was exported for.

        Raises:
            AdapterError: with both counts.
        """
        fixed = self.fixed_rows
        rows = self._count(feeds)
        if fixed is not None and rows != fixed:
            whole = "" if fixed == 1 else f", for a number of rows that {fixed} divides"
            msg = (
                f"the model was exported for batches of {fixed} and was given one of {rows}: use --batch-size "
                f"{fixed}{whole}, or export it with a dynamic first axis"
            )
            raise AdapterError(msg)

    def _count(self, feeds: Mapping[str, np.ndarray]) -> int:
        """How many rows there are: by the first input whose first axis is open, else by the first that has axes."""
        every = [(name, dims) for name, value in self._values.items() if (dims := _dims(value)) or dims is None]
        opened = [name for name, dims in every if dims is None or dims[0] is None]
        name = next(iter(opened or [name for name, _ in every]), None)
        return arrays.count_rows(feeds if name is None else feeds[name])

    def _of_as_many(self, value: ValueInfoProto, array: np.ndarray, rows: int) -> np.ndarray:
        """An input whose rows lie along another axis, such as a state of (layers, rows, width), for so many rows.

        One that is the same for every row can be had for any number of them.

        Raises:
            AdapterError: it differs from row to row, and is there for another number of them.
        """
        axis = self._axis_of_rows(value)
        if not axis or axis >= array.ndim or array.shape[axis] == rows or not array.shape[axis]:
            return array
        one = array.take([0], axis)
        if not np.array_equal(array, np.broadcast_to(one, array.shape), equal_nan=array.dtype.kind == "f"):
            msg = (
                f"input {value.name!r} has its rows along axis {axis}, {array.shape[axis]} of them for a batch of "
                f"{rows}; one that differs from row to row is taken for whole batches alone (--no-selfcheck)"
            )
            raise AdapterError(msg)
        return np.ascontiguousarray(np.repeat(one, rows, axis))

    def _axis_of_rows(self, value: ValueInfoProto) -> int:
        """Along which axis an input has as many entries as others have rows, by the names of its axes; 0 where none."""
        first = {names[0] for other in self._values.values() if (names := _names(other)) and names[0]}
        names = _names(value)
        return next((axis for axis, name in enumerate(names) if name in first), 0)

    def _feed(self, value: ValueInfoProto, given: object) -> np.ndarray:
        from onnx import helper

        kind = value.type.tensor_type.elem_type
        if not kind:
            msg = f"input {value.name!r} is no tensor, and other inputs cannot be given"
            raise AdapterError(msg)
        array = _cast(value.name, given, np.dtype(helper.tensor_dtype_to_np_dtype(kind)))
        dims = _dims(value)
        if dims is not None and (
            array.ndim != len(dims)
            or any(dim not in (None, size) for dim, size in zip(dims[1:], array.shape[1:], strict=True))
        ):
            shape = ", ".join("any" if dim is None else str(dim) for dim in dims)
            msg = f"input {value.name!r} has the shape ({shape}), but the batch is {arrays.describe(given)}"
            raise AdapterError(msg)
        return array


def _cast(name: str, given: object, declared: np.dtype) -> np.ndarray:
    if type(given) is int and declared.kind == "f":  # a number of Python's has no type to be kept
        given = float(given)
    try:
        array, kind = arrays.to_bits(
            np.asarray(given) if isinstance(given, (list, bool, int, float)) else given
        )
    except TypeError as error:
        msg = f"input {name!r} takes arrays of {declared}: {error}"
        raise AdapterError(msg) from error
    if kind == BFLOAT16:
        array = widened(array)
    if declared.name == BFLOAT16:
        msg = f"input {name!r} is declared bfloat16, which cannot be handed over: export the model with float32 inputs"
        raise AdapterError(msg)
    alike = any(array.dtype.kind in kinds and declared.kind in kinds for kinds in ("f", "iu", "b", "UO"))
    if not alike:
        msg = (
            f"input {name!r} is declared {declared}, but the batch is {arrays.describe(given)}: convert the data, "
            "for example images.astype('float32') / 255"
        )
        raise AdapterError(msg)
    if declared.kind in "iu" and array.size:
        limits = np.iinfo(declared)
        if array.min() < limits.min or array.max() > limits.max:
            msg = f"input {name!r} is declared {declared}, which does not hold {array.min()} to {array.max()}"
            raise AdapterError(msg)
    return np.asarray(array, dtype=declared, order="C")  # a single number stays one


def _dims(value: ValueInfoProto) -> list[int | None] | None:
    """The declared shape, None for an axis of any length; None where no shape is declared."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    # Zero and less are how some exporters write an axis of any length.
    return [dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim]


def _names(value: ValueInfoProto) -> list[str]:
    """The names that the declared shape gives its axes; "" for none."""
    return [dim.dim_param for dim in value.type.tensor_type.shape.dim]
