"""Flax linen: a bound module, ``module.bind(variables)``, or the pair ``(module, variables)``.

Layers are modules by their dotted paths (``Conv_0``, ``block_1.Dense_0``), in the order in which their calls return;
what a module sows into ``intermediates`` is a layer by its own name (``block_1.attention_weights``); ``output`` is
what the whole model returns. The model gets the batch as one array, a tuple as positional and a dict as keyword
arguments; floating-point inputs in the dtype of its parameters. It runs in evaluation mode: ``train``, ``training``,
``is_training`` are False, ``deterministic``, ``use_running_average`` True, where ``__call__`` takes them; batch
statistics are used and not updated.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from actstore import arrays
from actstore.adapters import trees
from actstore.adapters.for_jax import weights
from actstore.adapters.for_jax.flax import FlaxAdapter, Pass
from actstore.adapters.for_jax.layers import CALL, Recorder
from actstore.errors import AdapterError
from actstore.provenance import hash_arrays

if TYPE_CHECKING:
    from pathlib import Path

    import jax
    import numpy as np

    from actstore.activations import ModelLayer
    from actstore.store.format import JSON

_SOWN = "intermediates"


class LinenAdapter(FlaxAdapter):
    """Runs a ``flax.linen.Module`` with its variables, of which none is written to."""

    name = "flax linen"

    def __init__(self, model: Any, device: str | None = None) -> None:
        super().__init__(model, device)
        self._module, variables = _parted(model)
        # What an earlier pass sowed is no part of the model, and this pass would add to it.
        self._variables = {name: value for name, value in variables.items() if name != _SOWN}

    @staticmethod
    def accepts(model: object) -> bool:
        """A module, or a pair that begins with one."""
        module = model[0] if isinstance(model, tuple) and len(model) == 2 else model
        return any(base.__module__ == "flax.linen.module" for base in type(module).__mro__)

    @contextmanager
    def passing(self, device: jax.Device | None) -> Iterator[Pass]:
        """Passes that keep intermediates alone, and change no other collection."""
        from flax import linen as nn

        with trees.on_device(device, self._variables) as variables:

            def run(args: tuple[Any, ...], named: dict[str, Any], recorder: Recorder) -> Mapping[str, Any]:
                def returned(module: Any, method: str) -> bool:
                    return method == CALL and recorder.returned(".".join(module.path), type(module))

                with _explaining_mode(), nn.intercept_methods(_seeing(recorder)):
                    _, sown = self._module.apply(
                        variables, *args, **named, capture_intermediates=returned, mutable=False
                    )
                return sown.get(_SOWN, {})

            yield run

    def signature(self) -> inspect.Signature:
        """Of the module's ``__call__``, without self."""
        return inspect.signature(self._module.__call__)

    def floating(self) -> np.dtype | None:
        """The dtype of the first floating-point parameter."""
        return trees.float_dtype(self._variables.get("params", self._variables))

    def uncalled(self, called: Collection[str]) -> list[ModelLayer]:
        """None: a linen module makes its modules when it runs."""
        if not called:
            msg = "a linen module shows its layers only when it runs; give it --data"
            raise AdapterError(msg)
        return []

    def provenance(self) -> dict[str, JSON]:
        """The hash of the variables: names, dtypes, shapes and bytes, in their order."""
        variables = trees.hashed(trees.named(self._variables))
        return {"weights": hash_arrays(variables), "class": type(self._module).__qualname__}

    def load_weights(self, path: Path, key: str | None) -> object:
        """All variables, or ``params`` where there is nothing else, from a ``.safetensors`` or ``.msgpack`` file."""
        loaded = weights.read(path, key)
        if [*self._variables] == ["params"] and not any(name.startswith("params.") for name in loaded):
            loaded = {f"params.{name}": value for name, value in loaded.items()}
        self._variables = weights.filled(self._variables, loaded, path)
        self.model = (self._module, self._variables)
        return self.model


def _seeing(recorder: Recorder) -> Any:
    """Return what ``nn.intercept_methods`` takes, to show the recorder every output where it is returned."""

    def see(method: Any, args: Any, named: Any, context: Any) -> Any:
        output = method(*args, **named)
        if context.method_name == CALL:
            recorder.saw(".".join(context.module.path), output)
        return output

    return see


def _parted(model: Any) -> tuple[Any, Mapping[str, Any]]:
    module, variables = model if isinstance(model, tuple) else (model, None)
    if isinstance(variables, Mapping):
        return module.clone(parent=None), variables
    if variables is not None or module.scope is None:
        found = "no variables" if variables is None else arrays.describe(variables)
        msg = (
            f"{type(module).__name__} comes with {found}: give it bound, module.bind(variables), or as the pair "
            "(module, variables), where variables is what module.init gave"
        )
        raise AdapterError(msg)
    return module.unbind()


@contextmanager
def _explaining_mode() -> Iterator[None]:
    from flax import errors

    try:
        yield
    except (errors.InvalidRngError, errors.ModifyScopeVariableError) as error:
        error.add_note(
            "the model is not in evaluation mode: let its __call__ take train (given False) or deterministic (True), "
            "or make it with deterministic=True, use_running_average=True"
        )
        raise
