"""The network itself: a box a layer, coloured by a metric, with a mark where a probe reads it; edges as recorded."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from solvers.figures.asked import Edges
from solvers.figures.marks.heat import Colours, is_dark
from solvers.figures.network.layering import layered
from solvers.figures.network.routing import Room, placed
from solvers.figures.parts.look import GREY, INK
from solvers.figures.parts.names import clipped, labels_of, safe, width_of
from solvers.figures.parts.notes import notes_of, title_of
from solvers.figures.parts.panels import Grid, composed, panels_of, title_lines
from solvers.figures.parts.places import layers_in_order
from solvers.figures.parts.scale import number, scale_of, with_interval
from solvers.figures.rows import DIMENSIONS, at_one_place, chosen, metric_of, not_optimal, only_held_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.figures.asked import Asked
    from solvers.figures.network.layering import Layered
    from solvers.figures.network.routing import Box, Drawing
    from solvers.figures.parts.look import Look
    from solvers.figures.rows import Shown

_UNPROBED = "#f1f3f5"


def draw(rows: Sequence[Shown], asked: Asked, look: Look) -> dict[str, Any]:
    """Return the network, once for whatever differs; a chain, said to be one, where no edges are known."""
    whole = [
        row for row in chosen(rows, asked) if not row.score.part and row.score.kind not in ("path", "majority")
    ]
    metric = metric_of(whole, asked)
    whole = only_held_out([row for row in whole if row.score.metric == metric], asked)
    at_one_place(whole, ("layer", *DIMENSIONS))
    layers = layers_in_order(whole)
    edges = asked.edges or Edges(tuple(pairwise(layers)), "")
    network = layered(layers, edges.pairs)
    panels = panels_of(whole, ("layer",))
    colours = Colours.of(scale_of(whole, asked, metric), asked.palette)
    drawing = placed(network, _room(look, len(panels)))
    left_out = frozenset(row.score.layer for row in rows) - set(layers)
    words = _words(drawing, whole, look, left_out)
    views = [
        _view(network, drawing, {row.score.layer: row for row in panel.rows}, words, colours)
        for panel in panels
    ]
    grid = Grid(1, drawing.width, drawing.height, 0)
    told = {name for panel in panels for name in panel.differs}
    notes = [
        *notes_of(whole, None, told, words.prefix, intervals=False),
        _edges_note(edges, network, layers, left_out),
    ]
    head = title_lines(look, asked.title or title_of(whole, metric, "in the network"), notes)
    return composed(views, [panel.title for panel in panels], grid, look, head)


def _room(look: Look, panels: int) -> Room:
    high = look.most_height if panels == 1 else look.most_height * 0.6
    return Room(look.width - 12, high, look.font * 1.55, look.font * 6.2, look.font * 0.95, look.font * 0.55)


def _edges_note(edges: Edges, network: Layered, layers: Sequence[str], left_out: frozenset[str]) -> str:
    if not edges.told_by:
        told = "a chain in the order of the calls, since nothing says which layer feeds which"
    else:
        told = f"{len(network.edges):,} edge{'s' * (len(network.edges) != 1)}, {safe(edges.told_by)}"
    grey = {name for row in network.rows for name in row} - set(layers)
    parts = [told, "dot: a probe reads this layer"]
    for count, words in ((len(grey - left_out), "without a probe"), (len(grey & left_out), "left out")):
        parts += [f"grey: {count:,} {words}"] if count else []
    parts += [f"dashed: {len(network.back):,} lead back"] if network.back else []
    return "; ".join(parts)


@dataclass(frozen=True)
class _Words:
    """What is written into the boxes: labels by name, and whether there is room for the values beside all of them.

    ``left_out`` are layers that have scores and were not asked for.
    """

    called: dict[str, str]
    prefix: str
    values: bool
    look: Look
    left_out: frozenset[str]

    def start(self, box: Box, probed: bool) -> float:
        """Return where a label begins, right of the probe's mark."""
        return box.x + self.look.font * (1.05 if probed else 0.4)


def _words(drawing: Drawing, rows: Sequence[Shown], look: Look, left_out: frozenset[str]) -> _Words:
    """Names first: values are written where no name is cut for them."""
    names = [box.name for box in drawing.boxes]
    room = min(box.width for box in drawing.boxes) - look.font * 1.45
    labels = labels_of(names, room, look.font)
    widest = max((width_of(_value(row), look.font) for row in rows), default=0)
    values = labels_of(names, max(room - widest - look.font * 0.5, 1), look.font).texts == labels.texts
    return _Words(dict(zip(names, labels.texts, strict=True)), labels.prefix, values, look, left_out)


def _value(row: Shown | None) -> str:
    return number(row.score.value, row.score.unit) if row is not None and row.finite else ""


def _view(
    network: Layered, drawing: Drawing, rows: dict[str, Shown], words: _Words, colours: Colours
) -> dict[str, Any]:
    ends = {"x": [0.0, drawing.width], "y": [drawing.height, 0.0]}
    channels = {
        name: {
            "field": name,
            "type": "quantitative",
            "axis": None,
            "scale": {"domain": domain, "nice": False, "zero": False},
        }
        for name, domain in ends.items()
    }
    look = words.look
    boxes = [_box_record(box, rows.get(box.name), words, colours) for box in drawing.boxes]
    layers = [*_edges(network, drawing, channels, look), *_boxes(boxes, channels, colours, look)]
    return {"layer": [*layers, *_texts(boxes, channels, look)]}


def _box_record(box: Box, row: Shown | None, words: _Words, colours: Colours) -> dict[str, Any]:
    there = row is not None and row.finite
    colour = colours.colour(row.score.value) if row is not None and there else _UNPROBED
    return {
        "x": box.x,
        "x2": box.x + box.width,
        "y": box.y,
        "y2": box.y + box.height,
        "middle": box.y + box.height / 2,
        "at": words.start(box, row is not None),
        "end": box.x + box.width - words.look.font * 0.3,
        "mark": box.x + words.look.font * 0.55,
        "name": words.called[box.name],
        "text": _value(row) if words.values else "",
        "value": colours.y.drawn(row.score.value) if row is not None else None,
        "probed": row is not None,
        "hollow": row is not None and bool(not_optimal([row])),
        "ink": "white" if is_dark(colour) else INK,
        "layer": clipped(safe(box.name), 600, 10),
        "shown": with_interval(row) if row else "left out" if box.name in words.left_out else "no probe",
        "rows": f"{row.score.rows:,}" if row is not None else "",
    }


def _edges(network: Layered, drawing: Drawing, channels: dict[str, Any], look: Look) -> list[dict[str, Any]]:
    layers: list[dict[str, Any]] = []
    for back in (False, True):
        ways = [
            (number, way) for number, (edge, way) in enumerate(drawing.ways) if (edge in network.back) == back
        ]
        points = [
            {"edge": number, "at": at, "x": x, "y": y} for number, way in ways for at, (x, y) in enumerate(way)
        ]
        if not points:
            continue
        mark = {
            "type": "line",
            "color": GREY,
            "strokeWidth": max(0.9, look.stroke * 0.55),
            "strokeJoin": "round",
        }
        dash = {"strokeDash": [4, 3]} if back else {}
        encoding = {
            **channels,
            "detail": {"field": "edge", "type": "nominal"},
            "order": {"field": "at", "type": "quantitative"},
        }
        layers.append({"data": {"values": points}, "mark": {**mark, **dash}, "encoding": encoding})
    tips = [{"x": way[-1][0], "y": way[-1][1] - look.font * 0.16} for _, way in drawing.ways]
    if tips:
        mark = {
            "type": "point",
            "filled": True,
            "shape": "triangle-down",
            "size": look.font * 2.2,
            "color": GREY,
            "opacity": 1,
        }
        layers.append({"data": {"values": tips}, "mark": mark, "encoding": channels})
    return layers


def _boxes(
    boxes: Sequence[dict[str, Any]], channels: dict[str, Any], colours: Colours, look: Look
) -> list[dict[str, Any]]:
    corners = {**channels, "x2": {"field": "x2"}, "y2": {"field": "y2"}}
    tooltip = [
        {"field": field, "type": "nominal", "title": title}
        for field, title in (("layer", "layer"), ("shown", "value"), ("rows", "rows"))
    ]
    outline = {"type": "rect", "stroke": GREY, "strokeWidth": 0.8, "cornerRadius": 2}
    layers: list[dict[str, Any]] = []
    probed = [box for box in boxes if box["value"] is not None]
    others = [box for box in boxes if box["value"] is None]
    if others:
        mark = {**outline, "fill": _UNPROBED, "strokeDash": [3, 2]}
        layers.append({"data": {"values": others}, "mark": mark, "encoding": {**corners, "tooltip": tooltip}})
    layers.append(
        {
            "data": {"values": probed},
            "mark": outline,
            "encoding": {**corners, "color": colours.channel(look), "tooltip": tooltip},
        }
    )
    for hollow in (False, True):
        marked = [box for box in boxes if box["probed"] and box["hollow"] == hollow]
        mark = {"type": "point", "size": look.font * 3, "filled": not hollow, "opacity": 1, "strokeWidth": 1.2}
        for ink in (INK, "white"):
            own = [box for box in marked if box["ink"] == ink]
            if own:
                where = {"x": {**channels["x"], "field": "mark"}, "y": {**channels["y"], "field": "middle"}}
                layers.append({"data": {"values": own}, "mark": {**mark, "color": ink}, "encoding": where})
    return layers


def _texts(boxes: Sequence[dict[str, Any]], channels: dict[str, Any], look: Look) -> list[dict[str, Any]]:
    layers = []
    for ink in (INK, "white"):
        for field, at, align in (("name", "at", "left"), ("text", "end", "right")):
            own = [box for box in boxes if box["ink"] == ink and box[field]]
            mark = {"type": "text", "align": align, "baseline": "middle", "fontSize": look.font, "color": ink}
            where = {"x": {**channels["x"], "field": at}, "y": {**channels["y"], "field": "middle"}}
            if own:
                layers.append(
                    {
                        "data": {"values": own},
                        "mark": mark,
                        "encoding": {**where, "text": {"field": field, "type": "nominal"}},
                    }
                )
    return layers
