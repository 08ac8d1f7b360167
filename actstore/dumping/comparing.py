"""How far two runs of the same rows are apart, column by column, so that a huge column hides nothing of the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from actstore.store.documents.bfloat16 import widened
from actstore.store.format import BFLOAT16

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actstore.activations import Captured

TOLERANCES = {"float16": 2e-2, BFLOAT16: 5e-2}
WIDE = 1e-3
FLOOR = 1e-6
"""Of the largest magnitude of a layer: sums that cancel keep the rounding of their terms."""
_KEPT = ("channel", "feature")
_APART = 0.1
_MOST = 0.5

Parts: TypeAlias = "Sequence[np.ndarray]"
"""A layer, example by example: (*features) each, in the bits of the layer."""


@dataclass(frozen=True)
class Difference:
    """How far apart some rows are.

    Args:
        largest: the largest difference, in the column where it exceeds most what is rounding there; infinite where
            shapes differ, or one has NaN or an infinity where the other has none.
        allowed: what is rounding in that column.
        everywhere: whether most values differ by a tenth or more: that is no rounding, however small they are.
    """

    largest: float
    allowed: float
    everywhere: bool = False

    @property
    def is_rounding(self) -> bool:
        """Whether no column exceeds what is rounding there."""
        return self.largest <= self.allowed

    @property
    def is_gross(self) -> bool:
        """Whether not even a layer that magnifies its rounding would differ so."""
        return not np.isfinite(self.largest) or self.everywhere


@dataclass(frozen=True)
class Columns:
    """The magnitudes of the columns of a layer, to which differences are compared.

    A column is a channel or a feature; where axes have no such names, an entry of the first and of the last axis.

    Args:
        dtype: of the layer.
        magnitudes: the largest of each column, in a shape that broadcasts over the features.
        tolerance: what is rounding, relative to a magnitude; 0 units for whole numbers.
    """

    dtype: str
    magnitudes: np.ndarray
    tolerance: float

    @classmethod
    def of(cls, layer: Captured, parts: Parts, tolerance: float) -> Columns:
        """Take the magnitudes from some rows of a layer."""
        names = layer.axes
        kept = {axis for axis, name in enumerate(names) if name in _KEPT} or {0, len(names) - 1}
        found = [_magnitudes(values_of(part, layer.dtype), kept) for part in parts]
        if len({each.shape for each in found}) > 1:  # of other lengths each: the last axis alone is the same
            found = [_magnitudes(values_of(part, layer.dtype), {len(names) - 1}) for part in parts]
        if not found or len({each.shape for each in found}) > 1:
            found = [np.asarray(max((float(each.max(initial=0.0)) for each in found), default=0.0))]
        return cls(layer.dtype, np.max(found, axis=0), tolerance)

    @property
    def allowed(self) -> np.ndarray:
        """What is rounding in each column."""
        if not _is_float(self.dtype):
            return np.zeros_like(self.magnitudes)
        floor = FLOOR * self.magnitudes.max(initial=0.0)
        return np.maximum(self.tolerance * self.magnitudes, floor)

    def compare(self, one: Parts, other: Parts) -> Difference | None:
        """Return how far apart the rows are; None where they are the same bits."""
        if len(one) != len(other):
            return Difference(float("inf"), 0.0)
        found = [self._difference(*pair) for pair in zip(one, other, strict=True)]
        different = [each for each in found if each is not None]
        if not different:
            return None
        worst = max(different, key=lambda each: each.largest / each.allowed if each.allowed else each.largest)
        return Difference(worst.largest, worst.allowed, any(each.everywhere for each in different))

    def _difference(self, one: np.ndarray, other: np.ndarray) -> Difference | None:
        if one.shape != other.shape:
            return min(self._aligned(one, other), key=lambda each: each.largest)
        if one.tobytes() == other.tobytes():
            return None
        first, second = values_of(one, self.dtype), values_of(other, self.dtype)
        same = (first == second) | (np.isnan(first) & np.isnan(second))
        if same.all():
            return None
        with np.errstate(invalid="ignore"):  # infinity minus infinity
            apart = np.abs(first - second)
        apart = np.where(same, 0.0, np.where(np.isfinite(apart), apart, np.inf))
        allowed = np.broadcast_to(self.allowed, apart.shape) if apart.ndim else np.asarray(self.allowed.max())
        excess = np.where(apart > 0, apart / np.maximum(allowed, np.finfo(float).tiny), 0.0)
        at = np.unravel_index(int(excess.argmax()), apart.shape) if apart.ndim else ()
        sizes = np.maximum(np.abs(first), np.abs(second))
        filled = sizes > 0
        gross = float((apart[filled] > _APART * sizes[filled]).mean()) > _MOST if filled.any() else False
        return Difference(float(apart[at]), float(allowed[at]), gross)

    def _aligned(self, one: np.ndarray, other: np.ndarray) -> list[Difference]:
        """The rows where both have positions, padded on the right or on the left."""
        far = [Difference(float("inf"), 0.0)]
        if one.ndim != other.ndim:
            return far
        shorter = tuple(map(min, one.shape, other.shape))
        found = [self._difference(_first(one, shorter), _first(other, shorter))]
        found.append(self._difference(_last(one, shorter), _last(other, shorter)))
        return far + [each or Difference(0.0, 0.0) for each in found]


def _first(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return array[tuple(slice(count) for count in shape)]


def _last(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return array[tuple(slice(whole - count, whole) for whole, count in zip(array.shape, shape, strict=True))]


def values_of(array: np.ndarray, dtype: str) -> np.ndarray:
    """Return the values behind the bits of a layer, in float64."""
    return (widened(array) if dtype == BFLOAT16 else array).astype(np.float64)


def _magnitudes(values: np.ndarray, kept: set[int]) -> np.ndarray:
    sizes = np.abs(values)
    sizes = np.where(np.isfinite(sizes), sizes, 0.0)
    others = tuple(axis for axis in range(sizes.ndim) if axis not in kept)
    return sizes.max(axis=others, keepdims=True, initial=0.0)


def _is_float(dtype: str) -> bool:
    return dtype == BFLOAT16 or dtype.startswith("float")
