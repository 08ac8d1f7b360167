"""`actstore unpack`: a single file as a folder again."""

from __future__ import annotations

import click

from cli.result import Result, command
from cli.shared import layers_of
from cli.store.summary import outline


@command()
@click.argument("file", metavar="FILE.h5")
@click.option("-o", "--output", required=True, metavar="STORE.acts", help="The folder to make.")
def unpack(file: str, output: str) -> Result:
    """Write the store in FILE.h5 as a folder, which takes further steps (dump --step) and labels (label).

    Activations keep their bits, each block checked on the way; rows, labels and provenance stay as they are.

    \b
    Example:
      actstore unpack run.h5 -o run.acts
      actstore label run.acts colours.csv --column colour
    """
    from actstore.store.merging.unpack import unpack as unpack_file

    with unpack_file(file, output) as store:
        return Result(
            outline(store, output), [f"{output}: {layers_of(store.rows, len(store.layers))}, complete"]
        )
