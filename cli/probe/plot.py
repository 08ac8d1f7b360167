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
@click.option("--target", metavar="NAME", help="Which target, where PROBES has several.")
@click.option(
    "--step", type=click.IntRange(min=0), metavar="N", help="Which training step, where PROBES has several."
)
@click.option("--title", help="A title for the figure.")
@overwrite_option
def plot(
    probes: str, output: str, target: str | None, step: int | None, title: str | None, overwrite: bool
) -> None:
    """Draw the error by layer, in network order, for train, val and test; chance is dotted.

    \b
    Example:
      probe plot probes.h5 -o error-by-layer.svg
    """
    import solvers
    from solvers.figures.chart import error_by_layer, refuse_existing_figure, save_chart

    refuse_existing_figure(Path(output), overwrite)
    found = solvers.load(probes).values()
    targets = list(dict.fromkeys(probe.target for probe in found))
    if target is None and len(targets) > 1:
        raise click.ClickException(
            f"{probes} has several targets; say which with --target: {', '.join(targets)}"
        )
    if target is not None and target not in targets:
        raise click.ClickException(f"{probes} has no target {target!r}; it has {', '.join(targets) or 'none'}")
    steps = sorted({probe.step for probe in found})
    if step is None and len(steps) > 1:
        raise click.ClickException(
            f"{probes} has several steps; say which with --step: {', '.join(map(str, steps))}"
        )
    if step is not None and step not in steps:
        raise click.ClickException(
            f"{probes} has no step {step}; it has {', '.join(map(str, steps)) or 'none'}"
        )
    chosen = [probe for probe in found if target in (None, probe.target) and step in (None, probe.step)]
    save_chart(error_by_layer(chosen, title), Path(output), overwrite)
    click.echo(f"wrote {output}")
