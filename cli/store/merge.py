"""`actstore merge`: one store of several."""

from __future__ import annotations

import click

from cli.result import Result, command
from cli.shared import layers_of, shown_warnings
from cli.store.summary import outline


@command()
@click.argument("stores", metavar="STORE...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="STORE", help="The folder to make, NAME.acts.")
@click.option(
    "--layers", is_flag=True, help="The stores have other layers of the same rows: set them side by side."
)
@click.option("--copy", is_flag=True, help="Copy the activations, checked on the way: -o is on another disk.")
@click.option(
    "--anyway",
    is_flag=True,
    help="Merge also what other versions of the libraries computed; with --layers, other weights or inputs, too.",
)
def merge(stores: tuple[str, ...], output: str | None, layers: bool, copy: bool, anyway: bool) -> Result:
    """Make one store of the folders STORE..., without moving activations: both keep their shards, as the same files.

    These are the ranks of one dump, in any order; or whole stores of the same layers, model and reductions, whose rows
    follow one another in the order given. Every row is proven to be there once. Without -o, the one STORE has all its
    ranks already, and is completed.

    With --layers they are stores (single files, too) of the same rows: ids, splits, groups and labels have to agree,
    and the model and the inputs as far as they are known. Their layers are copied side by side, checked on the way.

    \b
    Examples:
      actstore merge rank0.acts rank1.acts rank2.acts -o run.acts
      actstore merge --layers early.acts late.acts -o all.acts
    """
    from actstore.store.merging.merge import merge as merge_stores
    from actstore.store.merging.side_by_side import merge_layers

    if layers and output is None:
        raise click.UsageError("--layers needs -o NAME.acts: the folder to make")
    with shown_warnings():
        if layers and output is not None:
            merged = merge_layers(stores, output, anyway=anyway)
        else:
            merged = merge_stores(stores, output, copy=copy, anyway=anyway)
    where = output or stores[0]
    with merged:
        return Result(
            outline(merged, where), [f"{where}: {layers_of(merged.rows, len(merged.layers))}, complete"]
        )
