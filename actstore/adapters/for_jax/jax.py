"""JAX functions: jitted functions from a batch to a tree of arrays, and pairs ``(function, params)``.

``function(params, batch)`` is called with the parameters of the pair, which are hashed as the weights. Layers are the
arrays of the tree, by their paths joined with dots (``block.0.attn``); a single array is ``output``. A jitted function
gives the keys of a mapping sorted: JAX does that. Floating-point inputs come in the dtype of the parameters.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from actstore import arrays as interop
from actstore.adapters import trees
from actstore.adapters.for_functions import FunctionAdapter
from actstore.adapters.for_jax import weights as jax_weights
from actstore.errors import AdapterError
from actstore.provenance import hash_arrays

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from actstore.activations import ModelLayer
    from actstore.adapters.base import Keep, Run
    from actstore.store.format import JSON


class JaxAdapter(FunctionAdapter):
    """Calls a jitted function, or any function with its parameters; compiles nothing that is not compiled already."""

    name = "jax"
    fallback = False

    @staticmethod
    def accepts(model: object) -> bool:
        """A jitted function, with or without ``--arg``s bound to it; or a function and its parameters."""
        if isinstance(model, tuple) and len(model) == 2:
            function = model[0]
            return _is_jitted(function) or inspect.isroutine(function) or isinstance(function, partial)
        return _is_jitted(model)

    def provenance(self) -> dict[str, JSON]:
        """The hash of the parameters, where they are known, besides what tells the function."""
        weights = {}
        if self._paired:
            weights["weights"] = hash_arrays(trees.hashed(trees.named(self.model[1])))
        return {**super().provenance(), **weights}

    def load_weights(self, path: Path, key: str | None) -> object:
        """Parameters of the names and shapes of those in the pair, from a ``.safetensors`` or ``.msgpack`` file."""
        if not self._paired:
            msg = (
                f"{self._called} has no parameters to load {path.name} into; let the function that makes the model "
                "return the pair (function, params)"
            )
            raise AdapterError(msg)
        function, params = self.model
        self.model = function, jax_weights.filled(params, jax_weights.read(path, key), path)
        return self.model

    @contextmanager
    def capturing(self, layers: Sequence[ModelLayer], keep: Keep) -> Iterator[Run]:
        """As of any function, with the parameters on the device meanwhile."""
        with self._placed(), super().capturing(layers, keep) as run:
            yield run

    def describe(self, inputs: object | None) -> list[ModelLayer]:
        """One row for each array of the tree."""
        with self._placed():
            return super().describe(inputs)

    @contextmanager
    def _placed(self) -> Iterator[None]:
        device = None if self.device is None else trees.find_device(self.device)
        params = self.model[1] if self._paired else None
        floating = trees.float_dtype(params)
        with trees.on_device(device, params) as placed:
            before = (placed,) if self._paired else ()
            self._run = lambda inputs: self._callable(*before, trees.given(inputs, floating, device))
            yield

    def _call(self, inputs: object) -> Mapping[str, object]:
        with trees.explaining(inputs):
            tree = self._run(inputs)
        arrays = trees.named(tree)
        if not arrays:
            msg = f"{self._called} returned {interop.describe(tree)}, expected a tree of arrays"
            raise AdapterError(msg)
        return arrays

    @property
    def _paired(self) -> bool:
        return isinstance(self.model, tuple)

    @property
    def _callable(self) -> Any:
        return self.model[0] if self._paired else self.model


def _is_jitted(model: object) -> bool:
    function = model.func if isinstance(model, partial) else model
    return type(function).__module__.partition(".")[0] in ("jax", "jaxlib") and callable(function)
