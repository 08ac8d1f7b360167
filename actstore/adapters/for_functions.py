"""Plain functions: from a batch to a mapping of layer names to arrays, of any library that speaks DLPack.

A tree of JAX arrays that is no such mapping gives its leaves by their paths, joined with dots (see ``for_jax``).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from actstore import arrays as interop
from actstore.adapters import trees
from actstore.adapters.base import Adapter, Keep, ModelLayer, Run, layer_of
from actstore.errors import AdapterError
from actstore.provenance import hash_text
from actstore.usercode import explain

if TYPE_CHECKING:
    from actstore.activations import Captured
    from actstore.store.format import JSON


class FunctionAdapter(Adapter):
    """Calls a function; the names and the order of its layers are those of the mapping that it returns."""

    name = "function"
    fallback = True

    @staticmethod
    def accepts(model: object) -> bool:
        """Any callable that is not a class; what torch.export makes cannot be called."""
        return callable(model) and not isinstance(model, type) and type(model).__name__ != "ExportedProgram"

    def describe(self, inputs: object | None) -> list[ModelLayer]:
        """One row for each value of the mapping; one that no store holds says why."""
        if inputs is None:
            msg = "a plain function shows its layers only when it runs; give it --data"
            raise AdapterError(msg)
        return [_described(name, value) for name, value in self._call(inputs).items()]

    @contextmanager
    def capturing(self, layers: Sequence[ModelLayer], keep: Keep) -> Iterator[Run]:
        """Runs give copies of the arrays asked for, so that the function may use its own buffers again."""
        names = [layer.name for layer in layers]

        def run(inputs: object) -> dict[str, Captured]:
            arrays = self._call(inputs)
            missing = [name for name in names if name not in arrays]
            if missing:
                msg = f"{self._called} returned no {missing[0]!r} this time, but did for the first batch"
                raise AdapterError(msg)
            return {name: keep(name, arrays[name]) for name in names}

        yield run

    def provenance(self) -> dict[str, JSON]:
        """A function has no weights to see: its own ``fingerprint`` if it has one, else the hash of its source."""
        fingerprint = getattr(self._function, "fingerprint", None) or _source_hash(self._function)
        given = self._callable.keywords if isinstance(self._callable, partial) else {}
        arguments = {name: repr(value) for name, value in given.items()}
        return {"weights": "not seen", "fingerprint": str(fingerprint), "arguments": arguments}

    def _call(self, inputs: object) -> Mapping[str, object]:
        arrays = self._callable(inputs)
        if trees.is_nested(arrays):
            arrays = trees.named(arrays)
        if not isinstance(arrays, Mapping) or not arrays:
            msg = (
                f"{self._called} returned {interop.describe(arrays)}, where a mapping from layer names to arrays was "
                "expected; if it makes a model, give each of its arguments by --arg NAME=VALUE"
            )
            raise AdapterError(msg)
        wrong = [name for name in arrays if not isinstance(name, str)]
        if wrong:
            msg = f"{self._called} named a layer {wrong[0]!r}; layer names are text"
            raise AdapterError(msg)
        return arrays

    @property
    def _callable(self) -> Any:
        return self.model

    @property
    def _function(self) -> object:
        """The user's own function, without the ``--arg``s that ``models`` bound to it."""
        return self._callable.func if isinstance(self._callable, partial) else self._callable

    @property
    def _called(self) -> str:
        return f"function {getattr(self._function, '__name__', type(self._function).__name__)!r}"


def _described(name: str, value: object) -> ModelLayer:
    try:
        return layer_of(interop.capture(value), name, "array")
    except TypeError as error:
        return ModelLayer(name, "array", note=str(error))
    except Exception as error:  # noqa: BLE001 - nested and other arrays raise whatever they like
        return ModelLayer(name, "array", note=f"it cannot be described ({explain(error)})")


def _source_hash(function: object) -> str:
    try:
        return hash_text(inspect.getsource(function if inspect.isroutine(function) else type(function)))
    except (OSError, TypeError):  # written at a prompt, or compiled
        return "not seen"
