"""What `actstore dump` says once it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli.shared import count_labels, layers_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actstore.dumping.dump import DumpSettings
    from actstore.store.reading.reader import Store


def echo_summary(store: Store, output: str, settings: DumpSettings) -> None:
    """Print what a dump put where, and what it left out."""
    where = output if settings.step is None else f"{output}, step {settings.step}"
    click.echo(f"{where}: {layers_of(store.rows, len(store.layers))}")
    if not store.complete and settings.world_size > 1:
        click.echo(
            f"rank {settings.rank} of {settings.world_size} is done; the store is whole once all of them are "
            "(ranks in stores of their own: join them with actstore merge)"
        )
    _echo_rows(store)
    own = store.at(settings.step or 0) if (settings.step or 0) in store.steps else store
    skipped = own.provenance.get("skipped", [])
    if skipped:
        first = f"the first is {skipped[0]['id']}, {skipped[0]['file']}"
        click.echo(f"warning: {len(skipped):,} images were left out; {first}", err=True)
    _echo_passed_over(own.provenance.get("passed_over", {}))
    _echo_inexact(own)


def _echo_rows(store: Store) -> None:
    """Say how many rows each split has, where they were told row by row, and which targets lack labels."""
    import numpy as np

    told = store.provenance
    if "split_by" in told:
        names, counts = np.unique(store.splits, return_counts=True)
        listed = ", ".join(f"{name or 'no split'} {rows:,}" for name, rows in zip(names, counts, strict=True))
        click.echo(f"rows by split ({told['split_by']}): {listed}")
    if "group_by" in told:
        column = told["group_by"]
        examples = store.row_unit == "example"
        of_rows: Any = store.groups if examples else store.targets[column]
        click.echo(f"rows by group ({column}): {len(np.unique(np.ma.getdata(of_rows))):,} groups")
        if not examples:
            click.echo(
                f"the group of a {store.row_unit} is its example; for the wider ones fit with --group-by {column}"
            )
    for name, labels in store.targets.items():
        if np.ma.is_masked(labels):
            click.echo(count_labels(name, labels))


def _echo_passed_over(layers: Mapping[str, str]) -> None:
    if layers:
        name, note = next(iter(layers.items()))
        others = f", and {len(layers) - 1:,} more (actstore layers says why)" if len(layers) > 1 else ""
        click.echo(f"passed over: {name} ({note}){others}", err=True)


def _echo_inexact(store: Store) -> None:
    """Print a line for each layer that does not hold all that the model computed."""
    for name, rows in store.nonfinite.items():
        if rows:
            click.echo(f"warning: layer {name!r} has NaN or infinities in {rows:,} rows", err=True)
    for name, cast in store.provenance.get("cast", {}).items():
        click.echo(
            f"layer {name!r} was cast from {cast['computed']} to {cast['stored']}: largest error "
            f"{cast['largest_error']:.2g}, {cast['overflows']:,} overflows, {cast['nan']:,} NaN"
        )
