"""A metric of each class: dots with intervals for one layer, a map of classes by layers for several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from solvers.errors import FigureError
from solvers.figures.kinds.confusion import METRIC as CONFUSION
from solvers.figures.marks import dots, maps
from solvers.figures.parts.names import safe
from solvers.figures.parts.notes import title_of
from solvers.figures.parts.places import layers_in_order
from solvers.figures.rows import chosen, distinct, metric_of, only_held_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.figures.asked import Asked
    from solvers.figures.parts.look import Look
    from solvers.figures.rows import Shown


def draw(rows: Sequence[Shown], asked: Asked, look: Look) -> dict[str, Any]:
    """Return the scores whose part is a class."""
    parts = [row for row in chosen(rows, asked) if row.score.part and row.score.kind != "majority"]
    parts = [row for row in parts if row.score.metric != CONFUSION and not row.score.metric.startswith("ece")]
    if not parts:
        raise FigureError(
            "there are no classes to plot: no score has a class as its part; the probe file needs its predictions (fit "
            "without --no-predictions)"
        )
    metric = metric_of(parts, asked)
    parts = only_held_out([row for row in parts if row.score.metric == metric], asked)
    layers, classes = layers_in_order(parts), list(dict.fromkeys(row.score.part for row in parts))
    if len(layers) == 1:
        overlay = asked.overlay or next(
            (name for name in ("file", "step") if len(distinct(parts, name)) > 1), "split"
        )
        title = title_of(parts, metric, f"by class, layer {safe(layers[0])}")
        what = dots.Dots(parts, metric, "part", classes, lambda row: row.score.part, "class", overlay, title)
        return dots.drawn(what, asked, look)
    if asked.references or asked.overlay:
        raise FigureError(
            "classes of several layers are a map, which has no lines and no overlay; choose one layer with --layers"
        )
    title = title_of(parts, metric, "by class and layer")
    place = lambda row: (row.score.layer, row.score.part)  # noqa: E731
    names = (layers, classes)
    axes = ("layer, in network order", "class")
    return maps.drawn(maps.Maps(parts, metric, ("layer", "part"), names, place, axes, title), asked, look)
