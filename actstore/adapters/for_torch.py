"""PyTorch: forward hooks on the modules asked for, copied as they return, so that nothing can rewrite a capture.

Layers are modules by their dotted names, in the order in which their calls return; ``output`` is what the whole model
returns. The model gets the batch as one tensor, a tuple as positional and a dict as keyword arguments, on its own
device; floating-point inputs in the dtype of its parameters, integers as they are (an embedding needs them so).
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING
from warnings import warn

from actstore.adapters import torch_layers, torch_model
from actstore.adapters.base import (
    INPUT,
    OUTPUT,
    Adapter,
    Keep,
    LayerRow,
    Run,
    TrainingModeWarning,
    capture_layer,
)
from actstore.errors import AdapterError
from actstore.patterns import listed, matcher, module_of, unknown
from actstore.provenance import hash_arrays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor
    from torch.nn import Module

    from actstore.captured import Captured
    from actstore.store.format import JSON


_OTHER_CALLS = (
    "module {!r} is called {} for this batch than for the first; a store needs the same calls for every batch: "
    "ask for a layer that is always called alike"
)


class _EnoughError(BaseException):
    """Ends a forward pass once the deepest layer asked for was captured; a model's ``except Exception`` lets it by."""


class TorchAdapter(Adapter):
    """Runs a ``torch.nn.Module`` in evaluation mode and leaves it as it was found."""

    name = "torch"

    @staticmethod
    def accepts(model: object) -> bool:
        """Any module."""
        return any(base.__module__ == "torch.nn.modules.module" for base in type(model).__mro__)

    def describe(self, inputs: object | None) -> list[LayerRow]:
        """Every call of every module in one run; then what was not called, and the other names of shared modules."""
        modules = torch_layers.modules_by_name(self.model)
        shared = torch_layers.aliases(self.model)
        seen: list[tuple[str, LayerRow]] = []
        axis_names = torch_layers.AxisNames()

        def see(name: str, index: int, module: Module, output: object) -> None:
            row = torch_layers.describe(torch_layers.call_name(name, index), module, output, axis_names)
            seen.append((name, replace(row, explicit=module is self.model)))

        calls: Mapping[str, int] = {}
        if inputs is not None:
            with torch_model.evaluating(self.model, self.device), torch_layers.watched(modules, see) as calls:
                torch_model.forward(self.model, inputs)
        why = "" if inputs is None else "it was not called for this batch"
        silent = [
            LayerRow(name, type(module).__name__, note=why, explicit=module is self.model)
            for name, module in modules.items()
            if name not in calls
        ]
        others = [
            LayerRow(name, type(modules[first]).__name__, note=f"it is the same module as {first!r}")
            for name, first in shared.items()
        ]
        return [replace(row, calls=calls[name]) for name, row in seen] + silent + others

    @contextmanager
    def capturing(self, layers: Sequence[LayerRow], keep: Keep) -> Iterator[Run]:
        """Runs stop after the deepest layer asked for; the model is in evaluation mode meanwhile."""
        every = torch_layers.modules_by_name(self.model)
        wanted = {layer.name: layer for layer in layers}
        homes = {name: name if name in every else module_of(name) for name in wanted}
        calls_before = {homes[name]: layer.calls for name, layer in wanted.items()}
        captured: dict[str, Captured] = {}

        def see(name: str, index: int, _module: Module, output: object) -> None:
            layer = wanted.get(torch_layers.call_name(name, index))
            if layer is not None:
                captured[layer.name] = keep(layer.name, _taken(layer.name, output), layer.axes)
                if len(captured) == len(wanted):
                    raise _EnoughError
            elif index >= calls_before[name]:
                raise AdapterError(_OTHER_CALLS.format(name, "more often"))

        def run(inputs: object) -> dict[str, Captured]:
            captured.clear()
            calls.clear()
            with suppress(_EnoughError):
                torch_model.forward(self.model, inputs)
            for name in wanted:
                if name not in captured:
                    raise AdapterError(_OTHER_CALLS.format(homes[name], "less often"))
            return dict(captured)

        modules = {name: every[name] for name in calls_before}
        with torch_model.evaluating(self.model, self.device), torch_layers.watched(modules, see) as calls:
            yield run

    @contextmanager
    def watching(self, patterns: Sequence[str]) -> Iterator[Mapping[str, Captured]]:
        """Captures the latest forward pass, which it leaves alone; warns of modules in training mode."""
        modules = torch_layers.modules_by_name(self.model)
        tests = {pattern: matcher(pattern, [*modules, INPUT]) for pattern in patterns}
        meant = _meant(tests, modules, self.model)
        captured: dict[str, Captured] = {}
        axis_names = torch_layers.AxisNames()

        def start(_model: Module, arguments: tuple[object, ...], keywords: dict[str, object]) -> None:
            calls.clear()
            captured.clear()
            if INPUT in meant - modules.keys():
                captured[INPUT] = capture_layer(INPUT, next(iter([*arguments, *keywords.values()]), None))

        def see(name: str, index: int, module: Module, output: object) -> None:
            call = torch_layers.call_name(name, index)
            row = torch_layers.describe(call, module, output, axis_names)
            if (row.shape is not None or call in patterns) and any(test(call) for test in tests.values()):
                captured[call] = capture_layer(call, _taken(call, output), row.axes)

        _warn_of_training(self.model)
        handle = self.model.register_forward_pre_hook(start, with_kwargs=True)
        try:
            with torch_layers.watched({name: modules[name] for name in modules if name in meant}, see) as calls:
                yield captured
        finally:
            handle.remove()

    def provenance(self) -> dict[str, JSON]:
        """The hash of the state dict: names, dtypes, shapes and bytes, in its order."""
        return {"weights": hash_arrays(torch_model.state(self.model)), "class": type(self.model).__qualname__}

    def load_weights(self, path: Path, key: str | None) -> None:
        """A state dict, of which nothing but tensors is read (``weights_only``), or a ``.safetensors`` file."""
        torch_model.load_weights(self.model, path, key)


def _taken(name: str, output: object) -> Tensor:
    tensor, note = torch_layers.taken(output)
    if tensor is None:
        msg = f"layer {name!r} can not be stored: {note}"
        raise AdapterError(msg)
    return tensor


def _meant(
    tests: Mapping[str, Callable[[str], bool]], modules: Mapping[str, Module], model: Module
) -> set[str]:
    """The modules that patterns pick; the model's own ``input`` and ``output`` by their exact names only."""
    names = [*modules, INPUT]
    explicit = {name for name in (INPUT, OUTPUT) if modules.get(name, model) is model}
    meant: set[str] = set()
    for pattern, test in tests.items():
        found = {name for name in names if test(name) or name == module_of(pattern)} - (explicit - {pattern})
        if not found:
            raise unknown(pattern, names)
        meant |= found
    return meant


def _warn_of_training(model: Module) -> None:
    training = [name or type(model).__name__ for name, module in model.named_modules() if module.training]
    if training:
        msg = (
            f"capturing with {len(training)} modules in training mode ({listed(training)}): dropout and batch "
            "statistics are part of what is captured; call model.eval() before, if that is not meant"
        )
        warn(msg, TrainingModeWarning, stacklevel=6)
