"""What for_torch knows of torch's modules: their names, their calls, and how a layer is described."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from actstore import arrays
from actstore.activations import OUTPUT, ModelLayer
from actstore.adapters.for_torch import values
from actstore.adapters.for_torch.wrappers import named_modules
from actstore.errors import AdapterError
from actstore.patterns import INTO, call_name
from actstore.store.format import DTYPES
from actstore.usercode import explain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor
    from torch.nn import Module

    from actstore.adapters.for_torch.axes import AxisNames
    from actstore.adapters.for_torch.values import Value

SCRIPTED = "it is a torch.jit.ScriptModule, which takes no hooks; ask for the layer before or after it"
_UNKNOWN = "it cannot be described ({})"
_PARAMETRIZATIONS = "parametrizations"
See: TypeAlias = "Callable[[ModuleCall, Value], None]"
SeeAll: TypeAlias = "Callable[[ModuleCall, Value, object], None]"


@dataclass(frozen=True)
class ModulePlace:
    """Where in a model something can be seen: what comes out of a module or an operation, or what goes into a module.

    Args:
        name: of the layer; a call has it with the number of the call.
        kinds: the names of the module's class and of its bases.
        module: None for an operation.
        into: whether it is what goes into the module.
        explicit: see ``ModelLayer``.
    """

    name: str
    kinds: tuple[str, ...]
    module: Module | None = None
    into: bool = False
    explicit: bool = False


@dataclass(frozen=True)
class ModuleCall:
    """One call of a place in a pass, ``index`` calls after the first."""

    place: ModulePlace
    index: int

    @property
    def name(self) -> str:
        """``relu`` for the first call of a module in a pass, then ``relu#1``, ``relu#2``, ...."""
        return call_name(self.place.name, self.index)


def places(model: Module) -> dict[str, ModulePlace]:
    """Every module once, under its first name; the model itself, last, as ``output``; and what goes into each."""
    modules = {name: module for name, module in named_modules(model) if not is_parametrization(name)}
    root = modules.pop("")
    if OUTPUT not in modules:
        modules[OUTPUT] = root
    found = {
        name: ModulePlace(name, kinds(type(module)), module, explicit=module is root)
        for name, module in modules.items()
    }
    inputs = [
        ModulePlace(f"{name}{INTO}", place.kinds, place.module, into=True, explicit=True)
        for name, place in found.items()
        if place.module is not root and f"{name}{INTO}" not in found
    ]
    return {**found, **{place.name: place for place in inputs}}


def is_parametrization(name: str) -> bool:
    """Whether a module makes weights of another (``torch.nn.utils.parametrize``): it never sees a batch."""
    return _PARAMETRIZATIONS in name.split(".")


def kinds(module_type: type) -> tuple[str, ...]:
    """The names of a class and of its bases."""
    return tuple(base.__name__ for base in module_type.__mro__)


def aliases(model: Module) -> dict[str, str]:
    """Further names of modules that are used in several places, each with the first name of its module."""
    first: dict[int, str] = {}
    others = {}
    for name, module in named_modules(model, remove_duplicate=False):
        if is_parametrization(name):
            continue
        if first.setdefault(id(module), name) != name:
            others[name] = first[id(module)]
    return others


class Watch:
    """Hands each call of some places to ``see``, and counts them; ``calls`` is for the caller to clear.

    ``see_all`` is told first, of all that goes in or comes out. Counts entries or exits of a module; the two agree
    unless a module calls itself.
    """

    def __init__(self, watched_places: Sequence[ModulePlace], see: See, see_all: SeeAll | None = None) -> None:
        self.calls: Counter[str] = Counter()
        self.see_all = see_all
        self._names = {place.name for place in watched_places}
        self._see = see

    def tell(self, place: ModulePlace, value: Value, whole: object = None) -> None:
        """A place has been called."""
        if place.name in self._names:
            call = ModuleCall(place, self.calls[place.name])
            self.calls[place.name] += 1
            if self.see_all is not None:
                self.see_all(call, value, whole)
            self._see(call, value)


@contextmanager
def watched(watched_places: Sequence[ModulePlace], see: See) -> Iterator[Watch]:
    """Hooks that call ``see`` after each call of these modules, and before where it is about what goes in."""
    watch = Watch(watched_places, see)

    def after(place: ModulePlace, _module: Module, _inputs: object, output: object) -> None:
        watch.tell(place, _told(values.taken, output), output)

    def before(
        place: ModulePlace, _module: Module, arguments: tuple[object, ...], keywords: Mapping[str, object]
    ) -> None:
        watch.tell(place, _told(values.given, arguments, keywords), (arguments, keywords))

    handles = []
    try:
        for place in watched_places:
            if place.module is None or is_script(place):
                continue
            if place.into:
                handles.append(place.module.register_forward_pre_hook(partial(before, place), with_kwargs=True))
            else:
                handles.append(place.module.register_forward_hook(partial(after, place)))
        yield watch
    finally:
        for handle in handles:
            handle.remove()


def _told(find: Callable[..., Value], *found: Any) -> Value:
    """Return what ``find`` takes of an output; nothing of tensors that cannot even be asked for their shape."""
    try:
        return find(*found)
    except Exception as error:  # noqa: BLE001 - nested and other tensors raise whatever they like
        return values.Value(None, _UNKNOWN.format(explain(error)))


def is_script(place: ModulePlace) -> bool:
    """Whether a place is a ``torch.jit`` module, which takes no hooks."""
    return "ScriptModule" in place.kinds


def tensor_of(call: ModuleCall, value: Value) -> Tensor:
    """AdapterError where there is none."""
    if value.tensor is None:
        msg = f"layer {call.name!r} cannot be stored: {value.note}"
        raise AdapterError(msg)
    return value.tensor


def describe(call: ModuleCall, value: Value, axis_names: AxisNames) -> ModelLayer:
    """One call of a place, told from its tensor, of which nothing is copied."""
    try:
        return _described(call, value, axis_names)
    except Exception as error:  # noqa: BLE001 - nested, sparse and other tensors raise whatever they like
        note = _UNKNOWN.format(explain(error))
        return ModelLayer(call.name, call.place.kinds[0], note=note, explicit=call.place.explicit)


def _described(call: ModuleCall, value: Value, axis_names: AxisNames) -> ModelLayer:
    place, tensor = call.place, value.tensor
    kind = place.kinds[0]
    if tensor is None:
        return ModelLayer(call.name, kind, note=value.note, explicit=place.explicit)
    dtype, layout = (str(what).removeprefix("torch.") for what in (tensor.dtype, tensor.layout))
    how = "is given" if place.into else "returns"
    if layout != "strided" or tensor.is_nested:
        kept = "nested" if tensor.is_nested else layout
        note = f"it {how} a {kept} tensor, which no store holds"
        return ModelLayer(call.name, kind, note=note, explicit=place.explicit)
    if tensor.ndim == 0 or dtype not in DTYPES:
        note = f"it {how} {arrays.describe(tensor)}, which no store holds"
        return ModelLayer(call.name, kind, note=note, explicit=place.explicit)
    rows, *shape = tensor.shape
    axes = axis_names.of_input(place, tensor) if place.into else axis_names.of_output(place, tensor)
    return ModelLayer(
        call.name, kind, tuple(shape), axes, dtype, value.note, explicit=place.explicit, rows=int(rows)
    )
