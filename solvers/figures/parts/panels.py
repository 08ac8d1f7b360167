"""From the panels of a figure to one description: how wide each may be, the title over all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from solvers.errors import FigureError
from solvers.figures.parts.look import GREY, INK, config
from solvers.figures.parts.names import clipped, safe, wrapped
from solvers.figures.rows import DIMENSIONS, distinct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from solvers.figures.parts.look import Look
    from solvers.figures.rows import Shown

__all__ = ["Grid", "Panel", "composed", "grid_of", "panels_of", "title_lines"]

MOST_PANELS = 24
_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
_SPACING = 12


@dataclass(frozen=True)
class Panel:
    """The scores of one panel, and what they have that the other panels' have not."""

    rows: tuple[Shown, ...]
    differs: Mapping[str, Any]

    @property
    def title(self) -> str:
        """What tells it from the other panels."""
        words = [
            f"{name} {value}" if name in ("step", "seed", "fold") else safe(value)
            for name, value in self.differs.items()
        ]
        return " · ".join(words)


def panels_of(rows: Sequence[Shown], inside: Sequence[str]) -> list[Panel]:
    """Return panels: what differs in a dimension that is not told apart ``inside`` is apart.

    Raises:
        FigureError: more panels than anybody looks at.
    """
    outside = [name for name in (*DIMENSIONS, "layer") if name not in inside and len(distinct(rows, name)) > 1]
    values = {name: distinct(rows, name) for name in outside}
    apart: dict[tuple[int, ...], list[Shown]] = {}
    for row in rows:
        apart.setdefault(tuple(values[name].index(row.of(name)) for name in outside), []).append(row)
    if len(apart) > MOST_PANELS:
        counts = ", ".join(f"{len(each)} {name}s" for name, each in values.items())
        msg = (
            f"the figure would have {len(apart)} panels ({counts}), and {MOST_PANELS} are the most; choose some with "
            "--target, --step, --split or --layers, or tell one kind apart by colour with --overlay"
        )
        raise FigureError(msg)
    return [
        Panel(tuple(apart[key]), {name: values[name][at] for name, at in zip(outside, key, strict=True)})
        for key in sorted(apart)
    ]


@dataclass(frozen=True)
class Grid:
    """How panels are set: ``width`` and ``height`` are of one plot, without its axes."""

    columns: int
    width: float
    height: float
    left: float


def grid_of(look: Look, count: int, left: float, height: float | None = None) -> Grid:
    """Return the grid of ``count`` panels whose axes take ``left`` pixels beside the plot."""
    most = {True: 2, False: 3}[look.width < 400]
    columns = min(count, 2 if count == 4 else most)
    room = look.width - 8 - 2 * look.point**0.5 - _SPACING * (columns - 1)
    plot = max(room / columns - left, 40)
    tall = look.plot_height if count == 1 else look.plot_height * (0.8 if columns < 3 else 0.62)
    return Grid(columns, plot, height or tall, left)


def title_lines(look: Look, title: str, notes: Sequence[str]) -> dict[str, Any]:
    """Return the title of a figure: what it shows, and below it of what, smaller; each line fits the width."""
    room = look.width - 14
    small = look.font * 0.95
    below = [line for note in notes if note for line in wrapped(safe(note), room, small, 3)]
    return {
        "text": wrapped(safe(title), room, look.title * 1.05, 2),
        "subtitle": below,
        "anchor": "start",
        "frame": "bounds",
        "fontSize": look.title,
        "fontWeight": "bold",
        "subtitleFontSize": small,
        "offset": 6,
    }


def composed(
    views: Sequence[dict[str, Any]], titles: Sequence[str], grid: Grid, look: Look, head: dict[str, Any]
) -> dict[str, Any]:
    """Return one description of all panels."""
    used = grid.columns * (grid.left + grid.width) + (grid.columns - 1) * _SPACING
    edges = {
        "left": 4,
        "top": 4,
        "bottom": 4,
        "right": max(4.0, look.width - used - 4),
    }  # wide enough for the title
    common = {"$schema": _SCHEMA, "title": head, "config": config(look), "padding": edges}
    sized = [{"width": grid.width, "height": grid.height, **view} for view in views]
    if len(sized) == 1:
        return {**common, **sized[0]}
    for view, text in zip(sized, titles, strict=True):
        view["title"] = {
            "text": clipped(text, grid.width + grid.left * 0.6, look.font),
            "fontSize": look.font,
            "fontWeight": "normal",
            "color": INK,
            "anchor": "start",
            "offset": 4,
        }
    return {
        **common,
        "concat": sized,
        "columns": grid.columns,
        "spacing": _SPACING,
        "resolve": {"scale": {"color": "shared", "shape": "shared"}},
    }


def legend(labels: Sequence[str], widest: float, look: Look) -> dict[str, Any] | None:
    """Return a legend above the plots, in as many columns as have room; None where there is one series."""
    if len(labels) < 2:
        return None
    columns = max(1, math.floor((look.width - 20) / (widest + 3 * look.font + 16)))
    return {
        "orient": "top",
        "direction": "horizontal",
        "title": None,
        "columns": min(columns, len(labels)),
        "symbolSize": look.point * 2,
        "symbolStrokeWidth": look.stroke,
        "symbolOpacity": 1,
        "offset": 2,
        "labelColor": GREY,
    }
