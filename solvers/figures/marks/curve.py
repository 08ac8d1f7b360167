"""Curves with their intervals: the marks that depth, width and path share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from solvers.figures.parts.look import GREY, INK, colours_for
from solvers.figures.parts.names import clipped, labels_of, safe, width_of
from solvers.figures.parts.panels import legend
from solvers.figures.parts.scale import number, with_interval
from solvers.figures.rows import not_optimal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from solvers.figures.asked import Reference
    from solvers.figures.parts.look import Look
    from solvers.figures.parts.scale import ValueScale
    from solvers.figures.rows import Shown

__all__ = ["Axes", "Series", "across", "curves", "points_of"]

_SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-right", "stroke")
_AT_ONCE = 12
"""Up to so many places each interval has a bar of its own beside the band."""


@dataclass(frozen=True)
class Series:
    """What colours tell apart: a dimension, its values, and what they are called here."""

    dimension: str
    values: tuple[Any, ...]
    labels: tuple[str, ...]

    @staticmethod
    def of(dimension: str, values: Sequence[Any], look: Look) -> Series:
        """Return the series of values, called so that each label has room."""
        words = [
            f"{dimension} {value}" if dimension in ("step", "seed", "fold") else str(value) for value in values
        ]
        return Series(dimension, tuple(values), labels_of(words, look.width * 0.6, look.font).texts)

    def label(self, row: Shown) -> str:
        """Return what the series of a score is called."""
        return self.labels[self.values.index(row.of(self.dimension))]

    def colour(self, look: Look) -> dict[str, Any]:
        """Return the channel of colours, with its legend."""
        colours = colours_for(self.dimension, self.values)
        widest = max(width_of(label, look.font) for label in self.labels)
        scale = {"domain": list(self.labels), "range": colours}
        return {
            "field": self.dimension,
            "type": "nominal",
            "scale": scale,
            "legend": legend(self.labels, widest, look),
        }

    def shape(self, look: Look) -> dict[str, Any] | None:
        """Return the channel of shapes, for those who see no colours; None where there are too many series."""
        if len(self.labels) > len(_SHAPES):
            return None
        scale = {"domain": list(self.labels), "range": list(_SHAPES[: len(self.labels)])}
        return {
            "field": self.dimension,
            "type": "nominal",
            "scale": scale,
            "legend": self.colour(look)["legend"],
        }


@dataclass(frozen=True)
class Axes:
    """Where curves are drawn: the channel of x, the scale of the values, the height in pixels."""

    x: dict[str, Any]
    y: ValueScale
    y_title: str | None
    height: float
    places: int


def points_of(
    rows: Sequence[Shown], series: Series, y: ValueScale, place: Callable[[Shown], Any]
) -> list[dict[str, Any]]:
    """Return a record of each score; what has no value keeps its place, so that a line breaks there."""
    hollow = {id(row) for row in not_optimal(rows)}
    found = []
    for row in rows:
        score = row.score
        interval = math.isfinite(score.low) and math.isfinite(score.high)
        found.append(
            {
                "place": place(row),
                series.dimension: series.label(row),
                "value": y.drawn(score.value),
                "low": y.drawn(score.low) if interval else None,
                "high": y.drawn(score.high) if interval else None,
                "below": y.kind == "log" and row.finite and score.value <= 0,
                "hollow": id(row) in hollow,
                "layer name": clipped(safe(score.layer), 600, 10),
                "shown": with_interval(row),
                "C": f"{score.C:g}",
                "rows": f"{score.rows:,}",
                "status": safe(score.status),
            }
        )
    return found


def curves(points: Sequence[dict[str, Any]], series: Series, axes: Axes, look: Look) -> list[dict[str, Any]]:
    """Return the layers of a view: bands, lines, points; hollow ones of probes that are not proven to be optimal."""
    colour, shape = series.colour(look), series.shape(look)
    y = axes.y.encoding("value", axes.y_title)
    base = {"x": axes.x, "color": colour}
    pointed = {**base, "y": y, "tooltip": tooltip(series.dimension)} | ({"shape": shape} if shape else {})
    band = {**base, "y": axes.y.encoding("low", axes.y_title), "y2": {"field": "high"}}
    data = {"values": list(points)}
    layers: list[dict[str, Any]] = []
    if any(point["low"] is not None for point in points):
        layers.append({"data": data, "mark": {"type": "area", "opacity": 0.22, "clip": True}, "encoding": band})
        if axes.places <= _AT_ONCE:
            bar = {"type": "rule", "strokeWidth": look.stroke * 0.7, "clip": True}
            layers.append({"data": data, "mark": bar, "encoding": band})
    line = {"type": "line", "strokeWidth": look.stroke, "clip": True}
    layers.append(
        {"data": data, "mark": line, "encoding": {**base, "y": y, "detail": {"field": series.dimension}}}
    )
    room = look.point if axes.places <= 40 else look.point * 0.45
    for kind, mark in _marks(room, look):
        kept = [point for point in points if _kind_of(point) == kind]
        if kept:
            encoding = (
                pointed
                if kind != "below"
                else {name: each for name, each in pointed.items() if name != "shape"}
            )
            layers.append(
                {"data": {"values": kept}, "mark": {**mark, "clip": kind != "below"}, "encoding": encoding}
            )
    return layers


def _kind_of(point: dict[str, Any]) -> str:
    return "below" if point["below"] else "hollow" if point["hollow"] else "full"


def _marks(room: float, look: Look) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("full", {"type": "point", "filled": True, "size": room, "opacity": 1}),
        (
            "hollow",
            {
                "type": "point",
                "filled": False,
                "fill": "white",
                "size": room * 1.3,
                "strokeWidth": look.stroke * 0.7,
            },
        ),
        ("below", {"type": "point", "filled": False, "shape": "triangle-down", "size": room * 2}),
    ]


def tooltip(dimension: str) -> list[dict[str, Any]]:
    """Return what is shown of a point under the pointer."""
    named = {
        "layer name": "layer",
        dimension: dimension,
        "shown": "value",
        "C": "C",
        "rows": "rows",
        "status": "status",
    }
    return [{"field": field, "type": "nominal", "title": title} for field, title in named.items()]


def across(lines: Sequence[Reference], axes: Axes, width: float, look: Look) -> list[dict[str, Any]]:
    """Return dotted lines across the plot, each with its label over its right end, moved apart where they are near."""
    kept = [line for line in lines if axes.y.inside(line.value) and math.isfinite(line.value)]
    rules = [{"value": line.value} for line in kept]
    if not rules:
        return []
    mark = {"type": "rule", "strokeDash": [2, 4], "color": GREY, "strokeWidth": max(1.0, look.stroke * 0.6)}
    layers = [
        {"data": {"values": rules}, "mark": mark, "encoding": {"y": axes.y.encoding("value", axes.y_title)}}
    ]
    high = look.font * 1.25
    lines_at = [axes.y.pixel(line.value, axes.height) for line in kept]
    beside = [at - 3 if at - 3 >= high else at + high + 1 for at in lines_at]  # below a line at the very top
    places = _apart(beside, high, axes.height - 2)
    for line, at in zip(kept, places, strict=True):
        words = (
            f"{safe(line.label)} {number(line.value, axes.y.unit)}"
            if line.label
            else number(line.value, axes.y.unit)
        )
        style = {"type": "text", "align": "right", "baseline": "bottom", "color": INK, "fontSize": look.font}
        channels = {"x": {"value": width - 3}, "y": {"value": at}, "text": {"field": "text", "type": "nominal"}}
        text = {"text": clipped(words, width - 8, look.font)}
        layers.append({"data": {"values": [text]}, "mark": style, "encoding": channels})
    return layers


def _apart(places: Sequence[float], least: float, height: float) -> list[float]:
    """Return places at least ``least`` apart and inside the plot, each as near its own as can be."""
    order = sorted(range(len(places)), key=places.__getitem__)
    moved: list[float] = []
    for index in order:
        moved.append(max(places[index], (moved[-1] if moved else 0.0) + least))
    limit = height
    for place in range(len(moved) - 1, -1, -1):
        moved[place] = min(moved[place], limit)
        limit = moved[place] - least
    by_index = dict(zip(order, moved, strict=True))
    return [by_index[index] for index in range(len(places))]
