"""Labels out of a table whose cells are text: whole numbers where all that say something are, however written."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

import numpy as np

from actstore.rows.ignored_labels import saw
from actstore.rows.labels import check_size, without

if TYPE_CHECKING:
    from collections.abc import Sequence


class WrittenAsFloatsWarning(UserWarning):
    """Labels that are whole numbers are written as floats."""


_WHOLE = re.compile(r"(?:0|-?[1-9][0-9]{0,19})(?:\.0+)?|-0\.0+")
"""What ``str`` gives of an int of 64 bits, or of a whole float: 007 and +1 are text, or two labels would become one."""
_INT_DTYPES = (np.int64, np.uint64)


def labels_of(cells: Sequence[str], ignore: Sequence[object] = (), what: str = "") -> np.ma.MaskedArray:
    """(cells,) ints where all cells that say something are whole numbers, else text; masked where a cell says nothing.

    Those that are empty, or written like a label to ``ignore``, say nothing. Whole numbers may be written as floats
    (``1.0``), as pandas writes a column of ints that has gaps: they are the same classes as ``1``, and that is said.

    Args:
        cells: text, of one column.
        ignore: labels that mean "no label".
        what: the column is called in messages.
    """
    longest = max(map(len, cells), default=0)
    check_size(len(cells), np.dtype((np.str_, longest)), "the column of labels")
    none = {"", *map(str, ignore)}
    if ignore:
        known = set(cells)
        saw([value for value in ignore if str(value) in known], sorted(known - none))
    missing = np.array([cell in none for cell in cells], bool)
    said = [cell for cell in cells if cell not in none]
    if said and all(_WHOLE.fullmatch(cell) for cell in said):
        numbers = [int(cell.partition(".")[0]) for cell in said]
        for dtype in _INT_DTYPES:
            limits = np.iinfo(dtype)
            if limits.min <= min(numbers) and max(numbers) <= limits.max:
                _tell_of_floats(said, what)
                values = np.zeros(len(cells), dtype)
                values[~missing] = numbers
                return np.ma.MaskedArray(without(np.ma.MaskedArray(values, mask=missing), ignore))
    _warn_of_twins(said, what)
    return np.ma.MaskedArray(np.array(cells, np.str_), mask=missing)


def _tell_of_floats(said: Sequence[str], what: str) -> None:
    example = next((cell for cell in said if "." in cell), None)
    if example is not None:
        msg = (
            f"{what or 'a column of labels'} has whole numbers written as floats ({example}), as pandas does where a "
            f"column has gaps; they are taken as whole numbers ({example.partition('.')[0]})"
        )
        warnings.warn(msg, WrittenAsFloatsWarning, stacklevel=4)


def _warn_of_twins(said: Sequence[str], what: str) -> None:
    """Warn of two classes of text that are one number: ``1`` and ``1.0`` beside others that are none."""
    classes = set(said)
    twins = [
        cell for cell in classes if "." in cell and _WHOLE.fullmatch(cell) and cell.partition(".")[0] in classes
    ]
    if twins:
        msg = (
            f"{what or 'a column of labels'} has the classes {twins[0].partition('.')[0]!r} and {twins[0]!r}, which "
            "are one number; the column is text since it holds other labels, too. Write them alike"
        )
        warnings.warn(msg, WrittenAsFloatsWarning, stacklevel=4)
