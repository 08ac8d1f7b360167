"""Labels in files for the rows of a store: by row id where the file has ids, else by position."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from actstore.errors import SourceError
from actstore.formats.containers.front import find
from actstore.formats.containers.kinds import COLUMNS
from actstore.formats.delimited import open_table
from actstore.rows.cells import labels_of
from actstore.sources import read_row_labels
from actstore.sources.row_names import RowLabels, check_no_names, id_column, place_labels_of
from actstore.wording import listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

TABLE_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")


@dataclass(frozen=True)
class FileLabels:
    """What a file says of the rows of a store.

    Args:
        name: what the file calls the target.
        values: (labels,) ints, bools or text, masked where there is none.
        ids: (labels,) the rows they are of; None where they are of all rows, in order.
        others: (labels,) the other columns of the table, by their names.
    """

    name: str
    values: np.ndarray
    ids: Sequence[str] | None
    others: Mapping[str, Sequence[object]] = field(default_factory=dict)


def read_file(spec: str, column: str | None = None, ignore: Sequence[object] = ()) -> FileLabels:
    """The labels in ``FILE.csv[:COLUMN]``, by row id, or in ``FILE.npy``, ``FILE.npz:KEY``, ..., by position.

    Also ``.tsv``, and either as ``.gz``; tables of other kinds (``.parquet``, ``.jsonl``) as ``FILE:COLUMN``.


    Args:
        spec: which file, and which array in it.
        column: of a table with several, which one has the labels.
        ignore: labels that mean "no label".

    Raises:
        SourceError: nothing of that name, or no labels.
    """
    if spec.lower().endswith(TABLE_SUFFIXES):
        return _read_table(Path(spec), column, ignore)
    table, _, named = spec.rpartition(":")
    if column is None and table.lower().endswith(TABLE_SUFFIXES):
        return _read_table(Path(table), named, ignore)  # by the ids here too, as with column
    if column is not None:
        if not _has_columns(spec):
            msg = f"{spec} has no columns; --column is for tables (.csv, .tsv, .parquet, .feather, .jsonl)"
            raise SourceError(msg)
        spec = f"{spec}:{column}"
    found = read_row_labels(spec, ignore)
    file, _, key = spec.rpartition(":")
    name = key.rpartition("/")[2] if Path(file).is_file() else Path(spec).stem
    return FileLabels(name, found.values, found.ids, found.others)


def _has_columns(spec: str) -> bool:
    found = find(spec)
    is_jsonl = spec.lower().endswith((".jsonl", ".jsonl.gz"))
    return is_jsonl or (found is not None and found.key is None and found.kind in COLUMNS)


def labels_for(spec: str, ids: Sequence[str], where: str, ignore: Sequence[object] = ()) -> np.ndarray:
    """(rows,) the labels that a SPEC, as of ``--target NAME=SPEC``, has for the rows of a store.

    Args:
        spec: which labels.
        ids: (rows,) of the store.
        where: what the store is called in messages.
        ignore: labels that mean "no label".

    Raises:
        SourceError: nothing of that name, or labels of other rows than these.
    """
    found = read_row_labels(spec, ignore)
    values = place(FileLabels("", found.values, found.ids, found.others), ids, spec)
    if len(values) != len(ids):
        msg = f"{spec} has {len(values):,} labels but {where} has {len(ids):,} rows; expected one per row, in order"
        raise SourceError(msg)
    return values


def place(labels: FileLabels, ids: Sequence[str], spec: str) -> np.ndarray:
    """Labels of a file for rows with these ids: joined where it has ids, as they are, by position, where it has none.

    Raises:
        SourceError: ids that are not those of the rows, nor 0, 1, 2, ... in order.
    """
    found = RowLabels(labels.values, labels.ids, others=labels.others)
    if labels.ids is not None:
        return place_labels_of(found, [ids], spec)
    check_no_names(found, [ids], spec)
    return labels.values


def _read_table(path: Path, column: str | None, ignore: Sequence[object]) -> FileLabels:
    """The column of ids is the one called so (``id_column``), else the first. A cell that is empty is no label."""
    with open_table(path) as table:
        id_place, place = _places(path, table.header, column)
        records = []
        for line, row in table.records:
            if "\0" in row[id_place] + row[place]:
                msg = f"{path}, line {line}: a NUL character in an id or a label; mend the line"
                raise SourceError(msg)
            records.append(row)
        columns = [list(cells) for cells in zip(*records, strict=True)] or [[] for _ in table.header]
        name, cells = table.header[place], columns[place]
        table.check_numbers(cells, name)
    others = {table.header[at]: columns[at] for at in range(len(columns)) if at not in (id_place, place)}
    return FileLabels(name, labels_of(cells, ignore, f"{path}:{name}"), columns[id_place], others)


def _places(path: Path, header: Sequence[str], column: str | None) -> tuple[int, int]:
    """Which columns have the ids and the labels."""
    named = id_column(header)
    id_place = 0 if named is None else header.index(named)
    others = [name for place, name in enumerate(header) if place != id_place]
    if not others:
        msg = f"{path} has the columns {listed(header)}; expected one of row ids and one of labels at least"
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
