"""Labels of any type: which rows have none, and where the others stand among a probe's classes.

A row has no label where a masked array masks it, and where it holds NaN, NaT, None, pandas' NA or an empty text: alike
at every door.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError
from solvers.given import by_position, on_the_host

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from solvers.arrays import Array

__all__ = ["UNSEEN", "encode", "marks_of_none", "place_labels", "plain_labels", "read_labels"]

UNSEEN = -1
"""The code of a label that is none of the probe's classes, and of a row without one."""
_PLAIN = "biufUS"
_MARK_TEXTS = {
    "nan",
    "na",
    "n/a",
    "#n/a",
    "<na>",
    "nat",
    "none",
    "null",
    "nil",
    "missing",
    "unlabeled",
    "unlabelled",
}
_MARK_TEXTS |= {"?", "-", "-1", "-9", "-99", "-100", "-999", "-9999"}
_MARK_NUMBERS = {-1, -9, -99, -100, -999, -9999}
_MARK_PEAKS = {255, 999, 9999, 65535, 2**31 - 1, 2**63 - 1}
_KINDS = {"U": "text", "S": "bytes", "M": "dates", "m": "durations"}


def read_labels(labels: ArrayLike) -> tuple[Array, NDArray[np.bool_]]:
    """Return labels as an array of the narrowest plain type that holds them, and which rows have none.

    Whole numbers of 64 bits stay exact, in lists as well. Objects that are no plain type stay objects.
    """
    labels = by_position(on_the_host(labels, "labels"))
    masked = np.ma.getmaskarray(labels) if isinstance(labels, np.ma.MaskedArray) else None
    values = np.ma.getdata(labels) if masked is not None else _as_array(labels)
    missing = np.zeros(values.shape, dtype=bool) if masked is None else masked.copy()
    if values.dtype.kind in "fcMm":
        missing |= np.isnan(values)
    elif values.dtype.kind in "US":
        missing |= values == values.dtype.type()
    elif values.dtype.kind in "OT":
        values = values.astype(object)
        missing |= np.array([_is_nothing(value) for value in values.ravel()], dtype=bool).reshape(values.shape)
        values = _plain_objects(values, missing)
    return values, missing


def plain_labels(labels: ArrayLike, target: str) -> tuple[Array, NDArray[np.bool_]]:
    """Return labels as a plain array of ints, floats, bools or strings (rows,), and which rows have none.

    Raises:
        ProblemError: when they are something else; ``target`` is what they are called there.
    """
    values, missing = read_labels(labels)
    if values.ndim != 1 or values.dtype.kind not in _PLAIN:
        msg = (
            f"the labels of target {target!r} have the shape {values.shape} and the type {values.dtype}; give "
            "one int, string or bool per row, in a masked array where rows have no label"
        )
        raise ProblemError(msg)
    return values, missing


def encode(labels: ArrayLike, rows: int) -> tuple[NDArray[np.int64], Array]:
    """Return labels of any type as codes (rows,) of sorted classes, ``UNSEEN`` where a row has none.

    Raises:
        ProblemError: not one label per row, or labels that cannot be sorted.
    """
    values, missing = read_labels(labels)
    if values.ndim != 1 or len(values) != rows:
        msg = f"labels have shape {values.shape} for {rows:,} rows of activations; expected one label per row"
        raise ProblemError(msg)
    codes = np.full(rows, UNSEEN, dtype=np.int64)
    try:
        classes, codes[~missing] = np.unique(values[~missing], return_inverse=True)
    except TypeError as error:
        msg = f"labels cannot be sorted ({error}); give labels of one type"
        raise ProblemError(msg) from error
    return codes, classes


def place_labels(labels: Array, classes: Array) -> NDArray[np.int64]:
    """Return the index of each label in the ascending ``classes``, ``UNSEEN`` where it is none of them.

    Raises:
        ProblemError: when the one are numbers and the others text.
    """
    labels, _ = read_labels(labels)
    if not len(labels):
        return np.empty(0, dtype=np.int64)
    if _kind(labels) != _kind(classes):
        msg = (
            f"the labels are {_kind(labels)} ({labels.dtype}) but the probe's classes are {_kind(classes)} "
            f"({classes.dtype}), so none could match; give labels of the kind that it was fitted on"
        )
        raise ProblemError(msg)
    if np.result_type(labels, classes).kind in "fO" and not labels.dtype.kind == classes.dtype.kind == "f":
        # As floats, whole numbers of 64 bits would run together; as Python's numbers they compare exactly.
        place = {value: index for index, value in enumerate(classes.tolist())}
        return np.array([place.get(value, UNSEEN) for value in labels.tolist()], dtype=np.int64)
    index = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    return np.where(classes[index] == labels, index, UNSEEN)


def _kind(values: Array) -> str:
    return _KINDS.get(values.dtype.kind, "numbers")


def _as_array(labels: ArrayLike) -> Array:
    values = np.asarray(labels)
    if not isinstance(labels, list | tuple):
        return values
    if values.dtype.kind == "U" and not all(isinstance(label, str) for label in labels):
        return np.array(labels, dtype=object)  # NumPy writes NaN and numbers among texts out as text
    if values.dtype == np.float64 and _all_whole(labels):
        return np.array(labels, dtype=object)  # NumPy takes whole numbers on both sides of 2⁶³ for floats
    return values


def _all_whole(values: Sequence[object]) -> bool:
    return all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in values)


def _is_nothing(value: object) -> bool:
    if value is None or type(value).__name__ == "NAType" or (isinstance(value, str) and not value):
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        return False


def _plain_objects(values: Array, missing: NDArray[np.bool_]) -> Array:
    """Objects as an array of their common plain type where they have one, some value of it where there is no label."""
    known = values[~missing].tolist()
    if not known:
        return np.zeros(values.shape)
    if all(isinstance(value, str) for value in known):
        filled, dtype = "", np.dtype(str)
    elif all(isinstance(value, bool | np.bool_) for value in known):
        filled, dtype = False, np.dtype(bool)  # type: ignore[assignment]
    elif _all_whole(known):
        filled, dtype = known[0], _whole_type(min(known), max(known))
    elif all(isinstance(value, float | np.floating) or _all_whole([value]) for value in known):
        filled, dtype = np.nan, np.dtype(np.float64)  # type: ignore[assignment]
    else:
        return values
    plain = np.where(missing, filled, values)
    return plain.astype(dtype)


def _whole_type(least: int, most: int) -> np.dtype[Any]:
    if least >= -(2**63) and most < 2**63:
        return np.dtype(np.int64)
    return np.dtype(np.uint64) if least >= 0 and most < 2**64 else np.dtype(object)


def marks_of_none(labels: Array) -> dict[Any, int]:
    """Return the classes that look like marks for "no label" beside the others, each with its count.

    Texts such as "NA" and "nan"; where no other label is negative, -1 (but not beside 1 alone), -100 and the like;
    255 and the like beside 0 to K - 1.
    """
    if labels.dtype.kind not in "iufUS" or not len(labels):
        return {}
    values, counts = np.unique(labels, return_counts=True)
    count_of = dict(zip(values.tolist(), counts.tolist(), strict=True))
    found = _marks_in_text([*count_of]) if labels.dtype.kind in "US" else _marks_in_numbers([*count_of])
    return {value: count_of[value] for value in found}


def _marks_in_text(classes: Sequence[str | bytes]) -> list[str | bytes]:
    texts = {value: value.decode("latin-1") if isinstance(value, bytes) else value for value in classes}
    return [value for value, said in texts.items() if said.strip().lower() in _MARK_TEXTS]


def _marks_in_numbers(classes: Sequence[float]) -> list[float]:
    negative, others = [v for v in classes if v < 0], [v for v in classes if v >= 0]
    signs = (negative, others) == ([-1], [1])  # two classes that many people write so
    marks = negative if others and set(negative) <= _MARK_NUMBERS and not signs else []
    return [*marks, *_marks_above(others)]


def _marks_above(classes: Sequence[float]) -> list[float]:
    """The largest numbers of types, and rows of nines, far above classes that count up from 0 or 1."""
    usual = [v for v in classes if v not in _MARK_PEAKS]
    counting = usual and usual[0] in (0, 1) and usual[-1] - usual[0] < 2 * len(usual)
    if not counting:
        return []
    return [v for v in classes if v in _MARK_PEAKS and v > usual[-1] + len(usual)]
