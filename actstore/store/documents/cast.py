"""Casts between the float dtypes of a store, on the bits that are stored, with an account of what they lose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from actstore.errors import StoreError
from actstore.store.documents.bfloat16 import narrowed, widened
from actstore.store.format import BFLOAT16, FLOATS, numpy_dtype

if TYPE_CHECKING:
    from actstore.store.format import JSON


class Cast:
    """Casts blocks of one layer, rounding to the nearest value, ties to even, and keeps account."""

    def __init__(self, before: str, after: str) -> None:
        """From one of ``FLOATS`` to another. StoreError where ``after`` is none."""
        check_float(after)
        self.before, self.after = before, after
        self.largest_error = 0.0
        """The largest distance between a finite value and what became of it, where that is finite too."""
        self.overflows = 0
        """How many finite values became infinities."""
        self.nan = 0
        """How many values were NaN, and still are."""
        self.nonfinite_rows = 0
        """How many rows have a NaN or an infinity now."""

    def __call__(self, stored: np.ndarray) -> np.ndarray:
        """(rows, *features) cast; bfloat16 comes and goes as its bits, in uint16."""
        values = widened(stored) if self.before == BFLOAT16 else stored
        bits = narrowed(values) if self.after == BFLOAT16 else _narrowed(values, self.after)
        if bits.size:
            self._count(values, widened(bits) if self.after == BFLOAT16 else bits)
        return bits

    def _count(self, values: np.ndarray, cast: np.ndarray) -> None:
        finite, kept = np.isfinite(values), np.isfinite(cast)
        self.overflows += int(np.count_nonzero(finite & ~kept))
        self.nan += int(np.count_nonzero(np.isnan(values)))
        self.nonfinite_rows += int(np.count_nonzero(~kept.reshape(len(kept), -1).all(axis=1)))
        errors = np.zeros(values.shape)
        with np.errstate(invalid="ignore"):  # signalling NaNs, though they are left out
            np.subtract(values, cast, dtype=np.float64, where=kept, out=errors)
        self.largest_error = max(self.largest_error, float(np.abs(errors, out=errors).max()))

    def document(self) -> dict[str, JSON]:
        """The account as JSON."""
        return {
            "from": self.before,
            "largest_error": self.largest_error,
            "overflows": self.overflows,
            "nan": self.nan,
        }


def check_float(dtype: str) -> None:
    """StoreError unless floats can be cast to ``dtype``."""
    if dtype not in FLOATS:
        msg = (
            f"dtype is {dtype!r}; expected one of {', '.join(FLOATS)} (layers of integers are kept as they are)"
        )
        raise StoreError(msg)


def _narrowed(values: np.ndarray, dtype: str) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):  # overflows are counted; signalling NaNs turn quiet
        return values.astype(numpy_dtype(dtype))
