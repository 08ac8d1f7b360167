"""How for_onnx runs a model: onnxruntime's sessions, and on what device."""

from __future__ import annotations

import ctypes
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore.adapters.extras import required
from actstore.errors import AdapterError
from actstore.provenance import asked_threads
from actstore.usercode import explain
from actstore.wording import listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from onnx import ModelProto

_EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"
_SUFFIX = "ExecutionProvider"
_BFLOAT16 = "tensor(bfloat16)"
_STORED = {
    _BFLOAT16, "tensor(bool)", "tensor(double)", "tensor(float)", "tensor(float16)", "tensor(int16)", "tensor(int32)",
    "tensor(int64)", "tensor(int8)", "tensor(uint16)", "tensor(uint32)", "tensor(uint64)", "tensor(uint8)",
}  # fmt: skip
"""Of the others some come as bits (float8 as uint8), and some cannot be fetched at all."""


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
        AdapterError: onnxruntime cannot run the model, or not on this device.
    """

    def __init__(
        self, part: ModelProto, tensors: Sequence[str], folder: Path | None, device: str | None
    ) -> None:
        self._runtime = required("onnxruntime", "onnx", "an ONNX model")
        provider = _provider(self._runtime.get_available_providers(), device)
        options = self._runtime.SessionOptions()
        options.graph_optimization_level = self._runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4  # what is wrong comes as an exception, once
        options.intra_op_num_threads = asked_threads() or 0  # 0 is its own choice
        if folder is not None:
            options.add_session_config_entry(_EXTERNAL_FOLDER, str(folder.resolve()))
        try:
            self._session = self._runtime.InferenceSession(
                part.SerializeToString(), options, providers=[provider]
            )
        except Exception as error:  # its own exceptions, which have no base of their own
            msg = f"onnxruntime {self._runtime.__version__} cannot run the model: {explain(error)}"
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
        msg = f"a bfloat16 layer cannot be fetched from {value.device_name()}: leave --device out"
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
