"""Tracing a model with ``torch.fx``, to find what its forward methods do between modules.

An operation is called as fx names its node, numbered within the module that it lies in: ``layer1.0.add``,
``layer1.0.relu_1``. Traces a copy that shares the tensors; the model is not modified.
"""

from __future__ import annotations

import copy
import inspect
import re
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from actstore import arrays
from actstore.activations import INPUT, OUTPUT
from actstore.adapters.for_torch import values
from actstore.adapters.for_torch.layers import ModulePlace, Watch
from actstore.adapters.for_torch.trace import Event, Trace
from actstore.adapters.for_torch.wrappers import names_without_wrappers, unwrapped
from actstore.adapters.outputs import fields
from actstore.errors import AdapterError
from actstore.patterns import INTO
from actstore.usercode import explain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch.fx import Node, Tracer
    from torch.nn import Module

_NUMBERED = re.compile(r"_\d+$")
_OPERATIONS = {"call_function": "function", "call_method": "method"}


def trace(
    model: Module,
    places: Mapping[str, ModulePlace],
    arguments: tuple[object, ...],
    keywords: Mapping[str, object],
) -> Trace:
    """The trace of a model that is given these inputs; of parameters that are not given, the defaults are fixed.

    Raises:
        AdapterError: fx cannot trace it, with its reason.
    """
    from torch import fx

    try:
        shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
        copied = copy.deepcopy(model, shared)
        tracer = fx.Tracer()
        recorder = _Recorder(tracer, places, names_without_wrappers(model))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of defaults that its code would not check; none of it is run
            graph = tracer.trace(copied, _fixed(copied, arguments, keywords))
    except Exception as error:  # fx, or the model's own code that got a stand-in for a tensor
        msg = (
            f"torch.fx cannot trace {type(model).__name__}: {explain(error)}; leave the trace out and name modules, "
            "or call what you want to see through a module (nn.Identity() gives what it is given)"
        )
        raise AdapterError(msg) from error
    return Trace(model, copied, graph, dict(recorder.events), recorder.operations)


def checked(
    model: Module,
    places: Mapping[str, ModulePlace],
    arguments: tuple[object, ...],
    keywords: Mapping[str, object],
) -> Trace:
    """``trace``, once it was seen to give what the model gives for these inputs.

    Raises:
        AdapterError: it cannot be traced, or gives something else: a trace keeps what does not come from the inputs.
    """
    given: Any = arrays.copied((arguments, keywords))  # a pass may change them in place
    expected = model(*given[0], **given[1])
    traced = trace(model, places, arguments, keywords)
    nobody = Watch([], lambda _call, _value: None)
    found = traced.run(nobody, *arguments, **keywords)
    if not _alike(expected, found):
        msg = (
            f"the trace of {type(model).__name__} by torch.fx gives something else than the model (its forward does "
            "what a trace keeps as it was the first time: random numbers, counters, files); leave the trace out"
        )
        raise AdapterError(msg)
    return traced


def _alike(expected: Any, found: Any) -> bool:
    import torch

    first, second = _tensors(expected), _tensors(found)
    try:
        # The same operations: on a CPU the same bits; a GPU may add in another order.
        torch.testing.assert_close(second, first, equal_nan=True)
    except AssertionError:
        return False
    return True


def _tensors(output: Any) -> list[Any]:
    """Every tensor of an output, in order."""
    if values.is_tensor(output):
        return [output]
    parts = output if isinstance(output, (tuple, list)) else fields(output).values()
    return [tensor for part in parts for tensor in _tensors(part)]


@dataclass
class _Recorder:
    """Listens to a tracer: in which module each operation lies, where modules begin and what they return."""

    tracer: Tracer
    places: Mapping[str, ModulePlace]
    names: Mapping[str, str]
    events: dict[Node, list[Event]] = field(default_factory=lambda: defaultdict(list))
    operations: dict[str, ModulePlace] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._inside: list[tuple[str, set[str]]] = [("", set())]
        self._call_module, self.tracer.call_module = self.tracer.call_module, self._called
        self._create_node, self.tracer.create_node = self.tracer.create_node, self._created

    def _called(
        self, module: Module, forward: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        inside = unwrapped(module)
        if inside is not module:
            return inside(*arguments, **keywords)  # comes here again
        path = self.tracer.path_of_module(module)
        if self.tracer.is_leaf_module(module, path):  # its own hooks will tell
            return self._call_module(module, forward, arguments, keywords)
        name = self.names[path]
        self._add(f"{name}{INTO}", (arguments, keywords))
        self._inside.append((name, set()))
        output = self._call_module(module, forward, arguments, keywords)
        self._inside.pop()
        self._add(name, output)
        return output

    def _created(self, kind: str, target: Any, *rest: Any, **named: Any) -> Node:
        node = self._create_node(kind, target, *rest, **named)
        if kind in _OPERATIONS and not node.name.startswith("_"):  # else an assertion of fx's own
            name = self._free_name(_NUMBERED.sub("", node.name))
            self.operations[name] = ModulePlace(name, (_OPERATIONS[kind],))
            self.events[node].append(Event(self.operations[name], node))
        elif kind == "output" and self.places[OUTPUT].explicit:
            self.events[node].append(Event(self.places[OUTPUT], node))
        return node

    def _free_name(self, operation: str) -> str:
        """``add``, ``add_1``, ... within one call of the module, past the names of its sub-modules."""
        inside, used = self._inside[-1]
        number = 0
        while True:
            own = f"{operation}_{number}" if number else operation
            name = f"{inside}.{own}" if inside else own
            if own not in used and name not in self.places and name != INPUT:
                used.add(own)
                return name
            number += 1

    def _add(self, name: str, value: Any) -> None:
        if name in self.places:
            latest = next(iter(reversed(self.tracer.graph.nodes)))
            self.events[latest].append(Event(self.places[name], _with_nodes(value)))


def _with_nodes(value: Any) -> Any:
    """The nodes in the place of fx's proxies; dataclasses as dicts, which fx can look into."""
    from torch.fx import Proxy
    from torch.fx.node import map_aggregate

    named = fields(value)
    if named and not isinstance(value, dict):
        value = dict(named)
    return map_aggregate(value, lambda item: item.node if isinstance(item, Proxy) else item)


def _fixed(model: Module, arguments: tuple[object, ...], keywords: Mapping[str, object]) -> dict[str, object]:
    """The parameters of ``forward`` that are not given, at their defaults."""
    signature = inspect.signature(model.forward)
    given = signature.bind_partial(*arguments, **keywords).arguments
    return {
        name: parameter.default
        for name, parameter in signature.parameters.items()
        if name not in given and parameter.default is not parameter.empty
    }
