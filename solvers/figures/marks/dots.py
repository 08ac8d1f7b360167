"""Values with their intervals beside names: a dot and a bar on a line of its own, so that many can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from solvers.figures.marks.curve import Series, points_of, tooltip
from solvers.figures.parts.look import GREY
from solvers.figures.parts.names import labels_of
from solvers.figures.parts.notes import notes_of
from solvers.figures.parts.panels import composed, grid_of, panels_of, title_lines
from solvers.figures.parts.places import upright
from solvers.figures.parts.scale import scale_of
from solvers.figures.rows import DIMENSIONS, at_one_place, distinct

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from solvers.figures.asked import Asked
    from solvers.figures.parts.look import Look
    from solvers.figures.rows import Shown

__all__ = ["Dots", "drawn"]


@dataclass(frozen=True)
class Dots:
    """What is drawn as dots.

    Args:
        rows: their scores.
        metric: of all of them.
        along: the dimension of the names.
        names: from the top.
        place: the name of a score.
        axis: what the names are called.
        overlay: what colours tell apart.
        title: of the figure.
        notes: further lines under the title.
        zero: whether 0 has a line.
    """

    rows: Sequence[Shown]
    metric: str
    along: str
    names: Sequence[str]
    place: Callable[[Shown], str]
    axis: str
    overlay: str
    title: str
    notes: Sequence[str] = ()


def drawn(what: Dots, asked: Asked, look: Look) -> dict[str, Any]:
    """Return the description of a figure of dots.

    Raises:
        FigureError: two scores claim one place, there are too many panels, or nothing to draw.
    """
    at_one_place(what.rows, (what.along, "layer", *DIMENSIONS))
    further = [line.value for line in asked.references]
    x = scale_of(what.rows, asked, what.metric, further)
    panels = panels_of(what.rows, (what.along, what.overlay))
    room = look.font * (9 if look.width < 400 else 16)
    widest = labels_of(what.names, room, look.font).widest(look.font)
    grid = grid_of(look, len(panels), widest + 2.4 * look.font + 6)
    series = Series.of(what.overlay, distinct(what.rows, what.overlay), look)
    each = look.font * max(1.5, 0.55 * len(series.values) + 0.6)
    height = min(max(each * len(what.names), look.plot_height * 0.5), look.most_height)
    places = upright(what.names, height, look, what.axis, room)
    views = []
    for panel in panels:
        points = points_of(panel.rows, series, x, lambda row: places.label(what.place(row)))
        layers = _layers(points, places.channel("place", "band"), series, x, look)
        views.append({"height": height, "layer": [*_lines(asked, x, look), *layers]})
    told = {what.overlay, *(name for panel in panels for name in panel.differs)}
    lines = [f"line: {line.label or 'reference'} {line.value:g}" for line in asked.references]
    notes = [*notes_of(what.rows, x, told, places.labels.prefix), *what.notes, *lines]
    head = title_lines(look, asked.title or what.title, notes)
    return composed(views, [panel.title for panel in panels], grid, look, head)


def _layers(
    points: Sequence[dict[str, Any]], y: dict[str, Any], series: Series, x: Any, look: Look
) -> list[dict[str, Any]]:
    base: dict[str, Any] = {"y": y, "color": series.colour(look)}
    if len(series.values) > 1:
        base["yOffset"] = {
            "field": series.dimension,
            "type": "nominal",
            "sort": list(series.labels),
            "scale": {"domain": list(series.labels), "paddingOuter": 0.4},
        }
    shape = series.shape(look)
    layers: list[dict[str, Any]] = []
    if any(point["low"] is not None for point in points):
        bar = {"type": "rule", "strokeWidth": look.stroke, "clip": True}
        layers.append(
            {
                "data": {"values": points},
                "mark": bar,
                "encoding": {**base, "x": x.encoding("low", upright=False), "x2": {"field": "high"}},
            }
        )
    for hollow in (False, True):
        kept = [point for point in points if point["hollow"] == hollow]
        mark = {"type": "point", "filled": not hollow, "opacity": 1, "size": look.point * 1.3, "clip": True}
        encoding = {**base, "x": x.encoding("value", upright=False), "tooltip": tooltip(series.dimension)} | (
            {"shape": shape} if shape else {}
        )
        if kept:
            fill = {"fill": "white", "strokeWidth": look.stroke * 0.7} if hollow else {}
            layers.append({"data": {"values": kept}, "mark": {**mark, **fill}, "encoding": encoding})
    return layers


def _lines(asked: Asked, x: Any, look: Look) -> list[dict[str, Any]]:
    values = [{"value": line.value} for line in asked.references if x.inside(line.value)]
    if not values:
        return []
    mark = {"type": "rule", "strokeDash": [2, 4], "color": GREY, "strokeWidth": max(1.0, look.stroke * 0.6)}
    return [{"data": {"values": values}, "mark": mark, "encoding": {"x": x.encoding("value", upright=False)}}]
