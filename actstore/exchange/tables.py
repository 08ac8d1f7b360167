"""Tables as layers: a column of vectors each a layer, else the columns of numbers side by side as one."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from actstore.exchange.base import Facts
from actstore.formats.containers.base import FileArray
from actstore.formats.containers.kinds import COLUMNS
from actstore.sources.columns import read_columns, read_text
from actstore.sources.feature_columns import chosen_features, side_by_side

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actstore.formats.containers.front import Found
    from actstore.sources.columns import Table

TABLE_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")


def read_table(found: Found, split: str) -> tuple[dict[str, FileArray], Facts, Sequence[str]]:
    """The layers of a table, the ids of its rows where it has any, and the names of its other columns.

    Raises:
        SourceError: it cannot be read, or holds no numbers that could be a layer.
    """
    is_typed = found.kind in COLUMNS
    table: Table = read_columns(found) if is_typed else read_text(Path(found.shown), "csv")
    facts = Facts(ids=_ids(table, split))
    vectors = [name for name in table.columns if table.is_vector(name)]
    if found.key is None and vectors:
        layers = {name: _layer(found, name, table, [name]) for name in vectors}
        known = {*vectors, *table.no_features()}
        return layers, facts, [name for name in table.columns if name not in known]
    names = chosen_features(table, found.key, ())
    stem = PurePath(found.shown.removesuffix(".gz")).stem
    called = names[0] if len(names) == 1 and found.key is not None else stem
    return {called: _layer(found, called, table, names)}, facts, []


def _layer(found: Found, name: str, table: Table, columns: Sequence[str]) -> FileArray:
    return FileArray.of(side_by_side(table, columns), f"{found.shown}:{name}")


def _ids(table: Table, split: str) -> list[str] | None:
    """(rows,) what the rows are called; None where nobody says, or a count, or two that have one name."""
    ids = table.ids()
    if ids is None or len(set(ids)) < len(ids) or not all(ids) or ids == [str(row) for row in range(len(ids))]:
        return None
    return [f"{split}/{name}" if split else name for name in ids]
