"""What for_keras knows of Keras's layers: their names, their calls, their outputs and the axes of these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeAlias

from actstore import arrays
from actstore.activations import OUTPUT, ModelLayer
from actstore.adapters.outputs import SPATIAL, features_last, inherited, taken
from actstore.store.format import DTYPES

See: TypeAlias = Callable[[str, int, Any, object], None]
"""Called after a layer was: with its name, how often it was called before, the layer and what it returned."""

_FEATURES_LAST = {
    "Attention", "Bidirectional", "Dense", "EinsumDense", "Embedding", "GRU", "GroupQueryAttention", "LSTM",
    "MultiHeadAttention", "SimpleRNN",
}  # fmt: skip


def layers_by_name(model: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Every layer once, under its first name, the model itself last, as ``output``; and the names it has besides.

    A layer of a functional or Sequential model is called by its own name, as the operations between them are; any
    other by the attribute of its parent (``blocks.0`` in a list), or by its own name where that begins with ``_``.
    """
    layers: dict[str, Any] = {}
    first: dict[int, str] = {id(model): OUTPUT}
    others: dict[str, str] = {}

    def add(parent: Any, prefix: str) -> None:
        for own, layer in _children(parent).items():
            name = prefix + own
            if id(layer) in first:
                others[name] = first[id(layer)]
                continue
            first[id(layer)] = name
            layers[name] = layer
            add(layer, f"{name}.")

    add(model, "")
    return (layers if OUTPUT in layers else {**layers, OUTPUT: model}), others


@contextmanager
def watched(layers: Mapping[str, Any], see: See) -> Iterator[Counter[str]]:
    """Calls ``see`` after each call of these layers; the counter of calls is for the caller to clear.

    Keras has no hooks. Each layer gets a ``call`` of its own for the time being, which stands before that of its
    class: the one way that sees functional, Sequential and subclassed models alike, at every depth.
    """
    calls: Counter[str] = Counter()
    found: list[tuple[dict[str, Any], str, Any]] = []

    def wrapped(name: str, layer: Any, call: Callable[..., object]) -> Callable[..., object]:
        @wraps(call)
        def call_and_see(*arguments: object, **keywords: object) -> object:
            output = call(*arguments, **keywords)
            index = calls[name]
            calls[name] += 1
            see(name, index, layer, output)
            return output

        return call_and_see

    try:
        for name, layer in layers.items():
            method = "quantized_call" if getattr(layer, "quantization_mode", None) else "call"
            own = vars(layer)  # past __setattr__, which would track what it is given
            found.append((own, method, own.get(method)))
            own[method] = wrapped(name, layer, getattr(layer, method))
        yield calls
    finally:
        for own, method, before in found:
            own.pop(method, None)
            if before is not None:
                own[method] = before


def describe(call: str, layer: Any, output: object, axis_names: AxisNames) -> ModelLayer:
    """One call of a layer, told from what it returned."""
    kind = type(layer).__name__
    array, note = taken(output)
    if array is None:
        return ModelLayer(call, kind, note=note)
    try:
        bits, dtype = arrays.to_bits(array)
    except Exception:  # noqa: BLE001 - each backend says in its own words that a value is not there yet
        note = "it is called inside a loop that the backend compiles, where its values cannot be seen"
        return ModelLayer(call, kind, note=note)
    if bits.ndim == 0 or dtype not in DTYPES:
        return ModelLayer(call, kind, note=f"it returns {arrays.describe(array)}, which no store holds")
    rows, *shape = bits.shape
    return ModelLayer(call, kind, tuple(shape), axis_names.of(layer, tuple(shape)), dtype, note, rows=rows)


class AxisNames:
    """Names the axes of outputs, in call order: by the layer, else as the output before of that shape."""

    def __init__(self) -> None:
        self._shape: tuple[int, ...] = ()
        self._axes: tuple[str, ...] = ()

    def of(self, layer: Any, shape: tuple[int, ...]) -> tuple[str, ...]:
        """The names of the feature axes ``shape`` (without the batch) of what ``layer`` returned."""
        order = getattr(layer, "data_format", None)
        spatial = SPATIAL.get(len(shape) - 1)
        if order is not None and spatial is not None:
            axes = ("channel", *spatial) if order == "channels_first" else (*spatial, "channel")
        elif len(shape) > 1 and _FEATURES_LAST.intersection(_own_kinds(layer)):
            axes = features_last(len(shape))
        else:
            axes = inherited(shape, self._shape, self._axes) or arrays.default_axes(len(shape))
        self._shape, self._axes = shape, axes
        return axes


def _own_kinds(layer: Any) -> Iterator[str]:
    """The names of those classes of a layer whose ``call`` it runs: a subclass with its own may permute anything."""
    call = getattr(type(layer), "call", None)
    return (base.__name__ for base in type(layer).__mro__ if getattr(base, "call", None) is call)


def _children(parent: Any) -> dict[str, Any]:
    """Return what a layer is made of, by name: its layers, and the operations of a functional model."""
    operations = getattr(parent, "operations", None)
    if operations is None and any(kind.__name__ == "Sequential" for kind in type(parent).__mro__):
        operations = parent.layers
    if operations is not None:
        return {layer.name: layer for layer in operations if type(layer).__name__ != "InputLayer"}
    attributes = _attributes(parent)
    children: dict[str, Any] = {}
    for layer in getattr(parent, "_layers", ()):
        name = attributes.get(id(layer), layer.name)
        children[name if name not in children else f"{name}_{len(children)}"] = layer
    return children


def _attributes(parent: Any) -> dict[int, str]:
    """The names of public attributes by the layers they hold, alone or in lists and dicts."""
    # Torch's modules keep their sub-modules, which layers are on that backend, apart.
    own = {**vars(parent), **vars(parent).get("_modules", {})}
    names: dict[int, str] = {}

    def add(name: str, value: object) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                add(f"{name}.{key}", item)
        elif isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                add(f"{name}.{index}", item)
        elif hasattr(value, "call"):
            names.setdefault(id(value), name)

    for name, value in own.items():
        if not name.startswith("_"):
            add(name, value)
    return names
