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
        # By tensor, none of which is kept alive: where it comes from, told when; and by the tensor that others are
        # views of, what was written into it, when.
        self._sources: Any = WeakIdKeyDictionary()
        self._written: Any = WeakIdKeyDictionary()
        self._now = 0

    def given(self, inputs: object) -> None:
        """The model is given a batch."""
        for tensor in _tensors(inputs):
            self._tell(tensor, frozenset([INPUT]))

    def called(self, call: ModuleCall, value: Value, whole: object) -> None:
        """A place is called: ``value`` is taken of it, ``whole`` is all that goes in or comes out."""
        every = _tensors(whole)
        taken = every if value.tensor is None else [value.tensor]
        for source in self._of(taken):
            if source != call.name:
                self.edges[source, call.name] = None
        for tensor in taken if call.place.into else [*every, *taken]:
            self._tell(tensor, frozenset([call.name]))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follow every operation of the pass that runs within."""
        from torch.utils._python_dispatch import TorchDispatchMode

        follow = self._follow

        class Mode(TorchDispatchMode):
            """Runs each operation as it is, and tells of it."""

            supports_higher_order_operators = True

            @classmethod
            def _should_skip_dynamo(cls) -> bool:
                """Spare a model that is not compiled the seconds that torch takes to load its compiler."""
                return False

            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                result = func(*args, **(kwargs or {}))
                follow(func, args, kwargs or {}, result)
                return result

        with Mode():
            yield

    def _follow(
        self, operation: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], result: object
    ) -> None:
        sources = self._of(_tensors((arguments, keywords)))
        if not sources:
            return
        written = _tensors(list(_written(operation, arguments, keywords)))
        for tensor in [*_tensors(result), *written]:
            self._tell(tensor, sources)
        for tensor in written:
            self._written.setdefault(_whole(tensor), []).append((self._now, sources))

    def _tell(self, tensor: Any, sources: frozenset[str]) -> None:
        self._now += 1
        self._sources[tensor] = (self._now, sources)

    def _of(self, tensors: list[Any]) -> frozenset[str]:
        """What tensors come from; what was written since into another view of the same memory is part of it."""
        found: frozenset[str] = frozenset()
        for tensor in tensors:
            told, sources = self._sources.get(tensor, (0, frozenset()))
            later = [more for at, more in self._written.get(_whole(tensor), ()) if at > told]
            found = found.union(sources, *later)
        return found


def _written(operation: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Iterator[Any]:
    """The arguments that an operation writes into, as its schema says."""
    schema = getattr(operation, "_schema", None)
    for place, argument in enumerate(schema.arguments if schema is not None else ()):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield arguments[place] if place < len(arguments) else keywords.get(argument.name)


def _whole(tensor: Any) -> Any:
    """The tensor that a view is of; a tensor that is no view itself."""
    return tensor if tensor._base is None else tensor._base


def _tensors(value: object) -> list[Any]:
    """Every tensor in what a module takes or gives."""
    import torch
    from torch.utils._pytree import tree_leaves

    found = list(value.values()) if hasattr(value, "values") and hasattr(value, "keys") else value
    return [leaf for leaf in tree_leaves(found) if isinstance(leaf, torch.Tensor)]
