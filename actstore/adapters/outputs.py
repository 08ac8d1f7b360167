"""What adapters of every framework tell alike of a layer's output: which one array of it is stored, and its axes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from actstore import arrays

SPATIAL = {1: ("position",), 2: ("height", "width"), 3: ("depth", "height", "width")}
"""The names of the axes that a convolution goes over, by how many there are."""
PIXELS = frozenset(SPATIAL[3])


def taken(
    output: object, what: str = "array", holds: Callable[[object], bool] = arrays.is_array
) -> tuple[Any | None, str]:
    """The one array of a layer's output, or None, and a note on what else there was.

    An array is itself; of a tuple that begins with one it is the first, as recurrent layers and transformers return
    their hidden states; of a mapping or a dataclass it is the only one.

    Args:
        output: of one call.
        what: an array is called in this framework.
        holds: tells one.
    """
    if holds(output):
        return output, ""
    if isinstance(output, (tuple, list)) and output and holds(output[0]):
        return output[0], "" if len(output) == 1 else f"the first of {arrays.describe(output)}"
    found = [value for value in fields(output).values() if holds(value)]
    if len(found) == 1:
        return found[0], f"the only {what} of {arrays.describe(output)}"
    article = "an" if what[0] in "aeiou" else "a"
    return None, f"it returns {arrays.describe(output)}, expected {article} {what}"


def fields(output: Any) -> Mapping[str, Any]:
    """The parts of a mapping or a dataclass by name; nothing of whatever else."""
    if isinstance(output, Mapping):
        return output
    if dataclasses.is_dataclass(output):
        return {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
    return {}


def inherited(shape: tuple[int, ...], before: tuple[int, ...], axes: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the names of an output's axes from the output before it; None where they could be others.

    Only where the shapes are the same, and no two of its axes that are as long hold different things: channels and
    steps of one length may have been exchanged in between.
    """
    if len(shape) < 2 or shape != before or len(axes) != len(shape):
        return None
    alike: dict[int, set[bool]] = {}
    for length, name in zip(shape, axes, strict=True):
        alike.setdefault(length, set()).add(name in PIXELS)
    counts = [shape.count(length) for length in shape]
    same = any(count > 1 and alike[length] != {True} for length, count in zip(shape, counts, strict=True))
    return None if same else axes


def features_last(count: int) -> tuple[str, ...]:
    """The names of so many feature axes, two or more, the last of which is known to hold features."""
    return ("position", "feature") if count == 2 else (*arrays.default_axes(count)[:-1], "feature")
