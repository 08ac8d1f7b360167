"""`probe plot`: error by layer."""

from __future__ import annotations

from pathlib import Path

import click

from cli.shared import overwrite_option


@click.command()
@click.argument("probes", metavar="PROBES")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FIG",
    help="FIG.svg, FIG.png, or FIG.html for an interactive page.",
)
@click.option("--title", help="A title for the figure.")
@overwrite_option
def plot(probes: str, output: str, title: str | None, overwrite: bool) -> None:
    """Draw the error by layer, in network order, for train, val and test; chance is dotted.

    \b
    Example:
      probe plot probes.h5 -o error-by-layer.svg
    """
    import solvers
    from cli.chart import error_by_layer, save_chart

    if Path(output).exists() and not overwrite:
        raise click.ClickException(f"{output} exists already; choose another name for -o, or say --overwrite")
    save_chart(error_by_layer(list(solvers.load(probes).values()), title), Path(output))
    click.echo(f"wrote {output}")
