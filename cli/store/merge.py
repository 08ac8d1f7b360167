"""`actstore merge`: one store of several."""

from __future__ import annotations

import warnings

import click

from cli.shared import layers_of


@click.command()
@click.argument("stores", metavar="STORE...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="STORE", help="The folder to make, NAME.acts.")
@click.option("--copy", is_flag=True, help="Copy the activations, checked on the way: -o is on another disk.")
@click.option("--anyway", is_flag=True, help="Merge also what other versions of the libraries computed.")
def merge(stores: tuple[str, ...], output: str | None, copy: bool, anyway: bool) -> None:
    """Make one store of the folders STORE..., without moving activations: both keep their shards, as the same files.

    These are the ranks of one dump, in any order; or whole stores of the same layers, model and reductions, whose rows
    follow one another in the order given. Every row is proven to be there once. Without -o, the one STORE has all its
    ranks already, and is completed.

    \b
    Example:
      actstore merge rank0.acts rank1.acts rank2.acts -o run.acts
    """
    from actstore.store.merging.merge import merge as merge_stores

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        merged = merge_stores(stores, output, copy=copy, anyway=anyway)
    for warning in caught:
        click.echo(f"warning: {warning.message}", err=True)
    with merged:
        click.echo(f"{output or stores[0]}: {layers_of(merged.rows, len(merged.layers))}, complete")
