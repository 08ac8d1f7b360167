"""How for_onnx runs a model: onnxruntime's sessions, on what device, and a batch as the model's inputs."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore import interop
from actstore.adapters.extras import required
from actstore.errors import AdapterError
from actstore.patterns import listed
from actstore.store.bfloat16 import widened
from actstore.store.format import BFLOAT16
from actstore.usercode import explain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from onnx import ModelProto, ValueInfoProto

_EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"
_SUFFIX = "ExecutionProvider"
_BFLOAT16 = "tensor(bfloat16)"
_STORED = {
    _BFLOAT16, "tensor(bool)", "tensor(double)", "tensor(float)", "tensor(float16)", "tensor(int16)", "tensor(int32)",
    "tensor(int64)", "tensor(int8)", "tensor(uint16)", "tensor(uint32)", "tensor(uint64)", "tensor(uint8)",
}  # fmt: skip
"""Of the others some come as bits (float8 as uint8), and some can not be fetched at all."""


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
                f"the model takes {listed(names)}, but the batch is {interop.describe(batch)}; "
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
        rows = interop.count_rows(feeds)
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
            msg = f"input {value.name!r} is no tensor, and other inputs can not be given"
            raise AdapterError(msg)
        array = _cast(value.name, given, np.dtype(helper.tensor_dtype_to_np_dtype(kind)))
        dims = _dims(value)
        if dims is not None and (
            array.ndim != len(dims)
            or any(dim not in (None, size) for dim, size in zip(dims[1:], array.shape[1:], strict=True))
        ):
            shape = ", ".join("any" if dim is None else str(dim) for dim in dims)
            msg = f"input {value.name!r} has the shape ({shape}), but the batch is {interop.describe(given)}"
            raise AdapterError(msg)
        return array


def few_rows(feeds: Mapping[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """The first ``rows`` of a batch, the last one again where there are fewer: to look at shapes."""
    count = interop.count_rows(feeds)
    places = np.minimum(np.arange(rows), count - 1)
    return {name: array[places] if array.shape[:1] == (count,) else array for name, array in feeds.items()}


class Session:
    """onnxruntime, computing each node by itself: ``run`` gives the values of tensors.

    Its optimisations fuse nodes whose results nobody asked for, so a convolution before a batch normalisation gave
    other bits (1e-6) when it was captured than when it was not, from the "basic" level on. Without them each layer is
    the same bits whatever else is captured; a small network of convolutions then takes 1.3 times the time.

    Args:
        part: a model whose first outputs are ``tensors``.
        tensors: to be given.
        folder: where files with weights lie; None for none.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``coreml``, ...; None for the CPU.

    Raises:
        AdapterError: onnxruntime can not run the model, or not on this device.
    """

    def __init__(
        self, part: ModelProto, tensors: Sequence[str], folder: Path | None, device: str | None
    ) -> None:
        self._runtime = required("onnxruntime", "onnx", "an ONNX model")
        provider = _provider(self._runtime.get_available_providers(), device)
        options = self._runtime.SessionOptions()
        options.graph_optimization_level = self._runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4  # what is wrong comes as an exception, once
        if folder is not None:
            options.add_session_config_entry(_EXTERNAL_FOLDER, str(folder.resolve()))
        try:
            self._session = self._runtime.InferenceSession(
                part.SerializeToString(), options, providers=[provider]
            )
        except Exception as error:  # its own exceptions, which have no base of their own
            msg = f"onnxruntime {self._runtime.__version__} can not run the model: {explain(error)}"
            raise AdapterError(msg) from error
        found = self._session.get_providers()[0]
        if found != provider[0]:
            msg = f"onnxruntime could not start {provider[0]} for device {device!r} and would run on {found} instead"
            raise AdapterError(msg)
        kinds = {output.name: output.type for output in self._session.get_outputs()}
        self.kinds: dict[str, str] = {tensor: kinds[tensor] for tensor in tensors}
        """What each tensor is: ``tensor(float)``, ``seq(tensor(float))``, ...."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The values of those tensors that a store may hold."""
        wanted = [tensor for tensor, kind in self.kinds.items() if kind in _STORED]
        if _BFLOAT16 not in self.kinds.values():
            return dict(zip(wanted, self._session.run(wanted, dict(feeds)), strict=True))
        value_of = self._runtime.OrtValue.ortvalue_from_numpy
        values = self._session.run_with_ort_values(
            wanted, {name: value_of(array) for name, array in feeds.items()}
        )
        return {tensor: _array(value) for tensor, value in zip(wanted, values, strict=True)}


def _array(value: Any) -> np.ndarray:
    """A value as NumPy's; bfloat16, for which onnxruntime knows no array, from its bits."""
    if value.data_type() != _BFLOAT16:
        return value.numpy()
    from onnx import TensorProto, helper

    if value.device_name() != "cpu":
        msg = f"a bfloat16 layer can not be fetched from {value.device_name()}: leave --device out"
        raise AdapterError(msg)
    shape = tuple(value.shape())
    bits = (ctypes.c_uint16 * prod(shape)).from_address(value.data_ptr()) if prod(shape) else b""
    return np.frombuffer(bits, helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)).reshape(shape).copy()


def _provider(available: Sequence[str], device: str | None) -> tuple[str, dict[str, str]]:
    """The execution provider of a device and its options: ``cpu``, ``cuda``, ``cuda:1``, ``coreml``, ...."""
    kind, _, index = (device or "cpu").partition(":")
    known = {name.removesuffix(_SUFFIX).lower(): name for name in available}
    if kind.lower() not in known or (index and not index.isdecimal()):
        msg = (
            f"onnxruntime has no execution provider for device {device!r} here; it has {listed(sorted(known))}"
        )
        raise AdapterError(msg)
    return known[kind.lower()], {"device_id": index} if index else {}


def _cast(name: str, given: object, declared: np.dtype) -> np.ndarray:
    try:
        array, kind = interop.to_bits(np.asarray(given) if isinstance(given, list) else given)
    except TypeError as error:
        msg = f"input {name!r} takes arrays of {declared}: {error}"
        raise AdapterError(msg) from error
    if kind == BFLOAT16:
        array = widened(array)
    if declared.name == BFLOAT16:
        msg = f"input {name!r} is declared bfloat16, which can not be handed over: export the model with float32 inputs"
        raise AdapterError(msg)
    alike = any(array.dtype.kind in kinds and declared.kind in kinds for kinds in ("f", "iu", "b", "UO"))
    if not alike:
        msg = (
            f"input {name!r} is declared {declared}, but the batch is {interop.describe(given)}: convert the data, "
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
