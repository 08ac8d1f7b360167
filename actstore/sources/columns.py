"""Tables with named columns, of whatever file: text, numbers, labels, and what the rows are called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from actstore.errors import SourceError
from actstore.formats.containers.arrow import index_columns, read_arrow
from actstore.formats.containers.front import shown_as
from actstore.formats.containers.kinds import COLUMNS
from actstore.formats.containers.unpacked import unpacked
from actstore.formats.delimited import open_table
from actstore.sources.row_names import id_column, texts_of
from actstore.wording import hint

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from actstore.formats.containers.arrow import ArrowTable
    from actstore.formats.containers.front import Found
    from actstore.formats.delimited import Delimited


class Table(Protocol):
    """The records of a file, by column; None where a record lacks one."""

    path: Path

    @property
    def columns(self) -> Sequence[str]:
        """The names, in their order."""

    @property
    def rows(self) -> int:
        """How many records there are."""

    def column(self, name: str) -> list[Any]:
        """(rows,) Python's values. SourceError where there is no such column."""

    def ids(self) -> list[str] | None:
        """(rows,) the column that names the records; None where there is none."""

    def no_features(self) -> Collection[str]:
        """The columns that only name the records."""

    def is_vector(self, name: str) -> bool:
        """Whether each cell of a column is a list of numbers."""

    def is_number(self, name: str) -> bool:
        """Whether all cells of a column that say something are numbers."""

    def numbers(self, name: str) -> np.ndarray:
        """(rows, ...) a column of numbers, or of lists of them. SourceError where a row has none."""

    def place(self, row: int) -> str:
        """Where a row is, for a message."""


class TextTable:
    """A table of text, held in memory: ``.csv`` and ``.tsv``, whose cells are text, or ``.jsonl``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: dict[str, list[Any]] = {}
        self.lines: list[int] = []
        self.delimited: Delimited | None = None

    @property
    def columns(self) -> Sequence[str]:
        """The names, in their order."""
        return [*self._columns]

    @property
    def rows(self) -> int:
        """How many records there are."""
        return len(self.lines)

    def add(self, record: Mapping[str, object], line: int) -> None:
        """Another record, which ends in this line."""
        for name in [name for name in record if name not in self._columns]:
            self._columns[name] = [None] * len(self.lines)
        for name, values in self._columns.items():
            values.append(record.get(name))
        self.lines.append(line)

    def column(self, name: str) -> list[Any]:
        """A column by its name."""
        if name not in self._columns:
            msg = f"{self.path} has no column {name!r}; {hint(name, self.columns)}"
            raise SourceError(msg)
        return self._columns[name]

    def ids(self) -> list[str] | None:
        """(records,) the column that names the records; None where there is no such."""
        name = id_column(self.columns)
        return None if name is None else texts_of(self._columns[name])

    def no_features(self) -> Collection[str]:
        """The columns that only name the records."""
        name = id_column(self.columns)
        return [] if name is None else [name]

    def is_vector(self, name: str) -> bool:
        """Whether each cell is a list of numbers, in JSON."""
        return all(isinstance(cell, list) for cell in self._columns[name])

    def is_number(self, name: str) -> bool:
        """Whether all cells that say something are numbers."""
        said = [cell for cell in self._columns[name] if cell not in (None, "")]
        return bool(said) and all(as_number(cell) is not None for cell in said)

    def numbers(self, name: str) -> np.ndarray:
        """(rows,) float64, or (rows, numbers) of lists."""
        if self.delimited is not None:
            self.delimited.check_numbers(self.column(name), name)
        if self.is_vector(name):
            return self._vectors(name)
        values = [as_number(cell) for cell in self.column(name)]
        for row, value in enumerate(values):
            if value is None:
                cell = self._columns[name][row]
                told = "nothing" if cell in (None, "") else repr(cell)[:40]
                msg = f"{self.place(row)}: column {name!r} has {told}; features are numbers, one for every row"
                raise SourceError(msg)
        return np.array(values, np.float64)

    def _vectors(self, name: str) -> np.ndarray:
        cells = self._columns[name]
        for row, cell in enumerate(cells):
            if len(cell) != len(cells[0]) or not all(type(part) in (int, float) for part in cell):
                expected = f"{len(cells[0])} numbers, as in the first"
                msg = f"{self.place(row)}: column {name!r} has a list of others; expected {expected}"
                raise SourceError(msg)
        return np.array(cells, np.float64)

    def place(self, row: int) -> str:
        """Where a row is, for a message."""
        return f"{self.path}, line {self.lines[row]}"


class ColumnTable:
    """A table whose columns have types: Parquet, Feather."""

    def __init__(self, path: Path, table: ArrowTable) -> None:
        self.path = path
        self._table = table
        self._index = index_columns(table)

    @property
    def columns(self) -> Sequence[str]:
        """The names, in their order."""
        return self._table.columns

    @property
    def rows(self) -> int:
        """How many records there are."""
        return self._table.rows

    def column(self, name: str) -> list[Any]:
        """(rows,) Python's values."""
        self._check(name)
        return self._table.cells(name)

    def ids(self) -> list[str] | None:
        """(rows,) the column that names the records, or the index of a pandas frame; None where there is no such."""
        name = self._id_column()
        if name is None or not (self._table.is_text(name) or self._table.is_number(name)):
            return None
        return texts_of(self._table.cells(name))

    def _id_column(self) -> str | None:
        return id_column(self.columns) or (self._index[0] if len(self._index) == 1 else None)

    def no_features(self) -> Collection[str]:
        """The columns that only name the records."""
        name = self._id_column()
        return {*self._index, *([] if name is None else [name])}

    def is_vector(self, name: str) -> bool:
        """Whether each cell is a list of numbers."""
        return self._table.is_vector(name)

    def is_number(self, name: str) -> bool:
        """Whether each cell is a number."""
        return self._table.is_number(name)

    def is_text(self, name: str) -> bool:
        """Whether each cell is text."""
        return self._table.is_text(name)

    def numbers(self, name: str) -> np.ndarray:
        """(rows, ...) numbers of the column's own type."""
        self._check(name)
        return self._table.numbers(name)

    def place(self, row: int) -> str:
        """Where a row is, for a message."""
        return f"{self.path}, row {row}"

    def _check(self, name: str) -> None:
        if name not in self.columns:
            msg = f"{self.path} has no column {name!r}; {hint(name, self.columns)}"
            raise SourceError(msg)


def read_columns(found: Found) -> ColumnTable:
    """The table of a file of ``kinds.COLUMNS``."""
    assert found.kind in COLUMNS
    with shown_as(found.path, found.shown):
        return ColumnTable(Path(found.shown), read_arrow(found.path, found.kind, found.shown))


def read_text(path: Path, kind: str) -> TextTable:
    """The table of a ``.csv``, ``.tsv`` or ``.jsonl``, which gzip may have packed.

    Raises:
        SourceError: no such file, no table, or one without records.
    """
    table = TextTable(path)
    if kind == "jsonl":
        try:
            with unpacked(path).open(encoding="utf-8-sig", newline="\n") as file:
                _read_jsonl(file, table)
        except (OSError, UnicodeDecodeError) as error:
            msg = f"{path} cannot be read as a .jsonl (UTF-8): {getattr(error, 'strerror', None) or error}"
            raise SourceError(msg) from error
    else:
        with open_table(path) as found:
            _read_csv(found, table)
    if not table.lines:
        what = "a JSON object per line" if kind == "jsonl" else "a header and records"
        msg = f"{path} has no rows; {what} expected"
        raise SourceError(msg)
    return table


def _read_csv(found: Delimited, table: TextTable) -> None:
    twice = [name for place, name in enumerate(found.header) if name in found.header[:place]]
    if twice:
        msg = f"{table.path} has more than one column {twice[0]!r}; give each a name of its own"
        raise SourceError(msg)
    for line, cells in found.records:
        table.add(dict(zip(found.header, cells, strict=True)), line)
    table.delimited = found


def _read_jsonl(file: Iterator[str], table: TextTable) -> None:
    for number, line in enumerate(file, start=1):
        if line.isspace():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            msg = f"{table.path}, line {number}: no JSON ({error}); expected an object per line"
            raise SourceError(msg) from error
        if not isinstance(record, dict):
            msg = f"{table.path}, line {number}: {described(record)}; expected a JSON object"
            raise SourceError(msg)
        table.add(record, number)


def described(value: object) -> str:
    """A cell for a message."""
    if value is None:
        return "nothing"
    return f"{json.dumps(value):.40} ({kind_of_cell(value) or type(value).__name__})"


def kind_of_cell(value: object) -> str | None:
    """Return what a cell with a type of its own is; None where it can be no label."""
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    return "text" if isinstance(value, str) else None


def as_number(cell: object) -> float | None:
    """A cell as a number; None where it is none: true and false are none, nor is 1_000."""
    if isinstance(cell, bool) or cell is None:
        return None
    if isinstance(cell, (int, float)):
        return float(cell)
    if not isinstance(cell, str) or "_" in cell:
        return None
    try:
        return float(cell)
    except ValueError:
        return None
