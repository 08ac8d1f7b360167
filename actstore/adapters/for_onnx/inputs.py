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
        """How many rows the model was exported for; None for any number."""
        for value in self._values.values():
            dims = _dims(value)
            if dims and dims[0] is not None:
                return dims[0]
        return None

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
        return {name: self._feed(value, given[name]) for name, value in self._values.items()}

    def check_rows(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Refuse another number of rows than the model was exported for.

        Raises:
            AdapterError: with both counts.
        """
        fixed = self.fixed_rows
        rows = arrays.count_rows(feeds)
        if fixed is not None and rows != fixed:
            whole = "" if fixed == 1 else f", for a number of rows that {fixed} divides"
            msg = (
                f"the model was exported for batches of {fixed} and was given one of {rows}: use --batch-size "
                f"{fixed}{whole}, or export it with a dynamic first axis"
            )
            raise AdapterError(msg)

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
    try:
        array, kind = arrays.to_bits(np.asarray(given) if isinstance(given, list) else given)
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
    return np.ascontiguousarray(array, dtype=declared)


def _dims(value: ValueInfoProto) -> list[int | None] | None:
    """The declared shape, None for an axis of any length; None where no shape is declared."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
