"""What for_torch calls the axes of a layer."""

from __future__ import annotations

import re
import weakref
from typing import TYPE_CHECKING

from actstore import arrays
from actstore.adapters.outputs import SPATIAL, features_last, inherited

if TYPE_CHECKING:
    from torch import Tensor

    from actstore.adapters.for_torch.layers import ModulePlace

_LIBRARIES = ("torch.", "transformers.")
_DIMENSIONS = re.compile(r"([123])d$")
_FEATURES_LAST = {
    "Conv1D", "Embedding", "GRU", "LSTM", "LayerNorm", "Linear", "MultiheadAttention", "RMSNorm", "RNN",
    "TransformerDecoderLayer", "TransformerEncoderLayer",
}  # fmt: skip


class AxisNames:
    """Suggests names for the axes of outputs, in call order.

    By the class of torch's own whose ``forward`` runs: a subclass with its own may permute anything. Else as they
    were when the very tensor came out of another module; else as those of the output before, where that has the same
    shape, and a permutation of it would have another (``outputs.inherited``).
    """

    def __init__(self) -> None:
        self._shape: tuple[int, ...] = ()
        self._axes: tuple[str, ...] = ()
        self._known: dict[int, tuple[weakref.ref[Tensor], tuple[str, ...]]] = {}

    def of_output(self, place: ModulePlace, tensor: Tensor) -> tuple[str, ...]:
        """Return the names of the feature axes (without the batch) of what a place returned."""
        self._axes = self._named(place, tensor)
        self._shape = tuple(tensor.shape[1:])
        self._known[id(tensor)] = weakref.ref(tensor), self._axes
        return self._axes

    def of_input(self, place: ModulePlace, tensor: Tensor) -> tuple[str, ...]:
        """Return the same of what goes into it. Inputs hand no names on, so that looking at them renames no output."""
        if "Embedding" in own_kinds(place):  # indices, which have no features
            return ("position",) if tensor.ndim == 2 else arrays.default_axes(tensor.ndim - 1)
        return self._named(place, tensor)

    def _named(self, place: ModulePlace, tensor: Tensor) -> tuple[str, ...]:
        shape, kinds = tuple(tensor.shape[1:]), own_kinds(place)
        dimensions = next((int(found[1]) for kind in kinds if (found := _DIMENSIONS.search(kind))), 0)
        if dimensions and len(shape) == dimensions + 1:
            return ("channel", *SPATIAL[dimensions])
        if len(shape) > 1 and _FEATURES_LAST.intersection(kinds):
            return features_last(len(shape))
        reference, axes = self._known.get(id(tensor), (None, ()))
        if reference is not None and reference() is tensor and len(axes) == len(shape):
            return axes
        return inherited(shape, self._shape, self._axes) or arrays.default_axes(len(shape))


def own_kinds(place: ModulePlace) -> tuple[str, ...]:
    """Return the names of those classes of a module, of torch's or of transformers', whose ``forward`` it runs."""
    if place.module is None:
        return place.kinds
    kind = type(place.module)
    forward = getattr(kind, "forward", None)
    return tuple(
        base.__name__
        for base in kind.__mro__
        if getattr(base, "forward", None) is forward and base.__module__.startswith(_LIBRARIES)
    )
