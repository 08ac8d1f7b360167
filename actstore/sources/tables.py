"""Tables with named columns: ``FILE.csv[:COLUMN]``, ``.tsv``, ``.jsonl``, ``.parquet``, ``.feather``; a row per record.

As data, a column of text: the one that is named, else the one called ``text``, else the only one that holds text; and
where no column holds text, numbers: a column of vectors, or the columns of numbers side by side. As features of
`probe fit`, the numbers. As labels, any column by its name, in the order of the records. A ``.csv`` has a header (see
``delimited``); its labels are whole numbers where all cells that say something are. Other tables say themselves what
they hold. An empty cell, ``""``, ``null`` or a missing key is no label.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from actstore.errors import SourceError
from actstore.formats.containers.front import find
from actstore.formats.containers.kinds import COLUMNS, TABLE_FORMS
from actstore.formats.containers.kinds import TEXT as OF_TEXT
from actstore.rows.labels import is_missing
from actstore.sources.arrays import ArraySource
from actstore.sources.base import Batch, LabelColumn, Source
from actstore.sources.columns import (
    ColumnTable,
    TextTable,
    described,
    kind_of_cell,
    read_columns,
    read_text,
)
from actstore.sources.feature_columns import chosen_features, counts_rows, features_line, side_by_side
from actstore.sources.row_names import column_of, id_column
from actstore.wording import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    import numpy as np

FORMS = f"{TABLE_FORMS}, FILE.jsonl[:COLUMN], each file also as .gz"
TEXT = "text"

_SPEC = re.compile(
    r"(?P<file>.*\.(?P<kind>csv|tsv|jsonl)(?:\.gz)?)(?::(?P<column>.*))?", re.DOTALL | re.IGNORECASE
)

AnyTable: TypeAlias = TextTable | ColumnTable


class _Told:
    """What a table says of its rows besides what the model gets: the columns, and what the rows are called."""

    def __init__(self, table: AnyTable) -> None:
        self.file = table.path
        self.columns = [*table.columns]
        self.row_ids = table.ids()
        self._table = table
        self._told: dict[str, np.ma.MaskedArray] = {}

    def column(self, name: str) -> np.ma.MaskedArray | None:
        """(rows,) text: a column of the table, masked where it says nothing; None where there is no such."""
        if name not in self.columns:
            return None
        if name not in self._told:
            self._told[name] = column_of(self._table.column(name))
        return self._told[name]


class TextSource(_Told):
    """The texts of one column of a table, which is held in memory."""

    def __init__(self, table: AnyTable, name: str, spec: str) -> None:
        super().__init__(table)
        self.spec = spec
        self.input_column = name
        self._texts = table.column(name)
        self.rows = len(self._texts)

    @contextmanager
    def slicing(self) -> Iterator[Callable[[np.ndarray], Batch]]:
        """Takes texts, as a list."""
        yield lambda places: Batch([self._texts[place] for place in places], len(places))

    def opened(self) -> AbstractContextManager[Any]:
        """Texts are no array."""
        msg = f"{self.spec} holds text; expected an array of numbers"
        raise SourceError(msg)


class FeatureSource(_Told):
    """Columns of numbers side by side, or a column of vectors, in memory once the first row is asked for."""

    def __init__(self, table: AnyTable, asked: str | None, spec: str) -> None:
        super().__init__(table)
        self.spec = spec
        self.rows = table.rows
        self._asked = asked
        self._no_features: set[str] = set()
        self._counters: set[str] = set()
        self._names: list[str] = []
        self._array: np.ndarray | None = None

    def exclude(self, names: Sequence[str]) -> None:
        """Leave columns out that are labels, splits or groups."""
        self._no_features |= {*names} & {*self.columns}

    def counters(self) -> list[str]:
        """Return the columns that only number the rows; none where somebody named the features."""
        return (
            [] if self._asked is not None else [each for each in self.columns if counts_rows(self._table, each)]
        )

    def leave_out(self, counters: Sequence[str]) -> None:
        """Leave columns out that only number the rows of this or of another file of the data."""
        self._counters |= {*counters}

    @property
    def features_line(self) -> str:
        """Return the line that says which columns are the features. SourceError as for ``check``."""
        self._features()
        return features_line(self._table, self._names)

    def check(self) -> None:
        """Refuse what is no array of features, before anything runs. SourceError."""
        self._features()

    def _features(self) -> ArraySource:
        if self._array is None:
            self._names = chosen_features(self._table, self._asked, self._no_features, self._counters)
            self._array = side_by_side(self._table, self._names)
        return ArraySource(self._array, self.spec)

    @contextmanager
    def slicing(self) -> Iterator[Callable[[np.ndarray], Batch]]:
        """Reads rows of the features."""
        with self._features().slicing() as take:
            yield take

    def opened(self) -> AbstractContextManager[Any]:
        """The features as one array."""
        return self._features().opened()


def resolve(spec: str, split: str) -> Sequence[tuple[str, Source]] | None:
    """The one source of a table's column of text, or of its numbers where it has none."""
    found = _opened(spec)
    if found is None:
        return None
    table, name = found
    if name is None:
        name = _text_column(table)
    if name is not None and name in table.columns and (isinstance(table, TextTable) or table.is_text(name)):
        _check_texts(table, name)
        return [(split, TextSource(table, name, spec))]
    return [(split, FeatureSource(table, name, spec))]


def features(spec: str, split: str) -> Sequence[tuple[str, Source]] | None:
    """The one source of a table's numbers."""
    found = _opened(spec)
    return None if found is None else [(split, FeatureSource(*found, spec))]


def labels(spec: str) -> LabelColumn | None:
    """The column of a table's SPEC."""
    found = _opened(spec)
    if found is None:
        return None
    table, name = found
    if name is None:
        form = f"{table.path}:COLUMN"
        msg = f"{spec} does not say which column has the labels: {form}; there are: {listed(table.columns)}"
        raise SourceError(msg)
    values = table.column(name)
    for row, value in enumerate(values):
        if isinstance(value, str) and "\0" in value:
            msg = f"{table.place(row)}: a NUL character in a label; mend the line"
            raise SourceError(msg)
    delimited = table.delimited if isinstance(table, TextTable) else None
    if delimited is not None:
        delimited.check_numbers(values, name)
    else:
        _check_kinds(table, name)
    is_id = name == id_column(table.columns)
    others = {
        other: table.column(other) for other in table.columns if other != name and _may_name(table, other)
    }
    return LabelColumn(
        values, None if is_id else table.ids(), values if delimited else None, table.path, others
    )


def _may_name(table: AnyTable, name: str) -> bool:
    """Whether a column may hold the names of the rows."""
    return isinstance(table, TextTable) or table.is_text(name)


def _opened(spec: str) -> tuple[AnyTable, str | None] | None:
    """The table that a SPEC names, and the column that it names; None where it names no table."""
    found = find(spec)
    if found is not None and found.kind in COLUMNS:
        return read_columns(found), found.key or None
    if found is not None and found.kind != OF_TEXT:
        return None
    name, key = (spec, None) if found is None else (found.shown, found.key)
    told = _SPEC.fullmatch(name)
    if told is None:
        return None
    table = read_text(Path(told["file"]), told["kind"].lower())
    return table, key or told["column"] or None


def _check_texts(table: AnyTable, name: str) -> None:
    for row, text in enumerate(table.column(name)):
        if not isinstance(text, str):
            msg = f"{table.place(row)}: column {name!r} has {described(text)}; the inputs are texts"
            raise SourceError(msg)


def _check_kinds(table: AnyTable, name: str) -> None:
    """Refuse, by its line, a label of another kind than the others of a column whose cells have types."""
    values = table.column(name)
    said = [row for row, value in enumerate(values) if not is_missing(value)]
    if not said:
        return
    kind = kind_of_cell(values[said[0]])
    for row in said:
        if kind_of_cell(values[row]) is not kind or kind is None:
            expected = "a number, a boolean or text" if kind is None else f"as in the other lines, {kind}"
            msg = f"{table.place(row)}: column {name!r} has {described(values[row])}; expected {expected}"
            raise SourceError(msg)


def _text_column(table: AnyTable) -> str | None:
    """Which column the inputs are in, where nobody says; None where no column holds text."""
    if TEXT in table.columns:
        return TEXT
    of_text = [name for name in table.columns if _holds_words(table, name)]
    if len(of_text) > 1:
        msg = (
            f"{table.path} has several columns of text; say which is the input, {table.path}:COLUMN; there are: "
            f"{listed(of_text)}"
        )
        raise SourceError(msg)
    return of_text[0] if of_text else None


def _holds_words(table: AnyTable, name: str) -> bool:
    if isinstance(table, ColumnTable):
        return table.is_text(name) and name not in table.no_features()
    return any(_is_words(value) for value in table.column(name))


def _is_words(value: object) -> bool:
    """Whether a cell holds text that is no number."""
    if not isinstance(value, str) or not value:
        return False
    try:
        float(value)
    except ValueError:
        return True
    return False
