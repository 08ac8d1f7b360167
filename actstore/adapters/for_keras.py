"""Keras 3 on any of its backends: what each layer's call returns, copied as it returns.

Layers are called by their dotted names (see ``keras_layers.layers_by_name``), in the order in which their calls
return; ``output`` is what the whole model returns. The model gets the batch as its first argument: one array, or a
list or dict of arrays as the model wants them. Calls have ``training=False``.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from actstore import interop
from actstore.adapters import keras_layers, keras_model
from actstore.adapters.base import Adapter, Keep, LayerRow, Run
from actstore.errors import AdapterError
from actstore.patterns import module_of
from actstore.provenance import hash_arrays

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from actstore.captured import Captured
    from actstore.store.format import JSON

_DESCRIBED_ROWS = 2
_OTHER_CALLS = (
    "layer {!r} is called {} for this batch than for the first; a store needs the same calls for every batch: "
    "ask for a layer that is always called alike"
)


class _EnoughError(BaseException):
    """Ends a forward pass once the deepest layer asked for was captured; a model's ``except Exception`` lets it by."""


class KerasAdapter(Adapter):
    """Runs a ``keras.Model``, or a layer, for inference, and leaves it as it was found."""

    name = "keras"
    loads: ClassVar[tuple[str, ...]] = (".keras",)

    @staticmethod
    def accepts(model: object) -> bool:
        """Any layer of Keras 3; on its torch backend these are torch modules, too, and are Keras's all the same."""
        return any(
            base.__name__ == "Layer" and base.__module__.partition(".")[0] == "keras"
            for base in type(model).__mro__
        )

    @staticmethod
    def load(spec: str) -> object:
        """The model of ``FILE.keras``."""
        return keras_model.read(Path(spec))

    def describe(self, inputs: object | None) -> list[LayerRow]:
        """Every call of every layer in one run of a few rows; then what was not called, and other names of layers."""
        keras_model.check_ready(self.model, self.device)
        layers, others = keras_layers.layers_by_name(self.model)
        seen: list[tuple[str, LayerRow]] = []
        axis_names = keras_layers.AxisNames()

        def see(name: str, index: int, layer: Any, output: object) -> None:
            row = keras_layers.describe(keras_layers.call_name(name, index), layer, output, axis_names)
            seen.append((name, replace(row, explicit=layer is self.model)))

        calls: Mapping[str, int] = {}
        if inputs is not None:
            with keras_model.evaluating(self.model), keras_layers.watched(layers, see) as calls:
                keras_model.forward(self.model, interop.first_rows(inputs, _DESCRIBED_ROWS))
        why = "" if inputs is None else "it was not called for this batch"
        silent = [
            LayerRow(name, type(layer).__name__, note=why, explicit=layer is self.model)
            for name, layer in layers.items()
            if name not in calls
        ]
        shared = [
            LayerRow(name, type(layers[first]).__name__, note=f"it is the same layer as {first!r}")
            for name, first in others.items()
        ]
        return [replace(row, calls=calls[name]) for name, row in seen] + silent + shared

    @contextmanager
    def capturing(self, layers: Sequence[LayerRow], keep: Keep) -> Iterator[Run]:
        """Runs stop after the deepest layer asked for."""
        keras_model.check_ready(self.model, self.device)
        every, _ = keras_layers.layers_by_name(self.model)
        wanted = {layer.name: layer for layer in layers}
        homes = {name: name if name in every else module_of(name) for name in wanted}
        calls_before = {homes[name]: layer.calls for name, layer in wanted.items()}
        captured: dict[str, Captured] = {}

        def see(name: str, index: int, _layer: Any, output: object) -> None:
            layer = wanted.get(keras_layers.call_name(name, index))
            if layer is not None:
                captured[layer.name] = keep(layer.name, keras_layers.taken(output)[0], layer.axes)
                if len(captured) == len(wanted):
                    raise _EnoughError
            elif index >= calls_before[name]:
                raise AdapterError(_OTHER_CALLS.format(name, "more often"))

        def run(inputs: object) -> dict[str, Captured]:
            captured.clear()
            calls.clear()
            with suppress(_EnoughError):
                keras_model.forward(self.model, inputs)
            for name in wanted:
                if name not in captured:
                    raise AdapterError(_OTHER_CALLS.format(homes[name], "less often"))
            return dict(captured)

        watched = {name: every[name] for name in calls_before}
        with keras_model.evaluating(self.model), keras_layers.watched(watched, see) as calls:
            yield run

    def provenance(self) -> dict[str, JSON]:
        """The hash of all weights, trainable or not: names, dtypes, shapes and bytes, in the model's order.

        Not their paths: these have the names of layers in them, which Keras counts up for every model it makes
        (``dense_3/kernel``), so that the same model made again would be taken for another.
        """
        weights = ((variable.name, variable.value) for variable in self.model.weights)
        return {
            "weights": hash_arrays(weights),
            "class": type(self.model).__qualname__,
            "backend": keras_model.backend(),
        }

    def load_weights(self, path: Path, key: str | None) -> object:
        """What ``model.save_weights`` wrote: ``FILE.weights.h5``."""
        keras_model.load_weights(self.model, path, key)
        return self.model
