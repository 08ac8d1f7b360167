"""How for_torch captures a forward pass that happens anyway, and leaves it alone."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from warnings import warn

from actstore.activations import INPUT
from actstore.adapters.base import TrainingModeWarning, capture_layer
from actstore.adapters.for_torch import layers, wrappers
from actstore.adapters.for_torch.axes import AxisNames
from actstore.errors import LayerError
from actstore.patterns import asks_for_inputs, matcher, module_of, unknown
from actstore.wording import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch.nn import Module

    from actstore.activations import Captured
    from actstore.adapters.for_torch.layers import ModuleCall, ModulePlace
    from actstore.adapters.for_torch.values import Value


@contextmanager
def watching(model: Module, patterns: Sequence[str]) -> Iterator[Mapping[str, Captured]]:
    """Captures the latest forward pass of ``model``; warns of modules in training mode.

    Raises:
        LayerError: a pattern picks nothing, or what cannot be seen.
    """
    places = layers.places(model)
    meant = _meant(patterns, places)
    captured: dict[str, Captured] = {}
    axis_names = AxisNames()

    def start(_model: Module, arguments: tuple[object, ...], keywords: dict[str, object]) -> None:
        watch.calls.clear()
        captured.clear()
        if INPUT in meant.keys() - places.keys():
            captured[INPUT] = capture_layer(INPUT, next(iter([*arguments, *keywords.values()]), None))

    def see(call: ModuleCall, value: Value) -> None:
        row = layers.describe(call, value, axis_names)
        named = call.name in patterns
        if (row.shape is not None or named) and any(test(call.name) for test in meant[call.place.name]):
            captured[call.name] = capture_layer(call.name, layers.tensor_of(call, value), row.axes)

    _warn_of_training(model)
    handle = model.register_forward_pre_hook(start, with_kwargs=True)
    try:
        watched = [place for name, place in places.items() if name in meant]
        with wrappers.uncompiled(model), layers.watched(watched, see) as watch:
            yield captured
    finally:
        handle.remove()


def _meant(
    patterns: Sequence[str], places: Mapping[str, ModulePlace]
) -> dict[str, list[Callable[[str], bool]]]:
    """The places that patterns pick, each with tests of its calls; ``explicit`` ones where a pattern asks for such."""
    names = [*places, INPUT]
    explicit = {name for name in names if name not in places or places[name].explicit}
    meant: dict[str, list[Callable[[str], bool]]] = {}
    for pattern in patterns:
        test = matcher(pattern, names)
        asked = {pattern} | {name for name in explicit if asks_for_inputs(pattern) and asks_for_inputs(name)}
        found = {name for name in names if test(name) or name == module_of(pattern)} - (explicit - asked)
        if not found:
            raise unknown(pattern, names)
        scripted = [name for name in found & {pattern, module_of(pattern)} if _is_script(places, name)]
        if scripted:
            msg = f"layer {scripted[0]!r} cannot be stored: {layers.SCRIPTED}"
            raise LayerError(msg)
        for name in found:
            meant.setdefault(name, []).append(test)
    return meant


def _is_script(places: Mapping[str, ModulePlace], name: str) -> bool:
    return name in places and layers.is_script(places[name])


def _warn_of_training(model: Module) -> None:
    training = [name or type(model).__name__ for name, module in model.named_modules() if module.training]
    if training:
        msg = (
            f"capturing with {len(training)} modules in training mode ({listed(training)}): dropout and batch "
            "statistics are part of what is captured; call model.eval() before, if that is not meant"
        )
        warn(msg, TrainingModeWarning, stacklevel=6)
