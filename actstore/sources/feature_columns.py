"""Which columns of a table are features, and these as one array."""

from __future__ import annotations

import warnings
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

from actstore.errors import SourceError
from actstore.sources.columns import as_number
from actstore.wording import hint, listed

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from actstore.sources.columns import Table

LABEL_LIKE = {
    *("label", "labels", "target", "targets", "y", "class", "split", "fold", "group", "index", "unnamed: 0"),
}
"""Columns of numbers that are hardly features, unless somebody says so."""
_EXACT = 2**53
_FEWEST_ROWS = 8


class FeaturesWarning(UserWarning):
    """A table has columns that are no features."""


def chosen_features(
    table: Table, asked: str | None, no_features: Collection[str], counters: Collection[str] = ()
) -> list[str]:
    """Return the columns that are the features: those that were asked for, else all of numbers that may be.

    Args:
        table: whose columns they are.
        asked: a column, or several by commas and ``*``; None for nobody's choice.
        no_features: columns that are labels, splits or groups.
        counters: columns that only number the rows, in another file of the data; those of this one are found.

    Raises:
        SourceError: no such column, one that is a label, or columns of which nobody knows whether they are features.
    """
    if asked is not None:
        return _asked(table, asked, no_features)
    left = [name for name in table.columns if name not in {*table.no_features(), *no_features}]
    vectors = [name for name in left if table.is_vector(name)]
    if len(vectors) > 1:
        msg = f"{table.path} has several columns of vectors; say which, {table.path}:COLUMN: {listed(vectors)}"
        raise SourceError(msg)
    if vectors:
        return vectors
    numbers = [name for name in left if table.is_number(name)]
    odd = [name for name in numbers if name.strip().lower() in LABEL_LIKE]
    if odd and len(numbers) > 1:
        msg = (
            f"{table.path} has the column {odd[0]!r} among its numbers: a feature, or the label? Name the features, "
            f"{table.path}:A,B,C or with a star ({table.path}:f*), or the label, --target NAME={table.path}:{odd[0]}"
        )
        raise SourceError(msg)
    others = [name for name in left if name not in numbers]
    _check_numbers(table, others)
    if not numbers:
        msg = (
            f"{table.path} has no column of numbers that could be features; there are: {listed(table.columns)}"
        )
        raise SourceError(msg)
    if others:
        msg = f"{table.path}: the columns {listed(others)} are no numbers, and left out of the features"
        warnings.warn(msg, FeaturesWarning, stacklevel=3)
    return _without_counters(table, numbers, counters)


def _without_counters(table: Table, numbers: list[str], counters: Collection[str]) -> list[str]:
    """Leave out columns that only number the rows, with a warning; all stay where there are no others."""
    counting = [name for name in numbers if name in counters or counts_rows(table, name)]
    left = [name for name in numbers if name not in counting]
    if not counting or not left:
        return numbers
    msg = (
        f"{table.path}: {listed(counting)} {'only numbers' if len(counting) == 1 else 'only number'} the rows, and "
        f"{'is' if len(counting) == 1 else 'are'} left out of the features; to keep columns, name them: "
        f"{table.path}:A,B,C"
    )
    warnings.warn(msg, FeaturesWarning, stacklevel=4)
    return left


def counts_rows(table: Table, name: str) -> bool:
    """Whether a column of numbers holds each whole number of a range once, in any order, as row numbers do.

    Below ``_FEWEST_ROWS`` a feature may well look so, and no column counts rows.
    """
    if table.rows < _FEWEST_ROWS or table.is_vector(name) or not table.is_number(name):
        return False
    cells = table.column(name)
    if any(cell in (None, "") for cell in cells):
        return False
    values = np.sort(table.numbers(name))
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        return False
    return bool((np.diff(values) == 1).all() and values[0] == np.floor(values[0]))


def features_line(table: Table, names: Sequence[str]) -> str:
    """Return the line that says which columns of a table are the features."""
    return f"features of {table.path}: {len(names):,} column{'s' * (len(names) != 1)}, {listed(names)}"


def _asked(table: Table, asked: str, no_features: Collection[str]) -> list[str]:
    patterns = [asked] if asked in table.columns else asked.split(",")
    chosen: list[str] = []
    for pattern in patterns:
        found = [pattern] if pattern in table.columns else [n for n in table.columns if fnmatchcase(n, pattern)]
        if not found:
            msg = f"{table.path} has no column {pattern!r}; {hint(pattern, table.columns)}"
            raise SourceError(msg)
        chosen += [name for name in found if name not in chosen]
    both = [name for name in chosen if name in no_features]
    if both:
        msg = f"{table.path}:{both[0]} is a label or says a split, and the features {asked!r} have it, too; name others"
        raise SourceError(msg)
    return chosen


def _check_numbers(table: Table, names: Sequence[str]) -> None:
    """Refuse numbers of a table of text that a decimal comma makes look like text."""
    delimited = getattr(table, "delimited", None)
    if delimited is not None:
        for name in names:
            delimited.check_numbers(table.column(name), name)


def side_by_side(table: Table, names: Sequence[str]) -> np.ndarray:
    """(rows, columns) numbers of these columns, or (rows, ...) of the one whose cells are vectors.

    Raises:
        SourceError: a row that lacks a number, or numbers that no common type holds.
    """
    _check_header(table)
    columns = [table.numbers(name) for name in names]
    if len(columns) == 1 and columns[0].ndim > 1:
        return columns[0]
    for name, column in zip(names, columns, strict=True):
        if column.ndim > 1:
            msg = f"{table.path}: column {name!r} is of vectors; give it alone, {table.path}:{name}"
            raise SourceError(msg)
    dtype = np.result_type(*columns)
    if dtype.kind == "f":
        _check_exact(table, names, columns)
    return np.stack([column.astype(dtype, copy=False) for column in columns], axis=1)


def _check_exact(table: Table, names: Sequence[str], columns: Sequence[np.ndarray]) -> None:
    for name, column in zip(names, columns, strict=True):
        if (
            column.dtype.kind in "iu"
            and len(column)
            and max(abs(int(column.min())), int(column.max())) > _EXACT
        ):
            msg = f"{table.path}: column {name!r} has numbers beyond 2**53, which floats beside it cannot hold"
            raise SourceError(msg)


def _check_header(table: Table) -> None:
    """Refuse a table of text without a header, whose first record would be taken for one."""
    if getattr(table, "delimited", None) is None or not all(
        as_number(name) is not None for name in table.columns if name
    ):
        return
    named = [name for name in table.columns if name]
    if named != [str(number) for number in range(len(named))] or len(table.columns) < 2:
        msg = (
            f"{table.path} begins with numbers ({', '.join(table.columns[:4])}), not with the names of columns; write "
            "a line of names before them"
        )
        raise SourceError(msg)
