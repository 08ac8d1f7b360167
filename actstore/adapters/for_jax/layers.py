"""What the Flax adapters know of layers: the calls of one pass in their order, and what of their outputs is stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actstore import arrays
from actstore.activations import OUTPUT, ModelLayer
from actstore.adapters.outputs import taken
from actstore.patterns import call_name
from actstore.store.format import DTYPES

if TYPE_CHECKING:
    from actstore.adapters.for_jax.axes import AxisNames

CALL = "__call__"
_HIDDEN = "it is called within a part that is jitted or scanned, which hands out its own result alone"


@dataclass(frozen=True)
class FlaxCall:
    """One call of a module in a pass, or one value that a module sowed.

    Args:
        module: the dotted path of the module, ``output`` for the model itself; a sown value's name is behind it.
        index: how often it was called before.
        kind: the class of the module; None of what was sown.
        output: what it returned.
        steps: whether it was called within a scan, whose steps come before the rows.
    """

    module: str
    index: int
    kind: type | None
    output: object
    steps: bool = False

    @property
    def layer(self) -> str:
        """``relu`` for the first call of a module in a pass, then ``relu#1``, ``relu#2``, ...."""
        return call_name(self.module, self.index)


class Recorder:
    """Says which calls of one pass to keep, and remembers the order in which they returned.

    Within a part that is jitted, scanned or rematerialised every call is kept: what such a part gives is compiled
    together with it, so that asking for less could change the bits of the rest. ``inside=False`` keeps none of them.
    """

    def __init__(self, wanted: Collection[str] | None = None, inside: bool = True) -> None:
        from flax.core.tracers import current_trace

        self._wanted, self._inside = wanted, inside
        self._current, self._outside = current_trace, current_trace()
        self._places: dict[str, list[int]] = defaultdict(list)
        self._kinds: dict[str, type] = {}
        self._dimensions: dict[str, int] = {}
        self._count = 0
        self.was_inside = False
        """Whether a module was called within such a part."""
        self.complete = True
        """Whether the place of every call was seen; JAX does not run again what it compiled before."""

    def returned(self, path: str, kind: type) -> bool:
        """Note that the module at the dotted ``path`` ("" for the model) returns; whether its output is to be kept."""
        self._count += 1
        self._places[path].append(self._count)
        self._kinds[path] = kind
        if self._current() != self._outside:
            self.was_inside = True
            return self._inside
        return self._wanted is None or (path or OUTPUT) in self._wanted

    def saw(self, path: str, output: object) -> None:
        """Note what the module at ``path`` returns, as it is where it returns it: within a scan, of one step."""
        array, _ = taken(output)
        if array is not None:
            self._dimensions[path] = array.ndim

    def calls(self, sown: Mapping[Any, Any]) -> list[FlaxCall]:
        """Return what was kept, in call order, of a tree of modules with a tuple of outputs for each ``__call__``."""
        found: list[tuple[float, FlaxCall]] = []
        leaves = [*_leaves(sown, ())]
        scanned = {
            ".".join(above) for (*above, key), outputs in leaves if key == CALL and self._steps(above, outputs)
        }
        for (*above, key), outputs in leaves:
            path, own = ".".join(above), key == CALL
            if own and not path and OUTPUT in sown:
                continue  # a module of that name hides the model's own output
            name = path or OUTPUT if own else ".".join([*above, key])
            for index, output in enumerate(outputs):
                kind = self._kinds.get(path) if own else None
                # What a module sows comes before it returns.
                place = self._place(path, index) - (0 if own else 0.5)
                self.complete &= not own or index < len(self._places[path])
                found.append((place, FlaxCall(name, index, kind, output, path in scanned)))
        return [call for _, call in sorted(found, key=lambda item: item[0])]

    def hidden(self, calls: Collection[FlaxCall]) -> list[ModelLayer]:
        """Modules that were called, but none of whose calls was kept."""
        kept = {call.module for call in calls}
        return [
            ModelLayer(path or OUTPUT, kind.__name__, note=_HIDDEN, explicit=not path)
            for path, kind in self._kinds.items()
            if (path or OUTPUT) not in kept
        ]

    def _steps(self, path: Sequence[str], outputs: Sequence[object]) -> bool:
        array, _ = taken(outputs[0]) if outputs else (None, "")
        return array is not None and array.ndim > self._dimensions.get(".".join(path), array.ndim)

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


def describe(call: FlaxCall, axis_names: AxisNames) -> ModelLayer:
    """Describe one call, told from what it returned, of which nothing is copied."""
    kind = "sown value" if call.kind is None else call.kind.__name__
    array, note = taken(call.output)
    if array is None:
        return ModelLayer(call.layer, kind, note=note)
    dtype = str(array.dtype)
    if array.ndim == 0 or dtype not in DTYPES:
        return ModelLayer(call.layer, kind, note=f"it returns {arrays.describe(array)}, which no store holds")
    if call.steps:
        note = f"it is called within a part that is scanned, which gives its {len(array)} steps before the rows"
        return ModelLayer(call.layer, kind, note=note)
    rows, *shape = array.shape
    axes = axis_names.of(call.kind, tuple(shape))
    return ModelLayer(call.layer, kind, tuple(shape), axes, dtype, note, rows=rows)
