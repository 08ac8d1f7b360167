"""Columns, or directions, drawn at random, and what was fitted on them at full width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvers.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["at_full_width", "draw_columns", "draw_matrix"]


def draw_matrix(width: int, count: int | None, seed: int | Sequence[int]) -> NDArray[np.float64] | None:
    """Return a matrix (width, count) of normal numbers of variance 1/count; None where that is all columns or more.

    Raises:
        ProblemError: a count below 1.
    """
    if count is None or not _fewer(width, count, "random_projection"):
        return None
    return np.random.default_rng(seed).normal(scale=count**-0.5, size=(width, count))


def draw_columns(width: int, count: int | None, seed: int | Sequence[int]) -> NDArray[np.int64] | None:
    """Numbers of ``count`` columns drawn without replacement, ascending; None where that is all of them.

    Raises:
        ProblemError: a count below 1.
    """
    if count is None or not _fewer(width, count, "feature_subset"):
        return None
    return np.sort(np.random.default_rng(seed).choice(width, count, replace=False))


def _fewer(width: int, count: int, setting: str) -> bool:
    """Whether ``count`` columns are fewer than all; a ProblemError where they are none."""
    if count < 1:
        msg = f"{setting} is {count}; expected at least 1 of the {width:,} columns"
        raise ProblemError(msg)
    return count < width


def at_full_width(
    values: NDArray[np.float64], columns: NDArray[np.int64] | None, width: int, elsewhere: float
) -> NDArray[np.float64]:
    """Return values per column that is looked at (columns, ...) as values per feature (width, ...); None for all."""
    if columns is None:
        return values
    full = np.full((width, *values.shape[1:]), elsewhere)
    full[columns] = values
    return full
