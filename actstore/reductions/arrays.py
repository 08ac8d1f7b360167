"""The operations of a reduction in NumPy; bfloat16, which NumPy lacks, is widened to float32 where values count."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from actstore.activations import Captured
from actstore.arrays import native_copy, storable_bits
from actstore.reductions.cast import accumulated
from actstore.store.documents.bfloat16 import narrowed, widened
from actstore.store.format import BFLOAT16

if TYPE_CHECKING:
    from collections.abc import Callable

    from actstore.reductions.columns import Projection


class Bits(NamedTuple):
    """An array as ``arrays.to_bits`` gives it: bfloat16 as its bits, in uint16."""

    array: np.ndarray
    dtype: str


class ArrayOperations:
    """``apply.Operations`` on the CPU. Keeps the matrices of projections, each drawn once."""

    def __init__(self, copy: Callable[[np.ndarray], np.ndarray] = native_copy) -> None:
        """Copy what a model may write into again by ``copy``."""
        self._copy = copy
        self._matrices: dict[str, np.ndarray] = {}

    def given(self, value: object) -> Bits:
        """Its bits, which may share memory with ``value``."""
        return Bits(*storable_bits(value))

    def captured(self, value: Bits, given: Bits, axes: tuple[str, ...]) -> Captured:
        """A copy only where the model could write into it again."""
        array = value.array
        if np.may_share_memory(array, given.array) or not array.flags.c_contiguous or not array.dtype.isnative:
            array = self._copy(array)
        return Captured(array, value.dtype, axes)

    def shape(self, value: Bits) -> tuple[int, ...]:
        """Rows and features."""
        return value.array.shape

    def dtype(self, value: Bits) -> str:
        """The layer's own."""
        return value.dtype

    def mean(self, value: Bits, axes: tuple[int, ...], real: np.ndarray | None) -> Bits:
        """Summed in float64, since NumPy adds one by one along all axes but the last."""
        dtype = accumulated(value.dtype)
        with np.errstate(invalid="ignore", over="ignore"):
            found = np.mean(_values(value), axis=axes, dtype=np.float64, where=True if real is None else real)
            return Bits(found.astype(dtype), dtype)

    def largest(self, value: Bits, axes: tuple[int, ...], real: np.ndarray | None) -> Bits:
        """Exact, in the dtype of the layer."""
        values = _values(value)
        with np.errstate(invalid="ignore"):
            if real is None:
                found = values.max(axis=axes)
            else:
                found = values.max(axis=axes, where=real, initial=_lowest(values.dtype))
        return Bits(narrowed(found) if value.dtype == BFLOAT16 else found, value.dtype)

    def at(self, value: Bits, axis: int, index: np.ndarray | int) -> Bits:
        """A view, or a copy of just these entries."""
        along = np.moveaxis(value.array, axis, 1)
        found = along[:, index] if isinstance(index, int) else along[np.arange(len(along)), index]
        return Bits(found, value.dtype)

    def spread(self, value: Bits, axis: int, rows: np.ndarray, index: np.ndarray) -> Bits:
        """A copy of just these entries."""
        return Bits(np.moveaxis(value.array, axis, 1)[rows, index], value.dtype)

    def joined(self, value: Bits, counts: np.ndarray, kind: str) -> Bits:
        """Means are summed in float64, as by ``mean``."""
        values, starts = _values(value), np.cumsum(counts) - counts
        if kind == "max":
            found = np.maximum.reduceat(values, starts, axis=0) if len(starts) else values
            return Bits(narrowed(found) if value.dtype == BFLOAT16 else found, value.dtype)
        dtype = accumulated(value.dtype)
        with np.errstate(invalid="ignore", over="ignore"):
            sums = np.add.reduceat(values, starts, axis=0, dtype=np.float64) if len(starts) else values
            return Bits((sums / _along_rows(counts, sums)).astype(dtype), dtype)

    def columns(self, value: Bits, layer: str, indices: np.ndarray) -> Bits:
        """A copy of just these features."""
        return Bits(_flat(value.array)[:, indices], value.dtype)

    def project(self, value: Bits, projection: Projection) -> Bits:
        """In float32, or float64 for that."""
        dtype = accumulated(value.dtype)
        if projection.layer not in self._matrices:
            self._matrices[projection.layer] = projection.matrix().astype(dtype, copy=False)
        values = _flat(_values(value)).astype(dtype, copy=False)
        with np.errstate(all="ignore"):  # BLAS raises flags now and then without any reason
            return Bits(values @ self._matrices[projection.layer], dtype)

    def cast(self, value: Bits, dtype: str) -> Bits:
        """Of float64 to bfloat16 through float32, as torch does."""
        if value.dtype == dtype:
            return value
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            if dtype == BFLOAT16:
                return Bits(narrowed(_values(value).astype(np.float32)), dtype)
            return Bits(_values(value).astype(dtype), dtype)

    def cost(self, before: Bits, after: Bits) -> tuple[float, int, int]:
        """Compared in the wider of the two dtypes."""
        old, new = _values(before), _values(after)
        with np.errstate(invalid="ignore", over="ignore"):
            errors = np.abs(new.astype(np.promote_types(old.dtype, new.dtype)) - old)
        largest = errors.max(where=np.isfinite(errors), initial=0)
        overflows = np.isinf(new) & np.isfinite(old)
        return float(largest), int(overflows.sum()), int(np.isnan(new).sum())


def _values(value: Bits) -> np.ndarray:
    return widened(value.array) if value.dtype == BFLOAT16 else value.array


def _along_rows(counts: np.ndarray, array: np.ndarray) -> np.ndarray:
    return counts.reshape(-1, *(1 for _ in array.shape[1:]))


def _flat(array: np.ndarray) -> np.ndarray:
    return array.reshape(len(array), prod(array.shape[1:]))


def _lowest(dtype: np.dtype) -> bool | int | float:
    if dtype.kind == "b":
        return False
    return -np.inf if dtype.kind == "f" else int(np.iinfo(dtype).min)
