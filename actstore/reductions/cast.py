"""Casts between floating-point types, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass

from actstore.store.format import BFLOAT16, FLOATS

_EXACT = {("float16", "float32"), (BFLOAT16, "float32")}


@dataclass(frozen=True)
class CastReport:
    """What a cast did to the values of a layer.

    Args:
        computed: the dtype that the values had before.
        stored: the dtype that they were cast to.
        largest_error: the largest change of a value that is finite before and after.
        overflows: finite values that became infinite.
        nan: values that are not a number; a cast makes none, and changes none.
    """

    computed: str
    stored: str
    largest_error: float = 0.0
    overflows: int = 0
    nan: int = 0

    def plus(self, largest_error: float, overflows: int, nan: int) -> CastReport:
        """The report with more values."""
        return CastReport(
            self.computed,
            self.stored,
            max(self.largest_error, largest_error),
            self.overflows + overflows,
            self.nan + nan,
        )


def accumulated(dtype: str) -> str:
    """The dtype in which sums of ``dtype`` are kept, and stay until they are stored."""
    return "float64" if dtype == "float64" else "float32"


def resting(dtype: str) -> str:
    """The dtype in which sums of ``dtype`` are stored where none was asked for: its own, or float32 for integers."""
    return dtype if dtype in FLOATS else "float32"


def is_exact(before: str, after: str) -> bool:
    """Whether every value of one floating-point dtype is a value of the other."""
    return before == after or after == "float64" or (before, after) in _EXACT
