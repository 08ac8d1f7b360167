"""Tables of text (.csv): encoding, delimiter and quotes are found in the file, or it is refused; never guessed past.

A comma, a tab, a semicolon or a bar separates cells: the one by which the header has several cells and every line as
many. Text is UTF-8, or UTF-16 or UTF-32 where the file begins by saying so.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actstore.errors import SourceError
from actstore.formats.containers.unpacked import unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_MARKS = (  # UTF-32's begins as UTF-16's does
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LONGEST_CELL = 2**31 - 1
"""The csv module's own limit, 131,072 characters, is shorter than a book."""
_SAMPLE_CHARACTERS = 2**20
_DECIMAL_COMMA = re.compile(r"[-+]?[0-9]*,[0-9]+")


@dataclass(frozen=True)
class Delimited:
    """An open table.

    Args:
        path: of the file, for messages.
        header: the names of the columns; empty where there is no line.
        records: (line that it ends in, cells), as many cells as the header has.
        delimiter: what separates cells.
    """

    path: Path
    header: Sequence[str]
    records: Iterator[tuple[int, list[str]]]
    delimiter: str

    def check_numbers(self, cells: Sequence[str], column: str) -> None:
        """Refuse a column of numbers that are written with a decimal comma, which would be text.

        Raises:
            SourceError: by the name of the column.
        """
        said = [cell for cell in cells if cell]
        if self.delimiter != "," and said and all(_DECIMAL_COMMA.fullmatch(cell) for cell in said):
            example = f"{said[0]}); write {said[0].replace(',', '.')}"
            msg = f"{self.path}: column {column!r} has numbers with a decimal comma ({example}"
            raise SourceError(msg)


@contextmanager
def open_table(path: Path) -> Iterator[Delimited]:
    """Open a table.

    Raises:
        SourceError: no such file, no text, no table, or one whose delimiter nobody can tell; while records are read, a
            line of other cells than the header's.
    """
    before = csv.field_size_limit(_LONGEST_CELL)
    readable = unpacked(path)
    try:
        with readable.open(encoding=_encoding(readable), newline="") as file:
            delimiter = _delimiter(path, file.read(_SAMPLE_CHARACTERS))
            file.seek(0)
            lines = csv.reader(file, strict=True, delimiter=delimiter)
            header = next(lines, [])
            yield Delimited(path, header, _records(path, lines, header), delimiter)
    except UnicodeError as error:
        msg = f"{path} cannot be read as a table ({_encoding(readable)}): {error}; save it as UTF-8"
        raise SourceError(msg) from error
    except (OSError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        msg = f"{path} cannot be read as a table (.csv): {reason}"
        raise SourceError(msg) from error
    finally:
        csv.field_size_limit(before)


def _records(path: Path, lines: csv._reader, header: Sequence[str]) -> Iterator[tuple[int, list[str]]]:  # type: ignore[name-defined]
    for cells in lines:
        if not cells:
            continue  # an empty line
        if len(cells) != len(header):
            msg = f"{path}, line {lines.line_num}: {len(cells)} cells for {len(header)} columns; mend the line"
            raise SourceError(msg)
        yield lines.line_num, cells


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        beginning = file.read(4)
    return next((name for mark, name in _MARKS if beginning.startswith(mark)), "utf-8-sig")


def _delimiter(path: Path, sample: str) -> str:
    """The only delimiter that fits the beginning of a file; a comma where there is but one column."""
    header = sample.partition("\n")[0]
    if "\0" in header:
        msg = f"{path} cannot be read as text: it has NUL characters, as UTF-16 without its mark has; save it as UTF-8"
        raise SourceError(msg)
    fitting = [delimiter for delimiter in DELIMITERS if _fits(sample, delimiter)]
    if len(fitting) > 1:
        names = " and by ".join(DELIMITERS[delimiter] for delimiter in fitting)
        msg = (
            f"{path} could be separated by {names}; put cells that have the one or the other inside into quotes"
        )
        raise SourceError(msg)
    if not fitting:
        _check_one_column(path, header)
    return fitting[0] if fitting else ","


def _check_one_column(path: Path, header: str) -> None:
    """SourceError where a header of no commas has another delimiter, by which the lines have other cells than it."""
    bare = _unquoted(header)
    there = [name for delimiter, name in DELIMITERS.items() if delimiter in bare]
    if there and "," not in bare:
        msg = (
            f"{path} has {' and '.join(there)} in its header, but its lines have not as many cells as that: what "
            "separates them? Write it with commas, and quotes around cells that have some"
        )
        raise SourceError(msg)


def _fits(sample: str, delimiter: str) -> bool:
    """Whether the header has several cells by it, and every line as many."""
    is_part = len(sample) == _SAMPLE_CHARACTERS
    try:
        lines = [
            cells
            for cells in csv.reader(io.StringIO(sample, newline=""), strict=not is_part, delimiter=delimiter)
            if cells
        ]
    except csv.Error:
        return False
    whole = lines[:-1] if is_part else lines  # the sample may end in a line
    return bool(lines) and len(lines[0]) > 1 and all(len(cells) == len(lines[0]) for cells in whole)


def _unquoted(header: str) -> str:
    return re.sub(r'"[^"]*"', "", header)
