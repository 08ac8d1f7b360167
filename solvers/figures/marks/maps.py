"""A figure of maps: panels, axes and title of what steps, classes and confusion choose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from solvers.figures.marks.heat import Cell, Colours, cells
from solvers.figures.parts.names import labels_of
from solvers.figures.parts.notes import notes_of
from solvers.figures.parts.panels import composed, grid_of, panels_of, title_lines
from solvers.figures.parts.places import horizontal, upright
from solvers.figures.parts.scale import scale_of
from solvers.figures.rows import DIMENSIONS, at_one_place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from solvers.figures.asked import Asked
    from solvers.figures.parts.look import Look
    from solvers.figures.rows import Shown

__all__ = ["Maps", "drawn"]

_CELL = 22
_SMALLEST = 2.6


@dataclass(frozen=True)
class Maps:
    """What is drawn as maps.

    Args:
        rows: the scores, one a cell.
        metric: of all of them.
        along: the dimensions of x and y.
        names: the places of x and of y, in order; the first of y is at the top.
        place: the place of a score on x and on y.
        axes: what x and y are called.
        title: of the figure.
        square: whether cells are as high as wide.
        pale: whether 0 is white, and more of it neither better nor worse.
        notes: further lines under the title.
    """

    rows: Sequence[Shown]
    metric: str
    along: tuple[str, ...]
    names: tuple[Sequence[str], Sequence[str]]
    place: Callable[[Shown], tuple[str, str]]
    axes: tuple[str, str]
    title: str
    square: bool = False
    pale: bool = False
    notes: Sequence[str] = ()


def drawn(what: Maps, asked: Asked, look: Look) -> dict[str, Any]:
    """Return the description of a figure of maps.

    Raises:
        FigureError: two scores claim one cell, there are too many panels, or nothing to draw.
    """
    at_one_place(what.rows, (*what.along, "layer", *DIMENSIONS))
    y = scale_of(what.rows, asked, what.metric)
    panels = panels_of(what.rows, what.along)
    room = look.font * (8 if look.width < 400 else 13)
    widest = labels_of(what.names[1], room, look.font).widest(look.font)
    grid = grid_of(look, len(panels), widest + 2.4 * look.font + 6)
    if what.square:
        grid = replace(grid, width=min(grid.width, look.plot_height * 1.6))
    height = _height(what, grid.width, look)
    below = horizontal(what.names[0], grid.width, look, what.axes[0])
    beside = upright(what.names[1], height, look, what.axes[1], room)
    pale = what.pale and asked.palette == "safe"
    colours = Colours.of(y, "pale" if pale else asked.palette, True if what.pale else None)
    slot = (grid.width / max(len(what.names[0]), 1), height / max(len(what.names[1]), 1))
    views = []
    for panel in panels:
        found = []
        for row in panel.rows:
            across, down = what.place(row)
            if row.finite:
                found.append(Cell(below.label(across), beside.label(down), row.score.value, row))
        views.append({"height": height, "layer": cells(found, (below, beside), colours, look, slot)})
    told = {name for panel in panels for name in panel.differs} | set(what.along)
    prefix = ", ".join(dict.fromkeys(each for each in (below.labels.prefix, beside.labels.prefix) if each))
    notes = [*notes_of(what.rows, y, told, prefix, intervals=False), *what.notes]
    head = title_lines(look, asked.title or what.title, notes)
    return composed(views, [panel.title for panel in panels], grid, look, head)


def _height(what: Maps, width: float, look: Look) -> float:
    """As high as the rows of cells want to be, within what the size has room for."""
    across, down = (max(len(names), 1) for names in what.names)
    if what.square:
        return min(width / across * down, look.most_height)
    wanted = down * min(_CELL, max(_SMALLEST * 1.6, look.font * 1.5))
    return min(max(wanted, look.plot_height * 0.6), look.most_height)
