"""Keras 3 on any of its backends: what each layer's call returns, copied as it returns.

Layers are called by their dotted names (see ``keras_layers.layers_by_name``), in the order in which their calls
return; ``output`` is what the whole model returns. The model gets the batch as its first argument: one array, or a
list or dict of arrays as the model wants them. Calls have ``training=False``.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from actstore.activations import ModelLayer
from actstore.adapters.base import Adapter, Keep, Run
from actstore.adapters.for_keras import layers as keras_layers
from actstore.adapters.for_keras import model as keras_model
from actstore.adapters.outputs import taken
from actstore.adapters.passes import Passes
from actstore.patterns import call_name
from actstore.provenance import hash_arrays

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from actstore.activations import Captured
    from actstore.store.format import JSON


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

    def describe(self, inputs: object | None) -> list[ModelLayer]:
        """Every call of every layer in one run; then what was not called, and other names of layers."""
        keras_model.check_ready(self.model, self.device)
        layers, others = keras_layers.layers_by_name(self.model)
        seen, calls, error = self._seen(layers, inputs)
        if error is not None:
            raise error
        why = "" if inputs is None else "it was not called for this batch"
        silent = [
            ModelLayer(name, type(layer).__name__, note=why, explicit=layer is self.model)
            for name, layer in layers.items()
            if name not in calls
        ]
        shared = [
            ModelLayer(name, type(layers[first]).__name__, note=f"it is the same layer as {first!r}")
            for name, first in others.items()
        ]
        return seen + silent + shared

    def glimpse(self, inputs: object) -> list[ModelLayer]:
        """Every call of every layer until the model fails."""
        return self._seen(keras_layers.layers_by_name(self.model)[0], inputs)[0]

    def _seen(
        self, layers: Mapping[str, Any], inputs: object | None
    ) -> tuple[list[ModelLayer], Mapping[str, int], Exception | None]:
        """The layers in call order, how often each was called, and what the model raised after the last of them."""
        seen: list[tuple[str, ModelLayer]] = []
        axis_names = keras_layers.AxisNames()
        calls: Mapping[str, int] = {}
        failed: Exception | None = None

        def see(name: str, index: int, layer: Any, output: object) -> None:
            row = keras_layers.describe(call_name(name, index), layer, output, axis_names)
            seen.append((name, replace(row, explicit=layer is self.model)))

        if inputs is not None:
            with keras_model.evaluating(self.model), keras_layers.watched(layers, see) as calls:
                try:
                    keras_model.forward(self.model, inputs)
                except Exception as error:  # noqa: BLE001 - the user's model; whoever describes raises it again
                    failed = error
        return [replace(row, calls=calls[name]) for name, row in seen], calls, failed

    @contextmanager
    def capturing(self, layers: Sequence[ModelLayer], keep: Keep) -> Iterator[Run]:
        """Runs are whole passes, unless they are to stop early."""
        keras_model.check_ready(self.model, self.device)
        every, _ = keras_layers.layers_by_name(self.model)
        passes = Passes(layers, keep, every, "layer", stop_early=self.stop_early)

        def see(name: str, index: int, _layer: Any, output: object) -> None:
            passes.see(name, index, lambda: taken(output)[0])

        def run(inputs: object) -> dict[str, Captured]:
            calls.clear()
            return passes.layers_of(lambda: keras_model.forward(self.model, inputs))

        watched = {name: every[name] for name in passes.watched}
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
        """Return what ``model.save_weights`` wrote: ``FILE.weights.h5``."""
        keras_model.load_weights(self.model, path, key)
        return self.model
