"""Which one tensor for_torch takes of what goes into a module or comes out of it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from actstore import arrays
from actstore.adapters import outputs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

_HIDDEN = "last_hidden_state"


@dataclasses.dataclass(frozen=True)
class Value:
    """What went into a module or came out of it.

    Args:
        tensor: the one that is taken; None where there is no telling which.
        note: what else there was, or why no tensor is taken.
    """

    tensor: Tensor | None
    note: str = ""


def taken(output: Any) -> Value:
    """The one tensor of a module's output.

    What ``outputs.taken`` takes; else ``last_hidden_state`` of a mapping or a dataclass; else, of a ModelOutput of
    transformers, the first that has rows (a loss has none).
    """
    tensor, note = outputs.taken(output, "tensor", is_tensor)
    if tensor is not None:
        return Value(tensor, note)
    tensors = {name: value for name, value in outputs.fields(output).items() if is_tensor(value)}
    if _HIDDEN in tensors:
        return Value(tensors[_HIDDEN], f"{_HIDDEN!r} of {type(output).__name__}")
    if any(kind.__name__ == "ModelOutput" for kind in type(output).__mro__):
        for name, value in tensors.items():
            if value.ndim:
                return Value(value, f"{name!r} of {type(output).__name__}")
    return Value(None, note)


def given(arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Value:
    """The one tensor that goes into a module: the first positional one, else the only one given by name."""
    positional = next((value for value in arguments if is_tensor(value)), None)
    if positional is not None:
        return Value(positional)
    named = {name: value for name, value in keywords.items() if is_tensor(value)}
    if len(named) == 1:
        (name,) = named
        return Value(named[name], f"given by name, {name!r}")
    found = f"{len(named)} tensors by name ({', '.join(named)})" if named else arrays.describe(arguments)
    return Value(None, f"it is given {found}, expected one positional tensor")


def is_tensor(value: object) -> bool:
    """Whether ``value`` is a tensor."""
    return arrays.is_array(value) and hasattr(value, "detach")
