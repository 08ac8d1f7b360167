"""What the Flax adapters know of layers: the calls of one pass in their order, and the axes of what they return.

Flax is channels last: what a convolution returns is (batch, height, width, channel).
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from actstore import interop
from actstore.adapters.base import OUTPUT, LayerRow
from actstore.store.format import DTYPES

CALL = "__call__"
_SPATIAL = {2: ("position",), 3: ("height", "width"), 4: ("depth", "height", "width")}
_CONVOLUTIONS = {"Conv", "ConvLocal", "ConvTranspose"}
_FEATURES_LAST = {
    "Bidirectional", "Dense", "DenseGeneral", "Einsum", "Embed", "LayerNorm", "Linear", "LinearGeneral",
    "MultiHeadAttention", "MultiHeadDotProductAttention", "RMSNorm", "RNN", "SelfAttention",
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One call of a module in a pass, or one value that a module sowed.

    Args:
        module: the dotted path of the module, ``output`` for the model itself; a sown value's name is behind it.
        index: how often it was called before.
        kind: the class of the module; None of what was sown.
        output: what it returned.
    """

    module: str
    index: int
    kind: type | None
    output: object

    @property
    def layer(self) -> str:
        """``relu`` for the first call of a module in a pass, then ``relu#1``, ``relu#2``, ...."""
        return f"{self.module}#{self.index}" if self.index else self.module


class Recorder:
    """Says which calls of one pass to keep, and remembers the order in which they returned.

    Within a part that is jitted, scanned or rematerialised every call is kept: what such a part gives is compiled
    together with it, so that asking for less could change the bits of the rest.
    """

    def __init__(self, wanted: Collection[str] | None = None) -> None:
        from flax.core.tracers import current_trace

        self._wanted, self._current, self._outside = wanted, current_trace, current_trace()
        self._places: dict[str, list[int]] = defaultdict(list)
        self._kinds: dict[str, type] = {}
        self._count = 0
        self.complete = True
        """Whether the place of every call was seen; JAX does not run again what it compiled before."""

    def returned(self, path: str, kind: type) -> bool:
        """Note that the module at the dotted ``path`` ("" for the model) returns; whether its output is to be kept."""
        self._count += 1
        self._places[path].append(self._count)
        self._kinds[path] = kind
        inside = self._current() != self._outside
        return self._wanted is None or inside or (path or OUTPUT) in self._wanted

    def calls(self, sown: Mapping[Any, Any]) -> list[Call]:
        """What was kept, in call order, of a tree of modules with a tuple of outputs for each ``__call__``."""
        found: list[tuple[float, Call]] = []
        for (*above, key), outputs in _leaves(sown, ()):
            path, own = ".".join(above), key == CALL
            if own and not path and OUTPUT in sown:
                continue  # a module of that name hides the model's own output
            name = path or OUTPUT if own else ".".join([*above, key])
            for index, output in enumerate(outputs):
                kind = self._kinds.get(path) if own else None
                # What a module sows comes before it returns.
                place = self._place(path, index) - (0 if own else 0.5)
                self.complete &= not own or index < len(self._places[path])
                found.append((place, Call(name, index, kind, output)))
        return [call for _, call in sorted(found, key=lambda item: item[0])]

    def _place(self, path: str, index: int) -> int:
        places = self._places[path] or [self._count + 1]
        return places[min(index, len(places) - 1)]


def _leaves(
    node: Mapping[Any, Any], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], tuple[object, ...]]]:
    for key, value in node.items():
        path = (*above, str(key))
        if isinstance(value, Mapping):
            yield from _leaves(value, path)
        else:
            outputs = value.get_value() if hasattr(value, "get_value") else value
            yield path, outputs if isinstance(outputs, tuple) else (outputs,)


def taken(output: object) -> tuple[Any | None, str]:
    """The one array of a module's output, or None, and a note on what else there was.

    An array is itself; of a tuple that begins with an array it is the first; of a mapping or a dataclass it is the
    only one.
    """
    if interop.is_array(output):
        return output, ""
    if isinstance(output, (tuple, list)) and output and interop.is_array(output[0]):
        return output[0], "" if len(output) == 1 else f"the first of {interop.describe(output)}"
    values: list[Any] = []
    if isinstance(output, Mapping):
        values = list(output.values())
    elif dataclasses.is_dataclass(output):
        values = [getattr(output, field.name) for field in dataclasses.fields(output)]
    arrays = [value for value in values if interop.is_array(value)]
    if len(arrays) == 1:
        return arrays[0], f"the only array of {interop.describe(output)}"
    return None, f"it returns {interop.describe(output)}, where an array was expected"


class AxisNames:
    """Names the axes of outputs, in call order: by the type of the module, else as the output before of that shape.

    So activations, normalisations and containers inherit the names that the layer before them has; a dense layer over
    pixels keeps their names too.
    """

    def __init__(self) -> None:
        self._shape: tuple[int, ...] = ()
        self._axes: tuple[str, ...] = ()

    def of(self, kind: type | None, shape: tuple[int, ...]) -> tuple[str, ...]:
        """The names of the feature axes ``shape`` (without the batch) of what a module of class ``kind`` returned."""
        kinds = {base.__name__ for base in kind.__mro__} if kind is not None else set()
        default = interop.default_axes(len(shape))
        last = bool(_FEATURES_LAST & kinds)
        if _CONVOLUTIONS & kinds and len(shape) in _SPATIAL:
            axes = (*_SPATIAL[len(shape)], "channel")
        elif len(shape) > 1 and self._inherits(shape, last):
            axes = self._axes
        elif len(shape) > 1 and last:
            axes = ("position", "feature") if len(shape) == 2 else (*default[:-1], "feature")
        else:
            axes = default
        if kind is not None:  # sown values stand beside the modules
            self._shape, self._axes = shape, axes
        return axes

    def _inherits(self, shape: tuple[int, ...], last: bool) -> bool:
        if shape == self._shape and not last:
            return True
        return shape[:-1] == self._shape[:-1] and last and self._axes != interop.default_axes(len(shape))


def describe(call: Call, rows: int, axis_names: AxisNames) -> LayerRow:
    """One call, told from what it returned for ``rows`` rows, of which nothing is copied."""
    kind = "sown value" if call.kind is None else call.kind.__name__
    array, note = taken(call.output)
    if array is None:
        return LayerRow(call.layer, kind, note=note)
    dtype = str(array.dtype)
    if array.ndim == 0 or dtype not in DTYPES:
        return LayerRow(call.layer, kind, note=f"it returns {interop.describe(array)}, which no store holds")
    if len(array) != rows:
        note = f"its first axis is {len(array)} for a batch of {rows}: a part that is scanned gives its steps first"
        return LayerRow(call.layer, kind, note=note)
    shape = tuple(array.shape[1:])
    return LayerRow(call.layer, kind, shape, axis_names.of(call.kind, shape), dtype, note)
