"""How far two runs of the same rows are apart, column by column, so that a huge column hides nothing of the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
"""Of the largest magnitude of a layer: sums that cancel keep the rounding of their terms. Only where a batch of another
size was run: in one of the same size, the same sums are made of the same terms."""
_KEPT = ("channel", "feature")
_APART = 0.1
_MOST = 0.5
_FEW = 4
_TINY = float(np.finfo(np.float32).tiny)

Parts: TypeAlias = "Sequence[np.ndarray]"
"""A layer, example by example: (*features) each, in the bits of the layer."""


@dataclass(frozen=True)
class Difference:
    """How far apart some rows are.

    Args:
        largest: the largest difference, in the column where it exceeds most what is rounding there; infinite where
            shapes differ, or one has NaN or an infinity where the other has none.
        allowed: what is rounding in that column.
        part: of which example it is.
        counts: how many values differ by a tenth or more, of how many that are not zero.
        throughout: whether that is most values of an example of more than a few.
    """

    largest: float
    allowed: float
    part: int = 0
    counts: tuple[int, int] = (0, 0)
    throughout: bool = False

    @property
    def excess(self) -> float:
        """How many times what is allowed the largest difference is."""
        return self.largest / max(self.allowed, _TINY)

    @property
    def is_rounding(self) -> bool:
        """Whether no column exceeds what is rounding there."""
        return self.largest <= self.allowed

    @property
    def is_gross(self) -> bool:
        """Whether not even a layer that magnifies its rounding would differ so: in most values, by a tenth or more."""
        gross, filled = self.counts
        return not np.isfinite(self.largest) or self.throughout or gross > _MOST * filled


@dataclass(frozen=True)
class Columns:
    """The magnitudes of the columns of a layer, to which differences are compared.

    A column is a channel or a feature; where axes have no such names, an entry of the first and of the last axis.

    Args:
        dtype: of the layer.
        magnitudes: the largest of each column, in a shape that broadcasts over the features.
        tolerance: what is rounding, relative to a magnitude; 0 units for whole numbers.
        floor: what is rounding in every column, relative to the largest magnitude of all.
    """

    dtype: str
    magnitudes: np.ndarray
    tolerance: float
    floor: float = 0.0

    @classmethod
    def of(cls, layer: Captured, parts: Parts, tolerance: float) -> Columns:
        """Take the magnitudes from some rows of a layer."""
        last = len(layer.axes) - 1
        named = {axis for axis, name in enumerate(layer.axes) if name in _KEPT}
        # Rows of other lengths each have the last axis alone in common, or not even that.
        for kept in (named or {0, last}, {last}):
            found = [_magnitudes(values_of(part, layer.dtype), kept) for part in parts]
            if len({each.shape for each in found}) == 1:
                return cls(layer.dtype, np.max(found, axis=0), tolerance)
        largest = max((float(each.max(initial=0.0)) for each in found), default=0.0)
        return cls(layer.dtype, np.asarray(largest), tolerance)

    @property
    def allowed(self) -> np.ndarray:
        """Return what is rounding in each column."""
        if not _is_float(self.dtype):
            return np.zeros_like(self.magnitudes)
        floor = self.floor * self.magnitudes.max(initial=0.0)
        return np.maximum(self.tolerance * self.magnitudes, floor)

    def compare(self, one: Parts, other: Parts) -> Difference | None:
        """Return how far apart the rows are; None where they are the same bits."""
        if len(one) != len(other):
            return Difference(float("inf"), 0.0)
        found = [self._difference(*pair) for pair in zip(one, other, strict=True)]
        different = [replace(each, part=part) for part, each in enumerate(found) if each is not None]
        if not different:
            return None
        same = sum(part.size for part, each in zip(one, found, strict=True) if each is None)
        return _worst_of(different, same)

    def _difference(self, one: np.ndarray, other: np.ndarray) -> Difference | None:
        if one.shape != other.shape:
            nearest = min(self._aligned(one, other), key=lambda each: each.largest)
            return nearest if nearest.largest else None
        if one.tobytes() == other.tobytes():
            return None
        first, second = values_of(one, self.dtype), values_of(other, self.dtype)
        same = (first == second) | (np.isnan(first) & np.isnan(second))
        if same.all():
            return None
        with np.errstate(invalid="ignore"):  # infinity minus infinity
            apart = np.abs(first - second)
        apart = np.where(same, 0.0, np.where(np.isfinite(apart), apart, np.inf))
        allowed = self._allowed_over(apart.shape)
        with np.errstate(over="ignore"):  # where nothing is allowed
            excess = np.where(apart > 0, apart / np.maximum(allowed, _TINY), 0.0)
        at = np.unravel_index(int(excess.argmax()), apart.shape)
        sizes = np.maximum(np.abs(first), np.abs(second))
        gross, filled = int((apart > _APART * sizes).sum()), int((sizes > 0).sum())
        throughout = filled >= _FEW and gross > _MOST * filled
        return Difference(float(apart[at]), float(allowed[at]), counts=(gross, filled), throughout=throughout)

    def _allowed_over(self, shape: tuple[int, ...]) -> np.ndarray:
        try:
            return np.broadcast_to(self.allowed, shape)
        except ValueError:  # an example of another length than those that the magnitudes are of
            return np.full(shape, self.allowed.max(initial=0.0))

    def _aligned(self, one: np.ndarray, other: np.ndarray) -> list[Difference]:
        """The rows where both have positions, padded on the right or on the left."""
        far = [Difference(float("inf"), 0.0)]
        if one.ndim != other.ndim:
            return far
        shorter = tuple(map(min, one.shape, other.shape))
        found = [self._difference(_first(one, shorter), _first(other, shorter))]
        found.append(self._difference(_last(one, shorter), _last(other, shorter)))
        return far + [each or Difference(0.0, 0.0) for each in found]


def _worst_of(different: Sequence[Difference], same: int) -> Difference:
    """The difference of the example that differs most, with the counts of all and of ``same`` values that are equal."""
    worst = max(different, key=lambda each: each.excess)
    gross, filled = (sum(counts) for counts in zip(*(each.counts for each in different), strict=True))
    return replace(worst, counts=(gross, filled + same), throughout=any(each.throughout for each in different))


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
