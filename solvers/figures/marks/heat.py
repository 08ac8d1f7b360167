"""Maps: a cell for each pair of places, coloured by its value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from solvers.figures.parts.look import INK, ramp, stops_of
from solvers.figures.parts.names import clipped, safe, width_of
from solvers.figures.parts.scale import number, with_interval
from solvers.figures.rows import lower_is_better

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.figures.parts.look import Look
    from solvers.figures.parts.places import Places
    from solvers.figures.parts.scale import ValueScale
    from solvers.figures.rows import Shown

__all__ = ["Cell", "Colours", "cells", "is_dark"]


@dataclass(frozen=True)
class Cell:
    """One cell: its places by label, its value, and the score that it is from."""

    x: str
    y: str
    value: float
    row: Shown


@dataclass(frozen=True)
class Colours:
    """From values to colours: ``better`` values are at the palette's beginning."""

    y: ValueScale
    palette: str
    title: str
    lower: bool

    @staticmethod
    def of(y: ValueScale, palette: str, lower: bool | None = None) -> Colours:
        """Return the colours of a metric; ``lower`` says that less of it is better where the metric does not."""
        return Colours(y, palette, y.title, lower_is_better(y.metric) if lower is None else lower)

    def colour(self, value: float) -> str:
        """Return the colour of a value."""
        share = 1 - self.y.pixel(min(max(value, self.y.low), self.y.high), 1)
        return ramp(self.palette, share if self.lower else 1 - share)

    def channel(self, look: Look) -> dict[str, Any]:
        """Return the Vega-Lite channel of the field ``value``, with its legend."""
        stops = stops_of(self.palette)
        scale = {
            "type": self.y.kind,
            "domain": [self.y.low, self.y.high],
            "range": stops if self.lower else stops[::-1],
            "interpolate": "rgb",
            "clamp": True,
            "nice": False,
            "zero": False,
        }
        legend = {
            "orient": "top",
            "title": clipped(self.title, look.width * 0.8, look.font),
            "titleFontWeight": "normal",
            "titleLimit": 0,
            "values": _spread(self.y.ticks, look),
            "format": "~%" if self.y.unit == "share" else "~g",
            "gradientLength": min(look.width * 0.5, 260),
            "gradientThickness": look.font * 0.9,
            "offset": 4,
        }
        return {"field": "value", "type": "quantitative", "scale": scale, "legend": legend}


def _spread(ticks: Sequence[float], look: Look) -> list[float]:
    """As many ticks as have room under the legend's bar."""
    length = min(look.width * 0.5, 260)
    most = max(2, int(length / (look.font * 4)))
    every = -(-len(ticks) // most)
    return list(ticks[::every])


def cells(
    found: Sequence[Cell],
    places: tuple[Places, Places],
    colours: Colours,
    look: Look,
    slot: tuple[float, float],
) -> list[dict[str, Any]]:
    """Return the layers of a map; values are written into cells (``slot`` wide and high) that have room."""
    x, y = (place.channel(field, "band") for place, field in zip(places, ("x", "y"), strict=True))
    values = [_record(cell, colours) for cell in found]
    tooltip = [
        {"field": field, "type": "nominal", "title": title}
        for field, title in (
            ("layer name", "layer"),
            ("part", "part"),
            ("x", "across"),
            ("y", "down"),
            ("shown", "value"),
            ("rows", "rows"),
        )
    ]
    base = {"x": x, "y": y}
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": values},
            "mark": {"type": "rect"},
            "encoding": {**base, "color": colours.channel(look), "tooltip": tooltip},
        }
    ]
    widest = max((width_of(str(value["text"]), look.font) for value in values), default=0)
    if values and widest + 2 <= slot[0] and look.font * 1.2 <= slot[1]:
        text = {"field": "text", "type": "nominal"}
        for ink in (INK, "white"):
            mark = {
                "type": "text",
                "fontSize": look.font,
                "baseline": "middle",
                "align": "center",
                "color": ink,
            }
            own = [value for value in values if value["ink"] == ink]
            layers.append({"data": {"values": own}, "mark": mark, "encoding": {**base, "text": text}})
    return layers


def _record(cell: Cell, colours: Colours) -> dict[str, Any]:
    return {
        "x": cell.x,
        "y": cell.y,
        "value": colours.y.drawn(cell.value),
        "shown": with_interval(cell.row),
        "layer name": clipped(safe(cell.row.score.layer), 600, 10),
        "part": clipped(safe(cell.row.score.part), 600, 10) if cell.row.score.part else "",
        "rows": f"{cell.row.score.rows:,}",
        "text": _written(cell),
        "ink": "white" if is_dark(colours.colour(cell.value)) else INK,
    }


def _written(cell: Cell) -> str:
    """A value as it stands in its cell: whole percents, where 0 and 100 are exact."""
    if cell.row.score.unit != "share":
        return number(cell.value, cell.row.score.unit)
    rounded = f"{100 * cell.value:.0f}"
    if (rounded, cell.value > 0) == ("0", True):
        return "<1"
    return ">99" if (rounded, cell.value < 1) == ("100", True) else rounded


def is_dark(colour: str) -> bool:
    """Return whether white letters read better on a colour than black ones."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return 0.3 * red + 0.59 * green + 0.11 * blue < 135
