"""Which layer feeds which, seen in one pass: each operation hands on what its tensors come from.

A tensor comes from the layers nearest before it. What a layer returns comes from that layer; what an operation returns
comes from all that its arguments come from. So skips and branches are seen whatever the forward method does in between,
but for what leaves torch on the way (numbers taken out of tensors, NumPy).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from actstore.activations import INPUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actstore.adapters.for_torch.layers import ModuleCall
    from actstore.adapters.for_torch.values import Value


class Feeding:
    """The edges of one pass, (from, to), by the names of calls; ``input`` is what the model is given."""

    def __init__(self) -> None:
        from torch.utils.weak import WeakIdKeyDictionary

        self.edges: dict[tuple[str, str], None] = {}
        self._sources: Any = WeakIdKeyDictionary()  # by tensor, which it does not keep alive

    def given(self, inputs: object) -> None:
        """The model is given a batch."""
        for tensor in _tensors(inputs):
            self._sources[tensor] = frozenset([INPUT])

    def called(self, call: ModuleCall, value: Value, whole: object) -> None:
        """A place is called: ``value`` is taken of it, ``whole`` is all that goes in or comes out."""
        every = _tensors(whole)
        taken = every if value.tensor is None else [value.tensor]
        for source in self._of(taken):
            if source != call.name:
                self.edges[source, call.name] = None
        for tensor in taken if call.place.into else every:
            self._sources[tensor] = frozenset([call.name])

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follow every operation of the pass that runs within."""
        from torch.utils._python_dispatch import TorchDispatchMode

        follow = self._follow

        class Mode(TorchDispatchMode):
            """Runs each operation as it is, and tells of it."""

            supports_higher_order_operators = True

            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                result = func(*args, **(kwargs or {}))
                follow(func, (args, kwargs), result)
                return result

        with Mode():
            yield

    def _follow(self, operation: Any, arguments: object, result: object) -> None:
        given = _tensors(arguments)
        sources = self._of(given)
        if not sources:
            return
        schema = getattr(operation, "_schema", None)
        written = given if schema is not None and schema.is_mutable else []
        for tensor in [*_tensors(result), *written[:1]]:
            self._sources[tensor] = sources
            if written and tensor._base is not None:
                self._sources[tensor._base] = sources | self._of([tensor._base])

    def _of(self, tensors: list[Any]) -> frozenset[str]:
        return frozenset().union(*(self._sources.get(tensor, frozenset()) for tensor in tensors))


def _tensors(value: object) -> list[Any]:
    """Every tensor in what a module takes or gives."""
    import torch
    from torch.utils._pytree import tree_leaves

    found = list(value.values()) if hasattr(value, "values") and hasattr(value, "keys") else value
    return [leaf for leaf in tree_leaves(found) if isinstance(leaf, torch.Tensor)]
