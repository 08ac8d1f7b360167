"""What happens between modules: the functional calls of a model, which ``torch.fx`` finds by tracing it.

A traced pass runs the model's own modules, so that hooks see them, and what its forward methods do between these, one
operation after the other. An operation is called as fx names its node, numbered within the module that it lies in:
``layer1.0.add``, ``layer1.0.relu_1``. Traced is a copy that shares the tensors; the model itself stays as it is.
"""

from __future__ import annotations

import copy
import inspect
import re
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from actstore import interop
from actstore.adapters import torch_values
from actstore.adapters.base import INPUT, OUTPUT
from actstore.adapters.torch_layers import Place, Watch
from actstore.adapters.torch_wrappers import names_without_wrappers, unwrapped
from actstore.errors import AdapterError
from actstore.patterns import INTO
from actstore.usercode import explain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch.fx import Graph, Node, Tracer
    from torch.nn import Module

_NUMBERED = re.compile(r"_\d+$")
_OPERATIONS = {"call_function": "function", "call_method": "method"}


@dataclass(frozen=True)
class _Event:
    """A place is called; ``value`` is what is in it or comes out, with nodes in the place of their results."""

    place: Place
    value: Any


@dataclass(frozen=True)
class Trace:
    """The graph of a model, and after which of its nodes which places are called.

    Args:
        model: whose modules run.
        copied: what was traced; it holds the tensors that tracing made constants of.
        graph: of fx.
        events: by node, in order.
        operations: by name, in order.
    """

    model: Module
    copied: Module
    graph: Graph
    events: Mapping[Node, list[_Event]]
    operations: Mapping[str, Place]

    def run(self, watch: Watch, /, *arguments: object, **keywords: object) -> object:
        """One pass, of which ``watch`` is told; gives what the model gives."""
        from torch.fx.node import map_arg

        given = iter(_in_order(self.model, arguments, keywords))
        results: dict[Node, object] = {}
        last_uses = self._last_uses()
        for node in self.graph.nodes:
            inputs, named = map_arg((node.args, node.kwargs), results.__getitem__)
            results[node] = next(given) if node.op == "placeholder" else self._result(node, inputs, named)
            for event in self.events.get(node, ()):
                _tell(watch, event.place, map_arg(event.value, results.__getitem__))
            if node.op == "output":
                return results[node]
            for used in last_uses.get(node, ()):
                del results[used]
        return None

    def _result(self, node: Node, inputs: tuple[Any, ...], named: dict[str, Any]) -> object:
        if node.op == "call_module":
            return self.model.get_submodule(str(node.target))(*inputs, **named)
        if node.op == "get_attr":
            return self._attribute(str(node.target))
        if node.op == "call_method":
            return getattr(inputs[0], str(node.target))(*inputs[1:], **named)
        return inputs[0] if node.op == "output" else node.target(*inputs, **named)

    def _attribute(self, target: str) -> object:
        path, _, name = target.rpartition(".")
        module = self.model.get_submodule(path)
        # Not in the model: a tensor that its forward made without looking at the inputs.
        return getattr(module if hasattr(module, name) else self.copied.get_submodule(path), name)

    def _last_uses(self) -> dict[Node, list[Node]]:
        """After which node which results are not needed any more."""
        from torch.fx.node import map_arg

        last: dict[Node, Node] = {}
        for node in self.graph.nodes:
            last[node] = node
            needed = [node.args, node.kwargs, *(event.value for event in self.events.get(node, ()))]
            map_arg(tuple(needed), lambda used, node=node: last.__setitem__(used, node))
        uses = defaultdict(list)
        for used, node in last.items():
            uses[node].append(used)
        return uses


def _tell(watch: Watch, place: Place, value: Any) -> None:
    if place.into:
        watch.tell(place, torch_values.given(*value))
    elif place.module is not None or torch_values.is_tensor(value):
        watch.tell(place, torch_values.taken(value))


def trace(
    model: Module, places: Mapping[str, Place], arguments: tuple[object, ...], keywords: Mapping[str, object]
) -> Trace:
    """The trace of a model that is given these inputs; of parameters that are not given, the defaults are fixed.

    Raises:
        AdapterError: fx can not trace it, with its reason.
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
            f"torch.fx can not trace {type(model).__name__}: {explain(error)}; leave the trace out and name modules, "
            "or call what you want to see through a module (nn.Identity() gives what it is given)"
        )
        raise AdapterError(msg) from error
    return Trace(model, copied, graph, dict(recorder.events), recorder.operations)


def checked(
    model: Module, places: Mapping[str, Place], arguments: tuple[object, ...], keywords: Mapping[str, object]
) -> Trace:
    """``trace``, once it was seen to give what the model gives for these inputs.

    Raises:
        AdapterError: it can not be traced, or gives something else: a trace keeps what does not come from the inputs.
    """
    given: Any = interop.copied((arguments, keywords))  # a pass may change them in place
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
    if torch_values.is_tensor(output):
        return [output]
    parts = output if isinstance(output, (tuple, list)) else torch_values.fields(output).values()
    return [tensor for part in parts for tensor in _tensors(part)]


@dataclass
class _Recorder:
    """Listens to a tracer: in which module each operation lies, where modules begin and what they return."""

    tracer: Tracer
    places: Mapping[str, Place]
    names: Mapping[str, str]
    events: dict[Node, list[_Event]] = field(default_factory=lambda: defaultdict(list))
    operations: dict[str, Place] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._inside: list[tuple[str, set[str]]] = [("", set())]
        self._call_module, self.tracer.call_module = self.tracer.call_module, self._called
        self._create_node, self.tracer.create_node = self.tracer.create_node, self._created

    def _called(
        self, module: Module, forward: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        path = self.tracer.path_of_module(module)
        if unwrapped(module) is not module or self.tracer.is_leaf_module(
            module, path
        ):  # its own hooks will tell
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
            self.operations[name] = Place(name, (_OPERATIONS[kind],))
            self.events[node].append(_Event(self.operations[name], node))
        elif kind == "output" and self.places[OUTPUT].explicit:
            self.events[node].append(_Event(self.places[OUTPUT], node))
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
            self.events[latest].append(_Event(self.places[name], _with_nodes(value)))


def _with_nodes(value: Any) -> Any:
    """The nodes in the place of fx's proxies; dataclasses as dicts, which fx can look into."""
    from torch.fx import Proxy
    from torch.fx.node import map_aggregate

    named = torch_values.fields(value)
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


def _in_order(model: Module, arguments: tuple[object, ...], keywords: Mapping[str, object]) -> list[object]:
    """The inputs in fx's order: as forward's parameters, the variadic ones last."""
    signature = inspect.signature(model.forward)
    bound = signature.bind(*arguments, **keywords)
    bound.apply_defaults()
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    order = sorted(signature.parameters.values(), key=lambda parameter: parameter.kind in variadic)
    return [bound.arguments[parameter.name] for parameter in order]
