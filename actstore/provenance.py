"""Where activations come from: hashes of weights and inputs, and the versions of what computed them."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from actstore import arrays as interop

if TYPE_CHECKING:
    from actstore.store.format import JSON

_PACKAGES = (
    "actstore",
    "numpy",
    "h5py",
    "scikit-learn",
    "torch",
    "transformers",
    "tokenizers",
    "jax",
    "flax",
    "keras",
    "tensorflow",
    "onnx",
    "onnxruntime",
    "datasets",
    "pillow",
)
_MODULES = {"scikit-learn": "sklearn", "pillow": "PIL"}
"""Packages that are imported by another name."""
_ALGORITHM = "xxh3_128"
_MOST_THREADS = 1024


def hash_arrays(arrays: Iterable[tuple[str, object]]) -> str:
    """One hash over names, dtypes, shapes and bytes, in the order given: ``xxh3_128:...``."""
    state = xxhash.xxh3_128()
    for name, value in arrays:
        array, dtype = interop.to_bits(value)
        state.update(f"{name}\0{dtype}\0{array.shape}\0".encode())
        _update(state, array)
    return f"{_ALGORITHM}:{state.hexdigest()}"


def hash_text(text: str) -> str:
    """The hash of a text."""
    return f"{_ALGORITHM}:{xxhash.xxh3_128_hexdigest(text.encode())}"


class InputHash:
    """A running hash of the inputs, the same whatever the size of the batches.

    Each component of a batch (a tuple's or a dict's arrays) has a hash of its own, which their batches continue.
    """

    def __init__(self) -> None:
        self._components: dict[str, xxhash.xxh3_128] = {}
        self._unseen = False

    def update(self, inputs: object, name: str = "") -> None:
        """Add a batch."""
        if isinstance(inputs, Mapping):
            for key, value in inputs.items():
                self.update(value, f"{name}.{key}")
        elif interop.is_array(inputs):
            self._add(name, inputs)
        elif isinstance(inputs, (tuple, list)):
            if _are_texts(inputs):
                self._state(name).update(_spelled(inputs).encode())
                return
            if isinstance(inputs, list) and all(isinstance(row, list) and _are_texts(row) for row in inputs):
                rows = "".join(f"{len(row)};{_spelled(row)}" for row in inputs)  # sentences, each its words
                self._state(f"{name}\0words").update(rows.encode())
                return
            for index, value in enumerate(inputs):
                self.update(value, f"{name}.{index}")
        else:
            self._unseen = True

    def hexdigest(self) -> str:
        """The hash so far; "not seen" where the batches held what cannot be hashed."""
        if self._unseen:
            return "not seen"
        return hash_text(" ".join(f"{name}={state.hexdigest()}" for name, state in self._components.items()))

    def _add(self, name: str, value: object) -> None:
        try:
            array, dtype = interop.to_bits(value)
            _update(self._state(f"{name}\0{dtype}\0{array.shape[1:]}"), array)
        except TypeError:  # Python objects, and tensors that NumPy cannot hold
            self._unseen = True

    def _state(self, name: str) -> xxhash.xxh3_128:
        return self._components.setdefault(name, xxhash.xxh3_128())


class LabelHash:
    """A running hash of the labels that come with the inputs, the same whatever the size of the batches."""

    def __init__(self) -> None:
        self._targets: dict[str, xxhash.xxh3_128] = {}

    def update(self, targets: Mapping[str, np.ndarray]) -> None:
        """Add the labels of a batch."""
        for name, labels in targets.items():
            state = self._targets.setdefault(name, xxhash.xxh3_128())
            state.update("".join(f"{label!r}\0" for label in labels.tolist()).encode())

    def hexdigest(self) -> str:
        """The hash so far."""
        return hash_text(" ".join(f"{name}={state.hexdigest()}" for name, state in self._targets.items()))


def asked_threads() -> int | None:
    """Return how many threads OMP_NUM_THREADS asks for, which torch heeds by itself; None where it says nothing."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(int(asked), _MOST_THREADS) if asked.isdecimal() and len(asked) < 10 and int(asked) else None


def _threads() -> dict[str, JSON]:
    """How many threads frameworks compute with that sum in another order where there are more of them."""
    found: dict[str, JSON] = {}
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch"] = torch.get_num_threads()
    if "onnxruntime" in sys.modules:
        found["onnxruntime"] = asked_threads() or f"its own choice, of {os.cpu_count()} cores"
    return found


def versions() -> dict[str, JSON]:
    """Versions of Python and of the packages that took part, and how many threads these computed with."""
    found: dict[str, JSON] = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        module = sys.modules.get(_MODULES.get(package, package))
        if module is not None or package == "actstore":
            try:
                found[package] = importlib.metadata.version(package)
            except (
                importlib.metadata.PackageNotFoundError
            ):  # onnxruntime-gpu and tensorflow-cpu are called otherwise
                found[package] = getattr(module, "__version__", "not installed as a package")
    threads = _threads()
    return {**found, "threads": threads} if threads else found


def _are_texts(items: Iterable[object]) -> bool:
    return all(isinstance(item, str) for item in items)


def _spelled(texts: Iterable[str]) -> str:
    """Texts as one, from which they can be told apart again."""
    return "".join(f"{len(text)}:{text}" for text in texts)


def _update(state: xxhash.xxh3_128, array: np.ndarray) -> None:
    state.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b"")
