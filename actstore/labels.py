"""Labels in files: an array by position, or a table (``.csv``) by row id."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from actstore.errors import SourceError
from actstore.sources import read_labels
from actstore.wording import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

TABLE_SUFFIX = ".csv"
ID = "id"
_INT = re.compile(
    r"0|-?[1-9][0-9]*"
)  # what str() gives of an int: 007 and +1 are text, or two labels would become one
_INT_DTYPES = (np.int64, np.uint64)


@dataclass(frozen=True)
class FileLabels:
    """What a file says of the rows of a store.

    Args:
        name: what the file calls the target.
        values: (labels,) ints, bools or text, masked where there is none.
        ids: (labels,) the rows they are of; None where they are of all rows, in order.
    """

    name: str
    values: np.ndarray
    ids: Sequence[str] | None


def read_file(spec: str, column: str | None = None) -> FileLabels:
    """The labels in ``FILE.csv[:COLUMN]``, by row id, or in ``FILE.npy``, ``FILE.npz:KEY``, ..., by position.

    Args:
        spec: which file, and which array in it.
        column: of a table with several, which one has the labels.

    Raises:
        SourceError: nothing of that name, or no labels.
    """
    if Path(spec).suffix.lower() == TABLE_SUFFIX:
        return _read_table(Path(spec), column)
    table, _, named = spec.rpartition(":")
    if column is None and Path(table).suffix.lower() == TABLE_SUFFIX:
        return _read_table(Path(table), named)  # by the ids here too, as with column
    if column is not None:
        msg = f"{spec} has no columns; --column is for tables ({TABLE_SUFFIX})"
        raise SourceError(msg)
    values = read_labels(spec)
    file, _, key = spec.rpartition(":")
    name = key.rpartition("/")[2] if Path(file).is_file() else Path(spec).stem
    return FileLabels(name, values, None)


def _read_table(path: Path, column: str | None) -> FileLabels:
    """The column of ids is the one called "id", else the first. A cell that is empty is no label."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.reader(file, strict=True)
            header = next(table, [])
            id_place, place = _places(path, header, column)
            ids, cells = [], []
            for row in table:
                if not row:
                    continue  # an empty line
                if len(row) != len(header) or "\0" in row[id_place] + row[place]:
                    what = f"{len(row)} cells" if len(row) != len(header) else "a NUL character"
                    msg = f"{path}, line {table.line_num}: {what} came for {len(header)} columns of text; mend the line"
                    raise SourceError(msg)
                ids.append(row[id_place])
                cells.append(row[place])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        msg = f"{path} can not be read as a table (comma-separated, UTF-8): {reason}"
        raise SourceError(msg) from error
    return FileLabels(header[place], labels_of(cells), ids)


def _places(path: Path, header: Sequence[str], column: str | None) -> tuple[int, int]:
    """Which columns have the ids and the labels."""
    id_place = header.index(ID) if ID in header else 0
    others = [name for place, name in enumerate(header) if place != id_place]
    if not others:
        msg = (
            f"{path} has the columns {listed(header)}; one of row ids and one of labels at least were expected"
        )
        raise SourceError(msg)
    if column is None and len(others) > 1:
        msg = f"{path} has several columns besides the row ids; say which has the labels (--column): {listed(others)}"
        raise SourceError(msg)
    name = others[0] if column is None else column
    if others.count(name) != 1:
        what = "no column" if name not in others else "more than one column"
        msg = f"{path} has {what} {name!r} besides the row ids; there are {listed(others)}"
        raise SourceError(msg)
    place = next(place for place, other in enumerate(header) if other == name and place != id_place)
    return id_place, place


def labels_of(cells: Sequence[str]) -> np.ma.MaskedArray:
    """(cells,) ints where all cells that say something are ints, else text; masked where a cell is empty."""
    missing = np.array([not cell for cell in cells], bool)
    said = [cell for cell in cells if cell]
    if said and all(_INT.fullmatch(cell) for cell in said):
        numbers = [int(cell) for cell in cells if cell]
        for dtype in _INT_DTYPES:
            limits = np.iinfo(dtype)
            if limits.min <= min(numbers) and max(numbers) <= limits.max:
                values = np.zeros(len(cells), dtype)
                values[~missing] = numbers
                return np.ma.MaskedArray(values, mask=missing)
    return np.ma.MaskedArray(np.array(cells, np.str_), mask=missing)
