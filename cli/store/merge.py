"""`actstore merge`: one store of several."""

from __future__ import annotations

import click

from cli.result import Result, command
from cli.shared import layers_of, shown_warnings
from cli.store.summary import outline


@command()
@click.argument("stores", metavar="STORE...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="STORE", help="The folder to make, NAME.acts.")
@click.option("--copy", is_flag=True, help="Copy the activations, checked on the way: -o is on another disk.")
@click.option("--anyway", is_flag=True, help="Merge also what other versions of the libraries computed.")
def merge(stores: tuple[str, ...], output: str | None, copy: bool, anyway: bool) -> Result:
    """Make one store of the folders STORE..., without moving activations: both keep their shards, as the same files.

    These are the ranks of one dump, in any order; or whole stores of the same layers, model and reductions, whose rows
    follow one another in the order given. Every row is proven to be there once. Without -o, the one STORE has all its
    ranks already, and is completed.

    \b
    Example:
      actstore merge rank0.acts rank1.acts rank2.acts -o run.acts
    """
    from actstore.store.merging.merge import merge as merge_stores

    with shown_warnings():
        merged = merge_stores(stores, output, copy=copy, anyway=anyway)
    where = output or stores[0]
    with merged:
        return Result(
            outline(merged, where), [f"{where}: {layers_of(merged.rows, len(merged.layers))}, complete"]
        )
