"""Flax nnx: a module with its own parameters, of which a copy runs, so that nothing of the model is changed.

Layers are modules by their dotted paths (``blocks.0.attention``), in the order in which their calls return; what a
module sows as ``nnx.Intermediate`` is a layer by its own name; ``output`` is what the whole model returns. The model
gets the batch as one array, a tuple as positional and a dict as keyword arguments; floating-point inputs in the dtype
of its parameters. It runs in evaluation mode (``model.eval()``), and ``train``, ``training``, ``is_training`` are
False, ``deterministic``, ``use_running_average`` True, where ``__call__`` takes them. Every batch meets the model as it
was given: counters, caches and batch statistics do not go on from one batch to the next.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

from actstore.activations import OUTPUT, ModelLayer
from actstore.adapters import trees
from actstore.adapters.for_jax import weights
from actstore.adapters.for_jax.flax import FlaxAdapter, Pass
from actstore.adapters.for_jax.layers import CALL, Recorder
from actstore.errors import AdapterError
from actstore.provenance import hash_arrays

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    import jax
    import numpy as np

    from actstore.store.format import JSON

_PATH = "_actstore_path"


class NnxAdapter(FlaxAdapter):
    """Runs a copy of an ``nnx.Module``, which shares its arrays."""

    name = "flax nnx"

    @staticmethod
    def accepts(model: object) -> bool:
        """Any nnx module."""
        return any(base.__module__ == "flax.nnx.module" for base in type(model).__mro__)

    @contextmanager
    def passing(self, device: jax.Device | None) -> Iterator[Pass]:
        """Passes of a fresh copy each, in evaluation mode."""
        nnx = _nnx()
        graph, state = nnx.split(self.model)

        with trees.on_device(device, state) as placed:

            def run(args: tuple[Any, ...], named: dict[str, Any], recorder: Recorder) -> Mapping[Any, Any]:
                copy = nnx.merge(graph, placed, copy=True)
                copy.eval()
                modules = [*nnx.iter_modules(copy)]
                for path, module in modules:
                    setattr(module, _PATH, ".".join(map(str, path)))
                with _watched({type(module) for _, module in modules}, recorder):
                    _, sown = nnx.capture(copy, nnx.Intermediate)(*args, **named)
                return sown

            yield run

    def signature(self) -> inspect.Signature:
        """Of the model's ``__call__``, without self."""
        if not callable(self.model):
            msg = f"{type(self.model).__name__} has no __call__, which a batch goes through"
            raise AdapterError(msg)
        return inspect.signature(self.model)

    def floating(self) -> np.dtype | None:
        """The dtype of the first floating-point parameter."""
        nnx = _nnx()
        return trees.float_dtype(nnx.state(self.model, nnx.Param))

    def uncalled(self, called: Collection[str]) -> list[ModelLayer]:
        """Modules that can be called, but were not."""
        why = "it was not called for this batch" if called else ""
        modules = {".".join(map(str, path)): module for path, module in _nnx().iter_modules(self.model)}
        if OUTPUT in modules:
            del modules[""]
        names = {path or OUTPUT: module for path, module in modules.items()}
        return [
            ModelLayer(name, type(module).__name__, note=why, explicit=name == OUTPUT)
            for name, module in names.items()
            if callable(module) and name not in called
        ]

    def provenance(self) -> dict[str, JSON]:
        """The hash of the state but for random streams: names, dtypes, shapes and bytes, in their order."""
        state = trees.hashed(trees.named(self._state()))
        return {"weights": hash_arrays(state), "class": type(self.model).__qualname__}

    def load_weights(self, path: Path, key: str | None) -> object:
        """The whole state but for random streams, from a ``.safetensors`` or ``.msgpack`` file."""
        nnx = _nnx()
        filled = weights.filled(self._state(), weights.read(path, key), path)
        nnx.update(self.model, nnx.restore_int_paths(filled))
        return self.model

    def _state(self) -> dict[str, Any]:
        nnx = _nnx()
        # What an earlier pass sowed, or where random streams have come to, makes no other model.
        return nnx.to_pure_dict(nnx.state(self.model, nnx.Not(nnx.Any(nnx.RngState, nnx.Intermediate))))


@contextmanager
def _watched(classes: set[type], recorder: Recorder) -> Iterator[None]:
    """The ``__call__`` of these classes keeps what a recorder wants, for the time being, as ``nnx.capture`` does it.

    (``nnx.capture(method_outputs=...)`` itself keeps every method of every module, passes over inherited ones, and
    does not tell the order of calls.)
    """
    own = {kind: vars(kind).get(CALL) for kind in classes if hasattr(kind, CALL)}
    try:
        for kind in own:
            setattr(kind, CALL, _recording(kind, recorder))
        yield
    finally:
        for kind, before in own.items():
            if before is None:
                delattr(kind, CALL)
            else:
                setattr(kind, CALL, before)


def _recording(kind: type[Any], recorder: Recorder) -> Any:
    nnx = _nnx()
    method = getattr(kind, CALL)

    @wraps(method)
    def call(self: Any, *args: Any, **named: Any) -> Any:
        output = method(self, *args, **named)
        path = getattr(self, _PATH, None)
        # A class further down calls this one by super(); a module made during the pass has no path.
        if type(self) is kind and path is not None:
            recorder.saw(path, output)
            if recorder.returned(path, kind):
                self.sow(nnx.Intermediate, CALL, output)
        return output

    return call


def _nnx() -> Any:
    from flax import __version__, nnx

    if not hasattr(nnx, "capture"):
        msg = f"an nnx model needs flax 0.12.6 or newer, which has nnx.capture, but this is {__version__}; update flax"
        raise AdapterError(msg)
    return nnx
