"""Probes side by side, layer by layer: files, targets, steps, methods or controls, each with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from solvers.errors import FigureError
from solvers.figures.asked import OVERLAYS
from solvers.figures.marks.dots import Dots, drawn
from solvers.figures.parts.notes import title_of
from solvers.figures.parts.places import layers_in_order
from solvers.figures.rows import chosen, distinct, metric_of, only_held_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.figures.asked import Asked
    from solvers.figures.parts.look import Look
    from solvers.figures.rows import Shown


def draw(rows: Sequence[Shown], asked: Asked, look: Look) -> dict[str, Any]:
    """Return dots of one split; colours tell apart what ``overlay`` says, or the first thing that differs."""
    whole = [
        row for row in chosen(rows, asked) if not row.score.part and row.score.kind not in ("path", "majority")
    ]
    metric = metric_of(whole, asked)
    whole = [row for row in whole if row.score.metric == metric]
    whole = whole if asked.overlay == "split" else only_held_out(whole, asked)
    differing = [name for name in OVERLAYS if name != "split" and len(distinct(whole, name)) > 1]
    overlay = asked.overlay or next(iter(differing), None)
    if overlay is None:
        raise FigureError(
            "there is nothing to compare: one file, target, step and method; name a second file, or --overlay split"
        )
    notes = ["intervals that overlap are no test; `probe compare` pairs the rows"]
    layers = layers_in_order(whole)
    title = title_of(whole, metric, f"by layer and {overlay}")
    what = Dots(whole, metric, "layer", layers, lambda row: row.score.layer, "layer", overlay, title, notes)
    return drawn(what, asked, look)
