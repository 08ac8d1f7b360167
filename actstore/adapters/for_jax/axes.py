"""The names of the axes of what Flax modules return.

Flax is channels last: what a convolution returns is (batch, height, width, channel).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from actstore import arrays
from actstore.adapters.outputs import SPATIAL, features_last, inherited

if TYPE_CHECKING:
    from collections.abc import Sequence

_CONVOLUTIONS = {"Conv", "ConvLocal", "ConvTranspose"}
_FEATURES_LAST = {
    "Bidirectional", "Dense", "DenseGeneral", "Einsum", "Embed", "LayerNorm", "Linear", "LinearGeneral",
    "MultiHeadAttention", "MultiHeadDotProductAttention", "RMSNorm", "RNN", "SelfAttention",
}  # fmt: skip


class AxisNames:
    """Names the axes of outputs, in call order: by the type of the module, else as the output before.

    Activations, normalisations and containers inherit the names of the layer before them, whose shape they have;
    so does pooling, which has its channels; a dense layer over pixels keeps their names too. What was sown inherits
    from any layer, since its place is not known.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[tuple[int, ...], tuple[str, ...]]] = []

    def of(self, kind: type | None, shape: tuple[int, ...]) -> tuple[str, ...]:
        """The names of the feature axes ``shape`` (without the batch) of what a module of class ``kind`` returned."""
        default = arrays.default_axes(len(shape))
        if len(shape) < 2:
            axes = default
        elif kind is None:
            return self._inherited(self._seen[::-1], shape) or default
        else:
            axes = self._by_type(kind, shape) or self._inherited(self._seen[-1:], shape) or default
        self._seen.append((shape, axes))
        return axes

    def _by_type(self, kind: type, shape: tuple[int, ...]) -> tuple[str, ...] | None:
        own = getattr(kind, "__call__", None)  # noqa: B004 - a subclass with a call of its own may permute what it likes
        kinds = {base.__name__ for base in kind.__mro__ if getattr(base, "__call__", None) is own}  # noqa: B004
        if _CONVOLUTIONS & kinds and len(shape) - 1 in SPATIAL:
            return (*SPATIAL[len(shape) - 1], "channel")
        if not _FEATURES_LAST & kinds:
            return None
        default = arrays.default_axes(len(shape))
        before, axes = self._seen[-1] if self._seen else ((), ())
        if before[:-1] == shape[:-1] and axes != default:
            return axes
        return features_last(len(shape))

    @staticmethod
    def _inherited(
        seen: Sequence[tuple[tuple[int, ...], tuple[str, ...]]], shape: tuple[int, ...]
    ) -> tuple[str, ...] | None:
        for before, axes in seen:
            pooled = axes[-1:] == ("channel",) and len(before) == len(shape) and before[-1] == shape[-1]
            if pooled and before[-1] not in before[:-1] and all(np.less_equal(shape, before)):
                return axes
            if found := inherited(shape, before, axes):
                return found
        return None
