"""What for_torch calls the axes of a layer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from actstore import interop

if TYPE_CHECKING:
    from collections.abc import Sequence

_DIMENSIONS = re.compile(r"([123])d$")
_SPATIAL = {1: ("position",), 2: ("height", "width"), 3: ("depth", "height", "width")}
_FEATURES_LAST = {
    "Conv1D", "Embedding", "GRU", "LSTM", "LayerNorm", "Linear", "MultiheadAttention", "RMSNorm", "RNN",
    "TransformerDecoderLayer", "TransformerEncoderLayer",
}  # fmt: skip


class AxisNames:
    """Names the axes of outputs, in call order: by the type of the module, else as the output before of that shape.

    So activations, normalisations and containers inherit the names that the layer before them has.
    """

    def __init__(self) -> None:
        self._shape: tuple[int, ...] = ()
        self._axes: tuple[str, ...] = ()

    def of_output(self, kinds: Sequence[str], shape: tuple[int, ...]) -> tuple[str, ...]:
        """The names of the feature axes ``shape`` (without the batch) of what a module of these classes returned."""
        self._axes = self._named(kinds, shape)
        self._shape = shape
        return self._axes

    def of_input(self, kinds: Sequence[str], shape: tuple[int, ...]) -> tuple[str, ...]:
        """The same of what goes into it. Inputs hand no names on, so that looking at them renames no output."""
        if "Embedding" in kinds:  # indices, which have no features
            return ("position",) if len(shape) == 1 else interop.default_axes(len(shape))
        return self._named(kinds, shape)

    def _named(self, kinds: Sequence[str], shape: tuple[int, ...]) -> tuple[str, ...]:
        dimensions = next((int(found[1]) for kind in kinds if (found := _DIMENSIONS.search(kind))), 0)
        if dimensions and len(shape) == dimensions + 1:
            return ("channel", *_SPATIAL[dimensions])
        if len(shape) > 1 and _FEATURES_LAST.intersection(kinds):
            if len(shape) == 2:
                return ("position", "feature")
            return (*interop.default_axes(len(shape))[:-1], "feature")
        if len(shape) > 1 and shape == self._shape:
            return self._axes
        return interop.default_axes(len(shape))
