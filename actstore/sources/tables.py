"""Tables with named columns: ``FILE.csv[:COLUMN]``, ``FILE.jsonl[:COLUMN]``, a row per record.

As data, a column of text: the one that is named, else the one called ``text``, else the only one that holds text. As
labels, any column by its name, in the order of the records. A ``.csv`` has a header (see ``delimited``); its
labels are whole numbers where all cells that say something are. A ``.jsonl`` is a JSON object per line; its labels are
what they are in JSON: whole numbers, true and false, or text. An empty cell, ``""``, ``null`` or a missing key is no
label.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actstore.errors import SourceError
from actstore.formats.delimited import Delimited, open_table
from actstore.formats.opening import existing
from actstore.rows.labels import is_missing
from actstore.sources.base import Batch, LabelColumn, Source
from actstore.sources.row_names import column_of, id_column, texts_of
from actstore.wording import hint, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    import numpy as np

FORMS = "FILE.csv[:COLUMN], FILE.jsonl[:COLUMN]"
TEXT = "text"

_SPEC = re.compile(r"(?P<file>.*\.(?P<kind>csv|jsonl))(?::(?P<column>.*))?", re.DOTALL)


class TextSource:
    """The texts of one column of a table, which is held in memory."""

    def __init__(self, table: _Table, name: str, spec: str) -> None:
        self.spec = spec
        self.input_column = name
        texts = table.column(name)
        self.rows = len(texts)
        self.file = table.path
        self.columns = [*table.columns]
        self.row_ids = table.ids()
        self._table, self._texts = table, texts
        self._told: dict[str, np.ma.MaskedArray] = {}

    def column(self, name: str) -> np.ma.MaskedArray | None:
        """(rows,) text: a column of the table, masked where it says nothing; None where there is no such."""
        if name not in self._table.columns:
            return None
        if name not in self._told:
            self._told[name] = column_of(self._table.column(name))
        return self._told[name]

    @contextmanager
    def slicing(self) -> Iterator[Callable[[np.ndarray], Batch]]:
        """Takes texts, as a list."""
        yield lambda places: Batch([self._texts[place] for place in places], len(places))

    def opened(self) -> AbstractContextManager[Any]:
        """Texts are no array."""
        msg = f"{self.spec} holds text; expected an array of numbers"
        raise SourceError(msg)


class _Table:
    """The records of a file, by column; None where a record lacks one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: dict[str, list[Any]] = {}
        self.lines: list[int] = []
        self.delimited: Delimited | None = None

    def add(self, record: Mapping[str, object], line: int) -> None:
        """Another record, which ends in this line."""
        for name in [name for name in record if name not in self.columns]:
            self.columns[name] = [None] * len(self.lines)
        for name, values in self.columns.items():
            values.append(record.get(name))
        self.lines.append(line)

    def column(self, name: str) -> list[Any]:
        """A column by its name."""
        if name not in self.columns:
            msg = f"{self.path} has no column {name!r}; {hint(name, [*self.columns])}"
            raise SourceError(msg)
        return self.columns[name]

    def ids(self) -> list[str] | None:
        """(records,) the column that names the records; None where there is no such."""
        name = id_column([*self.columns])
        return None if name is None else texts_of(self.columns[name])

    def place(self, row: int) -> str:
        """Where a row is, for a message."""
        return f"{self.path}, line {self.lines[row]}"


def resolve(spec: str, split: str) -> Sequence[tuple[str, Source]] | None:
    """The one source of a table's column of text."""
    found = _SPEC.fullmatch(spec)
    if found is None:
        return None
    table = _read(Path(found["file"]), found["kind"])
    name = found["column"] or _text_column(table)
    texts = table.column(name)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            msg = f"{table.place(row)}: column {name!r} has {_described(text)}; the inputs are texts"
            raise SourceError(msg)
    return [(split, TextSource(table, name, spec))]


def labels(spec: str) -> LabelColumn | None:
    """The column of a table's SPEC."""
    found = _SPEC.fullmatch(spec)
    if found is None:
        return None
    table = _read(Path(found["file"]), found["kind"])
    if not found["column"]:
        form = f"{found['file']}:COLUMN"
        msg = f"{spec} does not say which column has the labels: {form}; there are: {listed([*table.columns])}"
        raise SourceError(msg)
    values = table.column(found["column"])
    for row, value in enumerate(values):
        if isinstance(value, str) and "\0" in value:
            msg = f"{table.place(row)}: a NUL character in a label; mend the line"
            raise SourceError(msg)
    cells = values if found["kind"] == "csv" else None
    if table.delimited is not None:
        table.delimited.check_numbers(values, found["column"])
    if cells is None:
        _check_kinds(table, found["column"])
    ids = None if found["column"] == id_column([*table.columns]) else table.ids()
    others = {name: cells for name, cells in table.columns.items() if name != found["column"]}
    return LabelColumn(values, ids, cells, table.path, others)


def _check_kinds(table: _Table, name: str) -> None:
    """Refuse, by its line, a label of another kind than the others of a column of JSON."""
    values = table.columns[name]
    said = [row for row, value in enumerate(values) if not is_missing(value)]
    if not said:
        return
    kind = _kind(values[said[0]])
    for row in said:
        if _kind(values[row]) is not kind or kind is None:
            expected = "a number, a boolean or text" if kind is None else f"as in the other lines, {kind}"
            msg = f"{table.place(row)}: column {name!r} has {_described(values[row])}; expected {expected}"
            raise SourceError(msg)


def _kind(value: object) -> str | None:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    return "text" if isinstance(value, str) else None


def _described(value: object) -> str:
    if value is None:
        return "nothing"
    return f"{json.dumps(value):.40} ({_kind(value) or type(value).__name__})"


def _text_column(table: _Table) -> str:
    """Which column the inputs are in, where nobody says."""
    if TEXT in table.columns:
        return TEXT
    of_text = [name for name, values in table.columns.items() if any(_is_words(value) for value in values)]
    if len(of_text) != 1:
        what = "several columns of text" if of_text else "no column of text"
        form = f"say which is the input, {table.path}:COLUMN" if of_text else "the inputs are texts"
        msg = f"{table.path} has {what}; {form}; there are: {listed(of_text or [*table.columns])}"
        raise SourceError(msg)
    return of_text[0]


def _is_words(value: object) -> bool:
    """Whether a cell holds text that is no number."""
    if not isinstance(value, str) or not value:
        return False
    try:
        float(value)
    except ValueError:
        return True
    return False


def _read(path: Path, kind: str) -> _Table:
    table = _Table(path)
    if kind == "csv":
        with open_table(path) as found:
            _read_csv(found, table)
    else:
        try:
            with existing(path).open(encoding="utf-8-sig", newline="\n") as file:
                _read_jsonl(file, table)
        except (OSError, UnicodeDecodeError) as error:
            msg = f"{path} cannot be read as a .jsonl (UTF-8): {getattr(error, 'strerror', None) or error}"
            raise SourceError(msg) from error
    if not table.lines:
        msg = f"{path} has no rows; {'a header and records' if kind == 'csv' else 'a JSON object per line'} expected"
        raise SourceError(msg)
    return table


def _read_csv(found: Delimited, table: _Table) -> None:
    twice = [name for place, name in enumerate(found.header) if name in found.header[:place]]
    if twice:
        msg = f"{table.path} has more than one column {twice[0]!r}; give each a name of its own"
        raise SourceError(msg)
    for line, cells in found.records:
        table.add(dict(zip(found.header, cells, strict=True)), line)
    table.delimited = found


def _read_jsonl(file: Iterator[str], table: _Table) -> None:
    for number, line in enumerate(file, start=1):
        if line.isspace():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            msg = f"{table.path}, line {number}: no JSON ({error}); expected an object per line"
            raise SourceError(msg) from error
        if not isinstance(record, dict):
            msg = f"{table.path}, line {number}: {_described(record)}; expected a JSON object"
            raise SourceError(msg)
        table.add(record, number)
