"""`actstore label`: attach labels to the rows of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import numpy as np


@click.command()
@click.argument("store")
@click.argument("labels", metavar="LABELS")
@click.option(
    "--name", metavar="N", help="What to call the target; by default as the column or the file is called."
)
@click.option("--column", metavar="C", help="Which column of a table has the labels.")
@click.option("--overwrite", is_flag=True, help="Put these labels in the place of a target of that name.")
def label(store: str, labels: str, name: str | None, column: str | None, overwrite: bool) -> None:
    """Attach the labels in LABELS to the rows of STORE, a folder (NAME.acts) whose dump is complete.

    LABELS is FILE.npy or FILE.npz:KEY, with a label for every row in their order, or FILE.csv, with row ids in the
    column `id` (else the first one). Rows whose cell is empty, or that the table leaves out, have no label.
    `actstore rows` writes the ids.

    \b
    Example:
      actstore label run.acts colours.csv --column colour
    """
    import actstore
    from actstore.labels import read_file

    with actstore.open(store) as opened:
        found = read_file(labels, column)
        name = name or found.name
        opened.attach(name, found.values, found.ids, overwrite=overwrite)
        click.echo(count_labels(name, opened.targets[name]))


def count_labels(name: str, labels: np.ndarray) -> str:
    """How many rows have a label, and how many classes these are."""
    import numpy as np

    present = np.ma.compressed(labels)
    return f"{name}: {len(present):,} of {len(labels):,} rows have a label, {len(np.unique(present)):,} classes"
