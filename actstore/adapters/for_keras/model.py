"""How for_keras handles a whole model: reading files, the forward pass, its weights and where they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from zipfile import is_zipfile

import numpy as np

from actstore import arrays
from actstore.adapters.extras import required
from actstore.adapters.for_keras.archive import check_archive, check_weights
from actstore.errors import AdapterError
from actstore.store.documents.bfloat16 import widened
from actstore.store.format import BFLOAT16
from actstore.usercode import explain
from actstore.wording import listed

if TYPE_CHECKING:
    from pathlib import Path

_BACKENDS = ("torch", "jax", "tensorflow")
_UNKNOWN_CLASS = re.compile(r"Could not locate class '(\w+)'")


def read(path: Path) -> object:
    """The model of a ``.keras`` file, of which no code is run.

    Raises:
        AdapterError: no such file, no model, or one that needs code (a Lambda layer, classes of the user's own).
    """
    keras = _keras(path.name)
    if not path.is_file():
        msg = f"there is no file {path}"
        raise AdapterError(msg)
    if not is_zipfile(path):
        msg = f"{path} is not what model.save writes (a zip file), or it is damaged"
        raise AdapterError(msg)
    check_archive(path)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever Keras stumbles over in a file
        msg = f"{path} cannot be loaded: {_reason(error)}"
        raise AdapterError(msg) from error


def _reason(error: Exception) -> str:
    """Why Keras could not load a file, which it says at the end of pages of configuration."""
    text = str(error)
    if "Lambda" in text and "safe_mode" in text:
        return (
            "it has a Lambda layer, whose code could do anything; if it is your own, load it by a function in a file "
            "of yours (net.py:make) with keras.saving.load_model(..., safe_mode=False)"
        )
    unknown = _UNKNOWN_CLASS.search(text)
    if unknown:
        return f"it needs the class {unknown[1]!r}; load it by a function in the file that has it (net.py:make)"
    return explain(error)


def load_weights(model: Any, path: Path, key: str | None) -> None:
    """Load what ``model.save_weights`` wrote.

    Raises:
        AdapterError: another kind of file, or not exactly the model's weights.
    """
    if key is not None or not path.name.endswith(".weights.h5"):
        msg = f"weights of a Keras model are a FILE.weights.h5, as model.save_weights writes it, and not {path.name}"
        raise AdapterError(msg if key is None else f"{msg}:{key}")
    if not path.is_file():
        msg = f"there is no file {path}"
        raise AdapterError(msg)
    check_weights(path, str(path), path.stat().st_size)
    try:
        model.load_weights(path)
    except Exception as error:  # whatever Keras stumbles over in a file
        msg = f"the weights in {path} are not those of {type(model).__name__}: {explain(error)}"
        raise AdapterError(msg) from error


def check_ready(model: Any, device: str | None) -> None:
    """Refuse a model without weights, and a device where it is not.

    Raises:
        AdapterError: as it says.
    """
    if not model.built:
        msg = (
            f"{type(model).__name__} {model.name!r} is not built, so that it has no weights yet: "
            "call it on a batch, or call model.build(shape), before"
        )
        raise AdapterError(msg)
    places = sorted({place(variable.value) for variable in model.weights})
    if device is not None and places and places != [_device(device)]:
        msg = (
            f"the model is on {listed(places)} and not on device {device!r}, and a Keras model stays where its backend "
            "put it: leave --device out, or make the model under keras.device(...)"
        )
        raise AdapterError(msg)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """On the torch backend no gradients, and the modes of torch's own modules, which calls change, kept."""
    layers = [model, *model._flatten_layers()] if backend() == "torch" else []
    modes = [(module, module.training) for layer in layers for module in layer.modules()]
    try:
        with _without_gradients():
            yield
    finally:
        for module, training in modes:
            module.training = training


def forward(model: Any, inputs: object) -> None:
    """One pass with ``training=False``; the batch is the first argument, as ``model.predict`` gives it."""
    model(_given(inputs), training=False)


def backend() -> str:
    """The backend that Keras runs on."""
    return str(_keras("a Keras model").backend.backend())


def _without_gradients() -> Any:
    if backend() != "torch":
        return nullcontext()
    import torch

    return torch.no_grad()


def _keras(why: str) -> Any:
    try:
        return required("keras", "keras", why)
    except ModuleNotFoundError as error:
        if error.name not in _BACKENDS:
            raise
        msg = (
            f"{why} needs Keras, whose backend {error.name} is not installed: set KERAS_BACKEND to one that is, of "
            f"{listed(_BACKENDS)}"
        )
        raise AdapterError(msg) from error


def _given(inputs: Any) -> Any:
    """Arrays of any library as NumPy's, which every backend takes; Keras casts floats to what its layers compute in."""
    if isinstance(inputs, Mapping):
        return {name: _given(value) for name, value in inputs.items()}
    if isinstance(inputs, list) and all(isinstance(value, str) for value in inputs):
        inputs = np.array(inputs)
    if isinstance(inputs, (tuple, list)):
        return [_given(value) for value in inputs]
    if not arrays.is_array(inputs):
        return inputs
    array, dtype = arrays.to_bits(inputs)
    if array.dtype.kind not in "biufc" and backend() != "tensorflow":  # which has layers that take text
        msg = f"a Keras model takes numbers on its {backend()} backend, but the batch is {arrays.describe(inputs)}"
        raise AdapterError(msg)
    array = widened(array) if dtype == BFLOAT16 else array
    return np.asarray(array, dtype=array.dtype.newbyteorder("="))


def place(value: Any) -> str:
    """Where a backend's array is: ``cpu:0``, ``cuda:1``."""
    devices = getattr(value, "devices", None)
    return _device(str(next(iter(devices()))) if callable(devices) else str(value.device))


def _device(name: str) -> str:
    """``cpu``, ``TFRT_CPU_0`` and ``/job:localhost/.../device:CPU:0`` as ``cpu:0``."""
    kind, _, index = name.lower().rpartition("device:")[2].replace("tfrt_cpu_", "cpu:").partition(":")
    return f"{'cuda' if kind == 'gpu' else kind}:{index or 0}"
