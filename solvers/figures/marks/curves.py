"""A figure of curves: panels, axes, title and marks of what depth, width and path choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from solvers.figures.marks.curve import Axes, Series, across, curves, points_of
from solvers.figures.parts.notes import notes_of, title_of
from solvers.figures.parts.panels import Panel, composed, grid_of, panels_of, title_lines
from solvers.figures.parts.places import horizontal
from solvers.figures.parts.scale import number, scale_of
from solvers.figures.rows import DIMENSIONS, at_one_place, distinct

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from solvers.figures.asked import Asked, Reference
    from solvers.figures.parts.look import Look
    from solvers.figures.rows import Shown

__all__ = ["Curves", "drawn"]


@dataclass(frozen=True)
class Curves:
    """What is drawn as curves.

    Args:
        rows: their scores.
        metric: of all of them.
        along: the dimension of x.
        merged: what may differ along one curve.
        names: the places of x, in order.
        place: the place of a score.
        axis: what x is called, ``by`` what the title says of it.
        overlay: what colours tell apart.
        lines: the lines across a panel; ``further`` are the values that they may have.
        ringed: whether a score's point is marked.
        notes: further lines under the title.
    """

    rows: Sequence[Shown]
    metric: str
    along: str
    names: Sequence[str]
    place: Callable[[Shown], str]
    axis: str
    by: str
    overlay: str
    lines: Callable[[Panel], Sequence[Reference]]
    further: Sequence[float] = ()
    ringed: Callable[[Shown], bool] = lambda row: False
    notes: Sequence[str] = ()
    merged: tuple[str, ...] = ()


def drawn(what: Curves, asked: Asked, look: Look) -> dict[str, Any]:
    """Return the description of a figure of curves.

    Raises:
        FigureError: two scores claim one place, there are too many panels, or nothing to draw.
    """
    at_one_place(what.rows, (what.along, "layer", *(name for name in DIMENSIONS if name not in what.merged)))
    y = scale_of(what.rows, asked, what.metric, what.further)
    panels = panels_of(what.rows, (what.along, what.overlay, *what.merged))
    grid = grid_of(look, len(panels), y.left())
    places = horizontal(what.names, grid.width, look, what.axis)
    series = Series.of(what.overlay, distinct(what.rows, what.overlay), look)
    axes = Axes(places.channel("place"), y, "", grid.height, len(places.names))
    views = []
    for panel in panels:
        points = points_of(panel.rows, series, y, lambda row: places.label(what.place(row)))
        rings = [
            point for point, row in zip(points, panel.rows, strict=True) if what.ringed(row) and row.finite
        ]
        layers = [*curves(points, series, axes, look), *_rings(rings, series, axes, look)]
        views.append({"layer": [*layers, *across(what.lines(panel), axes, grid.width, look)]})
    told = {what.overlay, *(name for panel in panels for name in panel.differs)}
    outside = [line for line in asked.references if not y.inside(line.value)]
    notes = [*notes_of(what.rows, y, told, places.labels.prefix), *what.notes]
    notes += [f"{line.label or 'reference'} {number(line.value, y.unit)}, outside the axis" for line in outside]
    head = title_lines(look, asked.title or title_of(what.rows, what.metric, what.by), notes)
    return composed(views, [panel.title for panel in panels], grid, look, head)


def _rings(points: Sequence[dict[str, Any]], series: Series, axes: Axes, look: Look) -> list[dict[str, Any]]:
    if not points:
        return []
    mark = {
        "type": "point",
        "filled": False,
        "shape": "circle",
        "size": look.point * 5,
        "strokeWidth": look.stroke * 0.8,
    }
    encoding = {"x": axes.x, "y": axes.y.encoding("value", axes.y_title), "color": series.colour(look)}
    return [{"data": {"values": list(points)}, "mark": mark, "encoding": encoding}]
