"""What happens between modules: a traced pass, of which the functional calls are seen, too.

It runs the model's own modules, so that hooks see them, and between these what ``torch_tracing`` found that the forward
methods do, one operation after the other.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actstore.adapters.for_torch import values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.fx import Graph, Node
    from torch.nn import Module

    from actstore.adapters.for_torch.layers import ModulePlace, Watch


@dataclass(frozen=True)
class Event:
    """A place is called; ``value`` is what is in it or comes out, with nodes in the place of their results."""

    place: ModulePlace
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
    events: Mapping[Node, list[Event]]
    operations: Mapping[str, ModulePlace]

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


def _tell(watch: Watch, place: ModulePlace, value: Any) -> None:
    if place.into:
        watch.tell(place, values.given(*value), value)
    elif place.module is not None or values.is_tensor(value):
        watch.tell(place, values.taken(value), value)


def _in_order(model: Module, arguments: tuple[object, ...], keywords: Mapping[str, object]) -> list[object]:
    """The inputs in fx's order: as forward's parameters, the variadic ones last."""
    signature = inspect.signature(model.forward)
    bound = signature.bind(*arguments, **keywords)
    bound.apply_defaults()
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    order = sorted(signature.parameters.values(), key=lambda parameter: parameter.kind in variadic)
    return [bound.arguments[parameter.name] for parameter in order]
