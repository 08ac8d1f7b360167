"""`probe plot`: figures of scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.result import Result, command
from cli.shared import overwrite_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.figures.asked import Asked, Edges, Reference
    from solvers.figures.rows import Shown
    from solvers.probing.probe import Probe
    from solvers.scoring.score import Score

_KINDS = ("depth", "steps", "width", "rows", "path", "classes", "confusion", "calibration", "compare", "graph")
_OVERLAYS = ("split", "file", "target", "step", "method", "kind", "seed", "fold")


@command()
@click.argument("probes", metavar="PROBES...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    metavar="FIG",
    help="FIG.svg, FIG.png, FIG.pdf, or FIG.html for an interactive page.",
)
@click.option(
    "--kind",
    type=click.Choice(_KINDS),
    default="depth",
    show_default=True,
    help="By layer; by layer and step; by width; by training rows; along C; by class; true by predicted class; "
    "accuracy by confidence; side by side; in the network.",
)
@click.option("--metric", metavar="M", help="Which metric of the scores; the error by default.")
@click.option("--layers", multiple=True, metavar="PATTERN", help="Which layers; repeatable.")
@click.option("--target", "targets", multiple=True, metavar="NAME", help="Which target; repeatable.")
@click.option(
    "--step", "steps", multiple=True, type=click.IntRange(min=0), metavar="N", help="Which step; repeatable."
)
@click.option("--split", "splits", multiple=True, metavar="NAME", help="Which split; repeatable.")
@click.option(
    "--overlay",
    type=click.Choice(_OVERLAYS),
    help="What colours tell apart in one panel (the splits by default); what else differs has a panel of its own.",
)
@click.option("--scale", type=click.Choice(("linear", "log")), default="linear", show_default=True)
@click.option("--ylim", type=float, nargs=2, metavar="LOW HIGH", help="The ends of the axis.")
@click.option(
    "--reference",
    "references",
    multiple=True,
    metavar="[LABEL=]VALUE",
    help="A line across, such as `the model itself=0.021`; repeatable.",
)
@click.option(
    "--size",
    type=click.Choice(("column", "page", "slide")),
    default="page",
    show_default=True,
    help="A column of a paper is 8.5 cm wide.",
)
@click.option(
    "--palette",
    type=click.Choice(("safe", "red-blue")),
    default="safe",
    show_default=True,
    help="Colours of maps and graphs: told apart by every eye, or the paper's.",
)
@click.option(
    "--edges",
    metavar="FILE.csv",
    help="Which layer feeds which, columns `from` and `to`, for --kind graph where the store did not record it.",
)
@click.option(
    "--animate",
    metavar="FIG",
    help="A frame for each step: FIG.html with a slider, FIG.gif, or FIG.svg, .png, .pdf with frames in a row.",
)
@click.option("--title", help="A title for the figure.")
@overwrite_option
def plot(
    probes: tuple[str, ...], output: str | None, animate: str | None, overwrite: bool, **options: Any
) -> Result:
    """Draw scores: the metric by layer, in network order, with `majority` dotted, unless --kind says otherwise.

    PROBES are probe files, or tables of scores as `probe show --csv` prints them. Intervals are drawn where the scores
    have them; points of probes that are not proven to be optimal are hollow.

    \b
    Example:
      probe plot probes.h5 -o error-by-layer.svg
      probe plot probes.h5 --kind graph --palette red-blue -o network.svg
      probe plot probes.h5 --animate training.html
    """
    from actstore.patterns import pick_names
    from solvers.figures.animation import SUFFIXES, save_animation
    from solvers.figures.asked import asked
    from solvers.figures.chart import refuse_existing_figure, save_figure
    from solvers.figures.figure import description
    from solvers.figures.parts.look import Look
    from solvers.figures.scores import edges_of
    from solvers.probing.scores.divided import divided_notes

    if output is None and animate is None:
        raise click.UsageError("say where the figure goes: -o FIG.svg, or --animate FIG.html")
    if options["edges"] is not None and options["kind"] != "graph":
        raise click.UsageError("--edges is for --kind graph")
    if output is not None:
        refuse_existing_figure(Path(output), overwrite)
    if animate is not None:
        refuse_existing_figure(Path(animate), overwrite, SUFFIXES)
    given = {
        name: value for name, value in options.items() if value is not None and name not in ("edges", "layers")
    }
    given["references"] = [_reference(text) for text in options["references"]]
    first = asked(**given)  # refuses words before a file is read
    rows, found = _read(probes, first)
    given["layers"] = pick_names(options["layers"], list(dict.fromkeys(row.score.layer for row in rows)))
    given["splits"] = _splits(options["splits"], rows, found)
    if options["kind"] == "graph":
        given["edges"] = _edges(options["edges"]) or edges_of(found)
    what = asked(**given)
    if output is not None:
        save_figure(description(rows, what), Path(output), overwrite, Look.of(what).pixels)
    if animate is not None:
        save_animation(rows, what, Path(animate), overwrite)
    written = [path for path in (output, animate) if path is not None]
    notes = [f"note: {note}" for note in divided_notes(found, what.splits or None)]
    return Result({"kind": what.kind, "figures": written}, [f"wrote {path}" for path in written], notes)


def _reference(text: str) -> Reference:
    from solvers.figures.asked import Reference

    label, _, value = text.rpartition("=")
    try:
        return Reference(float(value), label)
    except ValueError as error:
        raise click.UsageError(
            f"--reference {text!r} is no number; write for example 0.021, or 'the model itself=0.021'"
        ) from error


def _read(paths: Sequence[str], what: Asked) -> tuple[list[Shown], list[Probe]]:
    """The scores of every file, and the probes of those that have some."""
    import solvers
    from solvers.figures.scores import read_scores, scores_of, shown

    sources: list[tuple[str, Sequence[Score]]] = []
    found: list[Probe] = []
    for path in paths:
        if Path(path).suffix.lower() == ".csv":
            sources.append((path, read_scores(Path(path))))
        else:
            probes = solvers.load(path)
            if not probes:
                raise click.ClickException(
                    f"{path} has no probe to plot: every layer failed; see `probe show {path}`"
                )
            found += probes.values()
            sources.append((path, scores_of(probes, what)))
    return shown(sources), found


def _splits(names: Sequence[str], rows: Sequence[Shown], probes: Sequence[Probe]) -> list[str]:
    """The splits that are meant: as the scores have them, or as the store of the probes calls them."""
    from solvers.probing.scores.split_names import own_split

    there = {row.score.split for row in rows}
    return [name if name in there else own_split(probes, name) or name for name in names]


def _edges(path: str | None) -> Edges | None:
    from solvers.figures.scores import read_edges

    return None if path is None else read_edges(Path(path))
