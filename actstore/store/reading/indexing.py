"""What ``layer[...]`` may be asked for, turned into rows."""

from __future__ import annotations

from typing import Any

import numpy as np


def as_rows(index: Any, rows: int) -> int | range | np.ndarray:
    """An index of the first axis, of length ``rows``, in its plain form, counted from 0.

    ``(rows, ...)``, as scikit-learn asks for rows, is what ``rows`` is.

    Raises:
        IndexError, as NumPy does, for what is out of range or no index of rows.
    """
    if isinstance(index, tuple) and len(index) == 2 and index[1] is Ellipsis and index[0] is not Ellipsis:
        index = index[0]
    if index is Ellipsis:
        return range(rows)
    if isinstance(index, slice):
        return range(*index.indices(rows))
    if isinstance(index, tuple):
        msg = (
            f"rows are indexed by one index, not {len(index)}; index what comes back: layer[rows][:, features]"
        )
        raise IndexError(msg)
    asked = np.asarray(index)
    if asked.dtype == bool and asked.shape == (rows,):
        return np.flatnonzero(asked)
    if asked.ndim == 0 and asked.dtype.kind in "iu":
        return int(_counted(asked, rows))
    if asked.ndim == 1 and (asked.dtype.kind in "iu" or not asked.size):
        return _counted(asked, rows)
    msg = f"rows are indexed by an int, a slice, ({rows},) bools or a list of ints, not by {asked.dtype} {asked.shape}"
    raise IndexError(msg)


def _counted(index: np.ndarray, rows: int) -> np.ndarray:
    outside = (index < -rows) | (index >= rows)
    if outside.any():
        msg = f"row {index[outside][0]} is out of range: there are {rows:,} rows"
        raise IndexError(msg)
    whole = index.astype(np.int64)
    return np.where(whole < 0, whole + rows, whole)
