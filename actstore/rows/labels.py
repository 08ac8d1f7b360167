"""Labels as people have them: which rows have none, what only looks like a label, and which row each belongs to.

One rule at every door: a row has no label where it is masked, ``None``, NaN, NaT, ``pandas.NA`` or an empty text, and
where its label is one that the user asked to ignore. Nothing else is taken for "no label" unasked, but what looks like
it (-100, -1 beside 0 to K-1, "nan", "NA") is warned of, by its value and its count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from actstore.errors import SourceError
from actstore.rows.ids import index_of, is_pandas
from actstore.rows.ignored_labels import saw

if TYPE_CHECKING:
    from collections.abc import Sequence


ALONE = {"split": "", "group": ": give a row that stands alone a group of its own"}
"""What else a message says of a row that lacks its split or its group."""

LONGEST_LABEL = 4096
"""Characters. Labels are held, here and in a store, in as many characters as the longest of them has."""
LARGEST_LABELS_BYTES = 4 * 2**30

_EXACT = 2**53
"""Up to here a float holds every whole number."""


def plain_labels(values: object, what: str) -> np.ndarray:
    """Labels as a flat array of whole numbers, booleans or text; a masked one where a row has no label.

    Bytes become text, whole floats whole numbers (many files hold classes so).

    Args:
        values: of NumPy, pandas, or a list of Python's own; masked entries stay so.
        what: they are, for the message.

    Raises:
        SourceError: not one label per row, or labels that no class can be told by.
    """
    data = _as_array(values, what)
    if data.ndim != 1:
        hint = "" if data.ndim else ": put single examples into batches, with a DataLoader for example"
        msg = f"{what} has shape {data.shape}; expected one label per row, (rows,){hint}"
        raise SourceError(msg)
    data, missing = _of_one_kind(data, _mask_of(values, data.shape), what)
    check_size(len(data), data.dtype, what)
    data, missing = _as_classes(data, missing, what)
    if data.dtype.kind not in "iubU":
        msg = (
            f"{what} has dtype {data.dtype}; labels are whole numbers, booleans or text. Turn other values into "
            "classes, and mask the rows without a label (numpy.ma)"
        )
        raise SourceError(msg)
    if data.dtype.kind == "U":
        missing |= data == ""
    return np.ma.MaskedArray(data, mask=missing) if missing.any() or np.ma.isMaskedArray(values) else data


def check_size(rows: int, dtype: np.dtype, what: str) -> None:
    """Refuse labels that would take more memory than labels do, before it is taken.

    Args:
        rows: how many there are.
        dtype: of each; text counts as NumPy's, four bytes to a character.
        what: they are, for the message.

    Raises:
        SourceError: with the count.
    """
    item_bytes = dtype.itemsize
    if dtype.kind in "SU":
        characters = item_bytes if dtype.kind == "S" else item_bytes // 4
        check_length(characters, what)
        item_bytes = 4 * characters
    if rows * item_bytes > LARGEST_LABELS_BYTES:
        msg = (
            f"{what} would take {rows * item_bytes:,} bytes of memory, {rows:,} labels of {item_bytes:,}; "
            f"{LARGEST_LABELS_BYTES:,} at most. Write whole numbers for classes, or shorter text"
        )
        raise SourceError(msg)


def check_length(characters: int, what: str) -> None:
    """Refuse a label of so many characters. SourceError, with the count."""
    if characters > LONGEST_LABEL:
        msg = (
            f"{what} has labels of up to {characters:,} characters; {LONGEST_LABEL:,} at most, since every "
            "row takes as much. Is it the column of labels?"
        )
        raise SourceError(msg)


def names_of(values: object, what: str) -> list[str]:
    """(rows,) splits or groups as text, of which every row needs one; an empty text is none named, of splits.

    Raises:
        SourceError: a row that has none (None, NaN, masked), or values that are no names.
    """
    if index_of(values) is not None:
        msg = f"the {what}s are a pandas object whose index is not 0, 1, 2, ... in order; give .to_numpy() of them"
        raise SourceError(msg)
    data = _as_array(values, f"the {what}s")
    masked = _mask_of(values, data.shape)
    if data.ndim != 1:
        msg = f"the {what}s have shape {data.shape}; expected one {what} per row, (rows,)"
        raise SourceError(msg)
    for row, value in enumerate(data.tolist()):
        if masked[row] or _lacks_name(value, what):
            msg = f"row {row} has no {what} ({value!r}); every row needs one{ALONE[what]}"
            raise SourceError(msg)
    return [str(value) for value in data.tolist()]


def _lacks_name(value: object, what: str) -> bool:
    """Whether a row has no name; an empty text says that a row is of no split."""
    return is_missing(value) and not (what == "split" and isinstance(value, str))


def is_missing(value: object) -> bool:
    """Whether a Python value is no label: ``None``, NaN, NaT, ``pandas.NA``, masked or an empty text."""
    if value is None or value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return bool(np.isnat(value))
    if isinstance(value, (float, np.floating)):
        return bool(np.isnan(value))
    return isinstance(value, (str, bytes)) and not value


def _as_array(values: object, what: str) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return np.ma.getdata(values)
    if is_pandas(values):
        array = np.asarray(values)
        return array if array.dtype.kind != "U" else array.astype(object)
    if isinstance(values, (list, tuple)):
        found = np.empty(len(values), object)
        for row, value in enumerate(values):
            found[row] = value
        if all(is_missing(value) or _kind(value) for value in found):
            return found  # NumPy would write None and NaN, and numbers among texts, out as text
    try:
        return np.asarray(values)
    except ValueError as error:
        msg = f"{what} cannot be read as labels: {error}"
        raise SourceError(msg) from error


def _mask_of(values: object, shape: tuple[int, ...]) -> np.ndarray:
    return np.array(np.ma.getmaskarray(values)) if np.ma.isMaskedArray(values) else np.zeros(shape, bool)


def _of_one_kind(data: np.ndarray, missing: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Python's objects as an array of their kind, and which are missing; other arrays as they are."""
    if data.dtype.kind == "T" and hasattr(data.dtype, "na_object"):
        data = data.astype(object)
    if data.dtype.kind != "O":
        return data, missing
    missing = missing | np.array([is_missing(value) for value in data], bool)
    return _of_objects(data, missing, what), missing


def _as_classes(data: np.ndarray, missing: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Bytes as text, whole floats as whole numbers, and which are missing; what can be neither as it is."""
    if data.dtype.kind == "S":
        data = _decoded(data, what)
    if data.dtype.kind == "T":
        data = data.astype(np.str_)
    if data.dtype.kind == "f":
        missing = missing | np.isnan(data)
        data = _whole(data, missing)
    return data, missing


def _decoded(data: np.ndarray, what: str) -> np.ndarray:
    try:
        return np.char.decode(data, "utf-8")
    except UnicodeDecodeError as error:
        msg = f"{what} holds text that is not UTF-8 ({error.object[:20]!r}: {error.reason}); write it as UTF-8"
        raise SourceError(msg) from error


def _of_objects(data: np.ndarray, missing: np.ndarray, what: str) -> np.ndarray:
    """Python objects that are all of one kind, as an array of that kind."""
    said = data[~missing].tolist()
    kinds = {_kind(value) for value in said}
    if len(kinds) > 1 or None in kinds:
        named = ", ".join(sorted({type(value).__name__ for value in said}))
        msg = f"{what} holds {named}; labels are whole numbers, booleans or text, all of one kind"
        raise SourceError(msg)
    if not said:
        return np.full(len(data), "", np.str_)
    check_length(max((len(value) for value in said if isinstance(value, (str, bytes))), default=0), what)
    filled = data.copy()
    filled[missing] = said[0]
    return np.array(filled.tolist())


def _kind(value: object) -> str | None:
    if isinstance(value, (bool, np.bool_)):
        return "boolean"
    if isinstance(value, (int, float, np.integer, np.floating)):
        return "number"
    if isinstance(value, (str, bytes)):
        return type(value).__name__
    return None


def _whole(data: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Floats that are whole numbers as such; others as they are."""
    filled = np.where(missing, data.dtype.type(0), data).astype(np.result_type(data, np.float64))
    whole = (filled == np.floor(filled)) & (np.abs(filled) < _EXACT)
    return filled.astype(np.int64) if bool(whole.all()) else data


def as_several(values: object) -> tuple[object, ...]:
    """One value, or a list, tuple, set or array of several, as a tuple."""
    if values is None:
        return ()
    return tuple(values) if isinstance(values, (list, tuple, set, frozenset, np.ndarray)) else (values,)


def ignored(labels: np.ndarray, ignore: Sequence[object]) -> np.ndarray:
    """(rows,) bools: where a label is one of those to ignore; numbers and booleans match what is written like them."""
    data, found = np.ma.getdata(labels), np.zeros(len(labels), bool)
    said, seen = ~np.ma.getmaskarray(labels), []
    for value in ignore:
        same = _like(value, data.dtype.kind)
        if same is None:
            continue
        equal = (data == same) & said
        seen += [value] if equal.any() else []
        found |= equal
    if len(seen) < len(ignore):
        saw(seen, np.unique(data[said]))
    elif ignore:
        saw(seen, ())
    return found


def without(labels: np.ndarray, ignore: Sequence[object]) -> np.ndarray:
    """The labels, masked where they are one of those to ignore."""
    found = ignored(labels, ignore)
    if not found.any():
        return labels
    return np.ma.MaskedArray(np.ma.getdata(labels), mask=np.ma.getmaskarray(labels) | found)


def _like(value: object, kind: str) -> Any:
    """A value as a label of this kind of dtype; None where it can be none."""
    text = str(value).strip()
    if kind == "U":
        return str(value)
    if kind == "b":
        return {"true": True, "false": False}.get(text.lower())
    try:
        number = float(text)
    except ValueError:
        return None
    if not number.is_integer():
        return None
    return int(text) if text.lstrip("+-").isdigit() else int(number)
