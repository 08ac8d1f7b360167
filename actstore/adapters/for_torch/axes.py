"""What for_torch calls the axes of a layer."""

from __future__ import annotations

import re
import weakref
from typing import TYPE_CHECKING

from actstore import arrays
from actstore.adapters.outputs import SPATIAL, features_last

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_DIMENSIONS = re.compile(r"([123])d$")
_FEATURES_LAST = {
    "Conv1D", "Embedding", "GRU", "LSTM", "LayerNorm", "Linear", "MultiheadAttention", "RMSNorm", "RNN",
    "TransformerDecoderLayer", "TransformerEncoderLayer",
}  # fmt: skip


class AxisNames:
    """Names the axes of outputs, in call order.

    By the type of the module; else as they were when the very tensor came out of another module; else as those of the
    output before, where that has the same shape. So activations, normalisations and containers inherit the names that
    the layer before them has.
    """

    def __init__(self) -> None:
        self._shape: tuple[int, ...] = ()
        self._axes: tuple[str, ...] = ()
        self._known: dict[int, tuple[weakref.ref[Tensor], tuple[str, ...]]] = {}

    def of_output(self, kinds: Sequence[str], tensor: Tensor) -> tuple[str, ...]:
        """The names of the feature axes (without the batch) of what a module of these classes returned."""
        self._axes = self._named(kinds, tensor)
        self._shape = tuple(tensor.shape[1:])
        self._known[id(tensor)] = weakref.ref(tensor), self._axes
        return self._axes

    def of_input(self, kinds: Sequence[str], tensor: Tensor) -> tuple[str, ...]:
        """The same of what goes into it. Inputs hand no names on, so that looking at them renames no output."""
        if "Embedding" in kinds:  # indices, which have no features
            return ("position",) if tensor.ndim == 2 else arrays.default_axes(tensor.ndim - 1)
        return self._named(kinds, tensor)

    def _named(self, kinds: Sequence[str], tensor: Tensor) -> tuple[str, ...]:
        shape = tuple(tensor.shape[1:])
        dimensions = next((int(found[1]) for kind in kinds if (found := _DIMENSIONS.search(kind))), 0)
        if dimensions and len(shape) == dimensions + 1:
            return ("channel", *SPATIAL[dimensions])
        if len(shape) > 1 and _FEATURES_LAST.intersection(kinds):
            return features_last(len(shape))
        reference, axes = self._known.get(id(tensor), (None, ()))
        if reference is not None and reference() is tensor and len(axes) == len(shape):
            return axes
        if len(shape) > 1 and shape == self._shape:
            return self._axes
        return arrays.default_axes(len(shape))
