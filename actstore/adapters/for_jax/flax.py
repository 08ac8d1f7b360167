"""What linen and nnx have in common: passes of a model in evaluation mode, without jit.

A pass runs operation by operation, as ``model(x)`` does at a prompt, and gives the same bits. Under ``jax.jit`` the
bits of a layer depend on what else is asked for, since XLA fuses across layers, unless every layer is an output of
the compiled pass, which then holds all of them in memory at once. Measured on one CPU core, batches of 64: compiled
with all outputs a small transformer ran 3.2 times and a convnet 2 times as fast, and the transformer's activations
differed by 2e-6 from those of ``model(x)``. A part that is worth it can be compiled inside the model (``nn.jit``,
``nnx.jit``), and a jitted function of a batch can be dumped as it is.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from actstore.activations import OUTPUT, ModelLayer
from actstore.adapters import trees
from actstore.adapters.base import Adapter, Keep, Run
from actstore.adapters.for_jax import layers as jax_layers
from actstore.adapters.for_jax.axes import AxisNames
from actstore.adapters.for_jax.layers import FlaxCall, Recorder
from actstore.adapters.passes import other_calls
from actstore.errors import AdapterError
from actstore.patterns import module_of

if TYPE_CHECKING:
    import inspect

    import jax
    import numpy as np

    from actstore.activations import Captured

Pass: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any], Recorder], Mapping[Any, Any]]
"""Runs the model once; gives the tree of what was kept, which ``Recorder.calls`` takes apart."""

_EVALUATION = {
    "train": False,
    "training": False,
    "is_training": False,
    "deterministic": True,
    "use_running_average": True,
}
"""Arguments that put a Flax model into evaluation mode, where its ``__call__`` has them."""


class FlaxAdapter(Adapter):
    """Runs a Flax model; ``passing`` is what linen and nnx do each in its own way."""

    _inside = True
    """Whether layers within jitted and scanned parts are kept; not where a scan cannot hand them out."""

    @abstractmethod
    def passing(self, device: jax.Device | None) -> AbstractContextManager[Pass]:
        """A context in which the model can be run on ``device`` (None: where it is), and left as it was found."""

    @abstractmethod
    def signature(self) -> inspect.Signature:
        """Of the model's ``__call__``."""

    @abstractmethod
    def floating(self) -> np.dtype | None:
        """The dtype of the parameters; None where none is floating."""

    @abstractmethod
    def uncalled(self, called: Collection[str]) -> list[ModelLayer]:
        """Modules that are known to be there, but were not called."""

    def describe(self, inputs: object | None) -> list[ModelLayer]:
        """Every call of every module in one run, and what modules sow; then what was not called."""
        if inputs is None:
            return self.uncalled(())
        with self._running() as run:
            recorder, calls = run(inputs, None)
            if not recorder.complete:
                with _uncompiled():
                    recorder, calls = run(inputs, None)
        hidden = recorder.hidden(calls)
        counts = Counter(call.module for call in calls)
        axis_names = AxisNames()
        described = [
            replace(
                jax_layers.describe(call, axis_names),
                explicit=call.layer == OUTPUT,
                calls=counts[call.module],
            )
            for call in calls
        ]
        return [*described, *hidden, *self.uncalled([*counts, *(row.name for row in hidden)])]

    @contextmanager
    def capturing(self, layers: Sequence[ModelLayer], keep: Keep) -> Iterator[Run]:
        """Runs go through the whole model; only the layers asked for stay in memory."""
        wanted = {layer.name: layer for layer in layers}
        calls_before = {module_of(layer.name): layer.calls for layer in layers}

        with self._running() as run_kept:

            def run(inputs: object) -> dict[str, Captured]:
                _, calls = run_kept(inputs, calls_before)
                counts = Counter(call.module for call in calls)
                for name, before in calls_before.items():
                    if counts[name] != before:
                        how = "more often" if counts[name] > before else "less often"
                        raise other_calls(f"module {name!r}", how)
                return {
                    call.layer: keep(call.layer, _taken(call), wanted[call.layer].axes)
                    for call in calls
                    if call.layer in wanted
                }

            yield run

    @contextmanager
    def _running(self) -> Iterator[Callable[[object, Collection[str] | None], tuple[Recorder, list[FlaxCall]]]]:
        device = None if self.device is None else trees.find_device(self.device)
        floating = self.floating()
        with self.passing(device) as pass_once:

            def run(inputs: object, wanted: Collection[str] | None) -> tuple[Recorder, list[FlaxCall]]:
                args, named = self._arguments(trees.given(inputs, floating, device))
                mode = {name: value for name, value in named.items() if name in _EVALUATION}
                with trees.explaining(inputs, **mode):
                    recorder = Recorder(wanted, self._inside)
                    try:
                        return recorder, recorder.calls(pass_once(args, named, recorder))
                    except Exception:  # a scan that cannot carry what its modules sow; or the model's own
                        if not (recorder.was_inside and self._inside):
                            raise
                    recorder = Recorder(wanted, inside=False)
                    calls = recorder.calls(pass_once(args, named, recorder))
                    self._inside = False
                    return recorder, calls

            yield run

    def _arguments(self, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A tuple as positional, a dict as keyword arguments; and evaluation mode, where the model takes it so."""
        named = dict(inputs) if isinstance(inputs, Mapping) else {}
        args = () if isinstance(inputs, Mapping) else inputs if isinstance(inputs, tuple) else (inputs,)
        parameters = list(self.signature().parameters)
        free = [name for name in parameters[len(args) :] if name not in named]
        return args, named | {name: _EVALUATION[name] for name in free if name in _EVALUATION}


def _uncompiled() -> AbstractContextManager[None]:
    """A context in which every module runs, also those of parts that were compiled before: it shows their places."""
    import jax

    return jax.disable_jit()


def _taken(call: FlaxCall) -> Any:
    array, note = jax_layers.taken(call.output)
    if array is None:
        msg = f"layer {call.layer!r} cannot be stored: {note}"
        raise AdapterError(msg)
    return array
