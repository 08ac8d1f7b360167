"""`probe plot`: error by layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.result import Result, command
from cli.shared import overwrite_option

if TYPE_CHECKING:
    from collections.abc import Sequence


@command()
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
) -> Result:
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
    _refuse_unless_one(probes, "target", target, targets)
    _refuse_unless_one(probes, "step", step, sorted({probe.step for probe in found}))
    chosen = [probe for probe in found if target in (None, probe.target) and step in (None, probe.step)]
    save_chart(error_by_layer(chosen, title), Path(output), overwrite)
    return Result({"output": output, "probes": len(chosen)}, [f"wrote {output}"])


def _refuse_unless_one(probes: str, what: str, asked: str | int | None, there: Sequence[str | int]) -> None:
    """Refuse several of what a figure shows one of, and one that is not there."""
    names = ", ".join(map(str, there))
    if asked is None and len(there) > 1:
        raise click.ClickException(f"{probes} has several {what}s; say which with --{what}: {names}")
    if asked is not None and asked not in there:
        raise click.ClickException(f"{probes} has no {what} {asked!r}; it has {names or 'none'}")
