"""`actstore rows`: the row table of a store as a table to join labels to."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import click

from cli.result import Result, command, wants_json
from cli.shared import notice, overwrite_option

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import numpy as np

    from actstore.store.reading.reader import Store

CHUNK_ROWS = 10_000
STDOUT = "-"
BEGINNING = b"id,split"  # of every table that this command writes


@command()
@click.argument("store")
@click.option(
    "-o",
    "--output",
    default=STDOUT,
    metavar="ROWS.csv",
    help="Where to write; the standard output by default (-).",
)
@overwrite_option
def rows(store: str, output: str, overwrite: bool) -> Result:
    """Write the rows of STORE as a table (CSV): id, split, group and position, and the label of each target.

    An empty cell is no label. Edit the table, then attach its columns with `actstore label`.

    \b
    Example:
      actstore rows run.acts -o rows.csv
      actstore label run.acts rows.csv --column digit --name corrected
    """
    import actstore

    with actstore.open(store) as opened:
        warn_of_empty_labels(opened)
        if output != STDOUT:
            write_file(opened, output, overwrite=overwrite)
            return Result(
                {"output": output, "rows": opened.rows},
                [f"{output}: {opened.rows:,} row{'s' * (opened.rows != 1)}"],
            )
        if wants_json(click.get_current_context()):
            return Result({"rows": opened.rows, "table": as_lists(opened)})
        for text in table_texts(opened):
            click.echo(text.encode("utf-8"), nl=False)
        return Result({"rows": opened.rows})


def write_file(store: Store, path: str, *, overwrite: bool) -> None:
    """Write the table to ``path``, which is there whole or not at all."""
    from actstore.store.disk.output import whole_file

    with whole_file(path, overwrite=overwrite, inputs=[store.path], same_kind=is_row_table) as file:
        with open(file.fd, "w", encoding="utf-8", newline="", closefd=False) as text:
            text.writelines(table_texts(store))
        file.publish()


def is_row_table(path: Path) -> bool:
    """Whether a file begins as the table of rows of a store does."""
    with path.open("rb") as file:
        return file.read(len(BEGINNING)) == BEGINNING


def table_texts(store: Store) -> Iterator[str]:
    """The row table in pieces, as any spreadsheet reads it: commas, quotes where they are needed, CRLF."""
    given = table_columns(store)
    yield as_csv([[name for name, _ in given]])
    for start in range(0, store.rows, CHUNK_ROWS):
        yield as_csv(zip(*(cells(values[start : start + CHUNK_ROWS]) for _, values in given), strict=True))


def table_columns(store: Store) -> list[tuple[str, np.ndarray]]:
    """The columns of the row table by their names; a target may be called as one of the others."""
    columns: dict[str, np.ndarray | None] = {
        "id": store.ids,
        "split": store.splits,
        "group": store.groups,
        "position": store.positions,
    }
    return [(name, values) for name, values in [*columns.items(), *store.targets.items()] if values is not None]


def as_lists(store: Store) -> dict[str, Any]:
    """The row table as plain values, column by column; null is no label. Targets stand apart, as their names may."""
    columns = table_columns(store)
    known = len(columns) - len(store.targets)
    return {
        **{name: values.tolist() for name, values in columns[:known]},
        "targets": {name: values.tolist() for name, values in columns[known:]},
    }


def as_csv(lines: Iterable[Iterable[object]]) -> str:
    """Lines of a table as text."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(lines)
    return text.getvalue()


def cells(values: np.ndarray) -> Iterator[object]:
    """Return what stands in the table: nothing for a row without a label."""
    return ("" if value is None else value for value in values.tolist())


def warn_of_empty_labels(store: Store) -> None:
    """A table cannot tell a label that is an empty text from none."""
    import numpy as np

    for name, labels in store.targets.items():
        empty = int(np.count_nonzero(np.ma.compressed(labels) == "")) if labels.dtype.kind == "U" else 0
        if empty:
            notice(
                f"warning: target {name!r} is an empty text in {empty:,} rows; the table shows no label there"
            )
