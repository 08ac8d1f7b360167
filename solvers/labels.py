"""Labels of any type, and their places among a probe's classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["UNSEEN", "place_labels", "plain_labels"]

UNSEEN = -1
"""The code of a label that is none of the probe's classes."""


def plain_labels(labels: ArrayLike, target: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The labels as a plain array of ints, floats, bools or strings (rows,), and which rows have none.

    Raises:
        ProblemError: when they are something else, or NaN; ``target`` is what they are called there.
    """
    labels = np.ma.asarray(labels)
    values, missing = labels.data, np.ma.getmaskarray(labels)
    if values.dtype == object and all(isinstance(value, str) for value in values[~missing].ravel()):
        values = np.where(missing, "", values).astype(str)
    if values.ndim != 1 or values.dtype.kind not in "biufUS":
        msg = (
            f"the labels of target {target!r} have the shape {values.shape} and the type {values.dtype}; give "
            "one int, string or bool per row, in a masked array where rows have no label"
        )
        raise ProblemError(msg)
    unknown = int(np.isnan(values[~missing]).sum()) if values.dtype.kind == "f" else 0
    if unknown:
        msg = f"{unknown:,} labels of target {target!r} are NaN; mask them with numpy.ma.masked_invalid"
        raise ProblemError(msg)
    return values, missing


def place_labels(labels: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int64]:
    """The index of each label in the ascending ``classes``, ``UNSEEN`` where it is none of them.

    Raises:
        ProblemError: when the one are numbers and the others text.
    """
    if _kind(labels) != _kind(classes):
        msg = (
            f"the labels are {_kind(labels)} ({labels.dtype}) but the probe's classes are {_kind(classes)} "
            f"({classes.dtype}), so none could match; give labels of the kind that it was fitted on"
        )
        raise ProblemError(msg)
    if {labels.dtype.kind, classes.dtype.kind} == {"i", "u"}:  # NumPy would compare them as float64
        labels, classes = labels.astype(object), classes.astype(object)
    index = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    return np.where(classes[index] == labels, index, UNSEEN)


def _kind(values: NDArray[Any]) -> str:
    return {"U": "text", "S": "bytes"}.get(values.dtype.kind, "numbers")
