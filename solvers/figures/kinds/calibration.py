"""How often a probe is right where it says it is: accuracy by bins of its top probability, beside the diagonal."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from solvers.errors import FigureError
from solvers.figures.parts.look import GREY, INK, colours_for
from solvers.figures.parts.names import clipped, safe
from solvers.figures.parts.notes import notes_of, title_of
from solvers.figures.parts.panels import composed, grid_of, panels_of, title_lines
from solvers.figures.parts.places import layers_in_order
from solvers.figures.parts.scale import ValueScale, with_interval
from solvers.figures.rows import DIMENSIONS, at_one_place, chosen, only_held_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.figures.asked import Asked
    from solvers.figures.parts.look import Look
    from solvers.figures.rows import Shown

_BIN = re.compile(r"^([01](?:\.\d+)?)-([01](?:\.\d+)?)$")
_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def draw(rows: Sequence[Shown], asked: Asked, look: Look) -> dict[str, Any]:
    """Return a bar over each bin at the accuracy of its rows, with its interval; of the last layer by default."""
    bins = [
        row for row in chosen(rows, asked) if row.score.metric.startswith("ece") and _BIN.match(row.score.part)
    ]
    if not bins:
        raise FigureError(
            "there is no calibration to plot: no score has a bin as its part; the probe file needs its predictions "
            "(fit without --no-predictions)"
        )
    if asked.scale == "log" or asked.ylim is not None:
        raise FigureError("calibration is drawn from 0 to 1 on linear axes; leave --scale and --ylim out")
    bins = only_held_out(bins, asked)
    notes = ["bar: a bin of the top probability; calibrated where it meets the diagonal; wide: more rows"]
    if not asked.layers:
        last = layers_in_order(bins)[-1]
        bins = [row for row in bins if row.score.layer == last]
        notes.append(f"layer {safe(last)}")
    at_one_place(bins, ("part", "layer", *DIMENSIONS))
    panels = panels_of(bins, ("part",))
    y = ValueScale("accuracy", "share", "linear", 0.0, 1.0, _TICKS, look.font)
    grid = grid_of(look, len(panels), y.left())
    side = min(grid.width, look.plot_height * 1.4)
    grid = replace(grid, width=side, height=side)
    most = max(row.score.rows for row in bins)
    views = [{"layer": _layers(panel.rows, y, look, most)} for panel in panels]
    told = {name for panel in panels for name in panel.differs}
    title = asked.title or title_of(bins, "calibration", f"({safe(bins[0].score.metric)})")
    head = title_lines(look, title, [*_without_counts(notes_of(bins, None, told), bins), *notes])
    return composed(views, [panel.title for panel in panels], grid, look, head)


def _without_counts(notes: list[str], bins: Sequence[Shown]) -> list[str]:
    """The usual lines; rows are those of all bins together, not of one."""
    first = " · ".join(part for part in notes[0].split(" · ") if not part.startswith("rows:"))
    splits = {row.score.split for row in bins}
    layers = {(row.score.layer, row.score.target, row.score.step, row.file, row.score.split) for row in bins}
    total = sum(row.score.rows for row in bins) / len(layers)
    return [f"{first} · rows:\u00a0{safe(next(iter(splits)))}\u00a0{total:,.0f}", *notes[1:]]


def _layers(rows: Sequence[Shown], y: ValueScale, look: Look, most: int) -> list[dict[str, Any]]:
    x = {
        "type": "quantitative",
        "scale": {"domain": [0, 1], "nice": False},
        "axis": {"values": list(_TICKS), "format": "~%", "title": "top probability", "labelOverlap": True},
    }
    points = [_record(row, most, look) for row in rows if row.finite]
    colour = colours_for("split", ["test"])[0]
    diagonal = {"type": "line", "strokeDash": [2, 4], "color": GREY, "strokeWidth": max(1.0, look.stroke * 0.6)}
    tooltip = [
        {"field": field, "type": "nominal", "title": field} for field in ("bin", "accuracy", "rows", "layer")
    ]
    data = {"values": points}
    middle = {**x, "field": "middle"}
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": [{"middle": 0, "value": 0}, {"middle": 1, "value": 1}]},
            "mark": diagonal,
            "encoding": {"x": middle, "y": y.encoding("value")},
        }
    ]
    if any(point["low"] is not None for point in points):
        bar = {"type": "rule", "strokeWidth": look.stroke * 0.8, "color": INK}
        layers.append(
            {
                "data": data,
                "mark": bar,
                "encoding": {"x": middle, "y": y.encoding("low"), "y2": {"field": "high"}},
            }
        )
    span = {"x": {**x, "field": "from"}, "x2": {"field": "to"}, "y": y.encoding("value"), "tooltip": tooltip}
    size = {"field": "stroke", "type": "quantitative", "scale": None, "legend": None}
    layers.append({"data": data, "mark": {"type": "rule", "color": colour}, "encoding": {**span, "size": size}})
    return layers


def _record(row: Shown, most: int, look: Look) -> dict[str, Any]:
    found = _BIN.match(row.score.part)
    low, high = (float(each) for each in found.groups()) if found else (0.0, 1.0)
    interval = math.isfinite(row.score.low) and math.isfinite(row.score.high)
    return {
        "from": low,
        "to": high,
        "middle": (low + high) / 2,
        "value": row.score.value,
        "low": row.score.low if interval else None,
        "high": row.score.high if interval else None,
        "stroke": look.stroke * (1 + 3 * row.score.rows / max(most, 1)),
        "bin": row.score.part,
        "accuracy": with_interval(row),
        "rows": f"{row.score.rows:,}",
        "layer": clipped(safe(row.score.layer), 600, 10),
    }
