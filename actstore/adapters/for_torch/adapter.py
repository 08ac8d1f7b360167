"""PyTorch: forward hooks on the modules asked for, copied as they return, so that nothing can rewrite a capture.

Layers are modules by their dotted names, in the order in which their calls return; ``NAME:in`` is what goes into one,
and comes before everything inside it; ``output`` is what the whole model returns. Modules around the model are passed
over (``torch_wrappers``); functional calls are layers where a trace is asked for (``torch_tracing``).

The model gets the batch as one tensor, a tuple as positional and a dict as keyword arguments, on its own device;
floating-point inputs in the dtype of its parameters, integers as they are (an embedding needs them so).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from actstore import arrays
from actstore.activations import ModelLayer
from actstore.adapters.base import Adapter, Keep, Run, contracted
from actstore.adapters.for_torch import layers as torch_layers
from actstore.adapters.for_torch import model as torch_model
from actstore.adapters.for_torch import tracing, wrappers
from actstore.adapters.for_torch import watching as torch_watching
from actstore.adapters.for_torch import weights as torch_weights
from actstore.adapters.for_torch.axes import AxisNames
from actstore.adapters.for_torch.feeding import Feeding
from actstore.adapters.passes import Passes
from actstore.errors import AdapterError
from actstore.patterns import module_of
from actstore.provenance import hash_arrays

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from actstore.activations import Captured
    from actstore.adapters.for_torch.layers import ModuleCall, ModulePlace, Watch
    from actstore.adapters.for_torch.trace import Trace
    from actstore.adapters.for_torch.values import Value
    from actstore.store.format import JSON


class TorchAdapter(Adapter):
    """Runs a ``torch.nn.Module`` in evaluation mode and leaves it as it was found."""

    name = "torch"

    def __init__(self, model: Any, device: str | None = None) -> None:
        super().__init__(wrappers.unwrapped(model), device)
        self._outside = model
        self._autocast: str | None = None
        self._tracing = False
        self._trace: Trace | None = None
        self._edges: list[tuple[str, str]] | None = None
        if "ScriptModule" in torch_layers.kinds(type(self.model)):
            msg = (
                "a torch.jit.ScriptModule takes no hooks and shows none of its layers; give the module that was "
                "scripted, with these weights (model.load_state_dict(scripted.state_dict()))"
            )
            raise AdapterError(msg)

    @staticmethod
    def accepts(model: object) -> bool:
        """Any module."""
        return any(base.__module__ == "torch.nn.modules.module" for base in type(model).__mro__)

    def ask(self, *, autocast: str | None = None, trace: bool = False) -> None:
        """Both can be had of any model but one that cannot be traced, which shows when it is described."""
        self._autocast, self._tracing = autocast, trace

    def describe(self, inputs: object | None) -> list[ModelLayer]:
        """Every call of every module in one run; then what was not called, and the other names of shared modules."""
        if self._tracing:
            with torch_model.evaluating(self.model, self.device):
                self._trace = self._traced(torch_layers.places(self.model), inputs)
        places = self._places()
        self._edges = None
        feeding = None if inputs is None else Feeding()
        seen, error = self._seen(inputs, feeding)
        if error is not None and feeding is not None:  # some operations refuse to be followed
            feeding = None
            seen, error = self._seen(inputs)
        if error is not None:
            raise error
        self._edges = list(feeding.edges) if feeding is not None else None
        called = {module_of(layer.name) if layer.name not in places else layer.name for layer in seen}
        silent = [place for place in places.values() if place.name not in called]
        return seen + [row for place in silent if (row := _silent(place, inputs))] + self._others(places)

    def glimpse(self, inputs: object) -> list[ModelLayer]:
        """Every call of every module until the model fails."""
        return self._seen(inputs)[0]

    def edges(self, layers: Sequence[str]) -> list[tuple[str, str]] | None:
        """As the pass of ``describe`` showed; None where the model cannot be followed."""
        return None if self._edges is None else contracted(self._edges, layers)

    def _seen(
        self, inputs: object | None, feeding: Feeding | None = None
    ) -> tuple[list[ModelLayer], Exception | None]:
        """The layers in call order, and what the model raised after the last of them."""
        seen: list[tuple[str, ModelLayer]] = []
        axis_names = AxisNames()
        failed: Exception | None = None

        def see(call: ModuleCall, value: Value) -> None:
            seen.append((call.place.name, torch_layers.describe(call, value, axis_names)))

        with (
            torch_model.evaluating(self.model, self.device),
            torch_layers.watched([*self._places().values()], see) as watch,
        ):
            try:
                if inputs is not None:
                    self._forward(inputs, watch, feeding)
            except Exception as error:  # noqa: BLE001 - the user's model; whoever describes raises it again
                failed = error
        return [replace(row, calls=watch.calls[name]) for name, row in seen], failed

    def _others(self, places: Mapping[str, ModulePlace]) -> list[ModelLayer]:
        return [
            ModelLayer(name, places[first].kinds[0], note=f"it is the same module as {first!r}")
            for name, first in torch_layers.aliases(self.model).items()
        ]

    def _traced(self, places: Mapping[str, ModulePlace], inputs: object | None) -> Trace:
        if inputs is None:
            return tracing.trace(self.model, places, (), {})
        traces = []

        def make(*arguments: object, **keywords: object) -> None:
            traces.append(tracing.checked(self.model, places, arguments, keywords))

        torch_model.forward(self.model, arrays.copied(inputs), self._autocast, make)
        return traces[0]

    def _places(self) -> dict[str, ModulePlace]:
        if self._tracing and self._trace is None:
            msg = "a model is described before its trace is run"
            raise AdapterError(msg)
        operations = self._trace.operations if self._trace else {}
        return {**torch_layers.places(self.model), **operations}

    def _forward(self, inputs: object, watch: Watch, feeding: Feeding | None = None) -> None:
        call = partial(self._trace.run, watch) if self._trace else self.model
        if feeding is None:
            torch_model.forward(self.model, inputs, self._autocast, call)
            return
        watch.see_all = feeding.called

        def followed(*arguments: object, **keywords: object) -> None:
            feeding.given((arguments, keywords))
            with feeding.watching():
                call(*arguments, **keywords)

        torch_model.forward(self.model, inputs, self._autocast, followed)

    @contextmanager
    def capturing(self, layers: Sequence[ModelLayer], keep: Keep) -> Iterator[Run]:
        """Runs are whole passes, unless they are to stop early; the model is in evaluation mode meanwhile."""
        torch_model.check_there(self.model)
        every = self._places()
        passes = Passes(layers, keep, every, "module", stop_early=self.stop_early)

        def see(call: ModuleCall, value: Value) -> None:
            passes.see(call.place.name, call.index, lambda: torch_layers.tensor_of(call, value))

        def run(inputs: object) -> dict[str, Captured]:
            watch.calls.clear()
            return passes.layers_of(lambda: self._forward(inputs, watch))

        places = [every[name] for name in passes.watched]
        with torch_model.evaluating(self.model, self.device), torch_layers.watched(places, see) as watch:
            yield run

    def watching(self, patterns: Sequence[str]) -> AbstractContextManager[Mapping[str, Captured]]:
        """Captures the latest forward pass, which it leaves alone; warns of modules in training mode."""
        wrappers.refuse_replicas(self._outside)
        return torch_watching.watching(self.model, patterns)

    def provenance(self) -> dict[str, JSON]:
        """The hash of the state dict: names, dtypes, shapes and bytes, in its order; and how else it is to run.

        Where one of its tensors cannot be hashed, the weights are not seen, and the reason is given.
        """
        asked = {"autocast": self._autocast} if self._autocast else {}
        try:
            weights = {"weights": hash_arrays(torch_weights.state(self.model))}
        except torch_weights.UnseenWeightsError as error:
            weights = {"weights": "not seen", "reason": str(error)}
        return {**weights, "class": type(self.model).__qualname__, **asked}

    def load_weights(self, path: Path, key: str | None) -> object:
        """A state dict, of which nothing but tensors is read (``weights_only``), or a ``.safetensors`` file."""
        torch_weights.load_weights(self.model, path, key)
        return self._outside


def _silent(place: ModulePlace, inputs: object | None) -> ModelLayer | None:
    """Return what is told of a place that was not called; nothing of an operation that gave no tensor."""
    note = "" if inputs is None else "it was not called for this batch"
    if torch_layers.is_script(place):
        note = torch_layers.SCRIPTED
    elif place.module is None and inputs is not None:
        return None
    return ModelLayer(place.name, place.kinds[0], note=note, explicit=place.explicit)
