"""Where the boxes of a network stand and where its edges run.

Rows stand in columns that are read from the top down, one after the other, so that 150 layers fit a page. An edge to
the next row is a straight line; every other one leaves through the gap under its row, runs beside the boxes in a lane
of its own, and comes back through the gap above the row that it leads to: no edge crosses a box.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.figures.network.layering import Edge, Layered

__all__ = ["Box", "Drawing", "Room", "placed"]

Point = tuple[float, float]
_BETWEEN = 6  # pixels between boxes of a row


@dataclass(frozen=True)
class Room:
    """Lengths in pixels: the width there is, the greatest height, a box's height, the least width, the gap under it."""

    width: float
    height: float
    box: float
    least: float
    gap: float
    lane: float

    @property
    def widest(self) -> float:
        """The width of a box that has all the room it wants."""
        return 12 * self.box

    @property
    def pitch(self) -> float:
        """From one row to the next."""
        return self.box + self.gap


@dataclass(frozen=True)
class Box:
    """Where a layer stands; ``x`` and ``y`` are its left upper corner."""

    name: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Drawing:
    """Boxes, and for each edge the points that it runs through."""

    boxes: tuple[Box, ...]
    ways: tuple[tuple[Edge, tuple[Point, ...]], ...]
    width: float
    height: float


def placed(network: Layered, room: Room) -> Drawing:
    """Return the drawing of a network."""
    columns, rows = _columns(network, room)
    side = _Lanes(network, rows, columns, room)
    boxes: dict[str, Box] = {}
    for number, row in enumerate(rows):
        column, line = side.column_of[number], side.line_of[number]
        left, width = side.left(column), side.inner
        own = min((width - (len(row) - 1) * _BETWEEN) / len(row), room.widest)
        start = left + (width - own * len(row) - _BETWEEN * (len(row) - 1)) / 2
        for at, name in enumerate(row):
            boxes[name] = Box(name, start + at * (own + _BETWEEN), side.top + line * room.pitch, own, room.box)
    ways = tuple((edge, side.way(edge, boxes)) for edge in network.edges)
    height = side.top + max((side.line_of[number] + 1 for number in range(len(rows))), default=1) * room.pitch
    return Drawing(tuple(boxes.values()), ways, side.left(columns), height)


def _columns(network: Layered, room: Room) -> tuple[int, list[tuple[str, ...]]]:
    """How many columns there are, and the rows, in which wide ones are broken."""
    count = 1
    while True:
        most = max(1, math.floor((room.width / count - 5 * room.lane) / room.least))
        rows = [row[at : at + most] for row in network.rows for at in range(0, len(row), most)]
        lines = math.floor(room.height / room.pitch)
        if math.ceil(len(rows) / count) <= lines or room.width / (count + 1) < room.least + 5 * room.lane:
            return count, rows
        count += 1


class _Lanes:
    """The ways of edges beside the boxes: each gets a lane that is free over its whole length."""

    def __init__(self, network: Layered, rows: Sequence[Sequence[str]], columns: int, room: Room) -> None:
        self.room, self.columns = room, columns
        lines = max(1, math.ceil(len(rows) / columns))
        self.column_of = [number // lines for number in range(len(rows))]
        self.line_of = [number % lines for number in range(len(rows))]
        self.row_of = {name: number for number, row in enumerate(rows) for name in row}
        self.place_in_row = {name: at for row in rows for at, name in enumerate(row)}
        self.taken: dict[tuple[int, int], list[tuple[float, float, str]]] = defaultdict(list)
        self.lanes: dict[tuple[Edge, int], int] = {}
        self.over: dict[Edge, int] = {}
        # An edge that passes over columns runs above all of them, in a line of its own for each source.
        sources = list(dict.fromkeys(edge[0] for edge in network.edges if self._far(edge)))
        self.over = {edge: sources.index(edge[0]) for edge in network.edges if self._far(edge)}
        self.top = (len(sources) + 1) * 4.0 + 4
        for edge in sorted(network.edges, key=self._length):
            self._take_lanes(edge)
        widest = max((lane + 1 for lane in self.lanes.values()), default=0)
        self.lane = min(room.lane, room.width / columns * 0.35 / max(widest + 1, 1))
        self.gutter = (widest + 1) * self.lane
        most = max((len(row) for row in rows), default=1)
        wanted = most * room.widest + (most - 1) * _BETWEEN
        self.inner = min(room.width / columns - self.gutter, wanted)  # lanes stay near the boxes

    def left(self, column: int) -> float:
        """Return where the boxes of a column begin."""
        return column * (self.inner + self.gutter)

    def straight(self, edge: Edge) -> bool:
        """Whether an edge leads to the next row of the same column."""
        source, to = (self.row_of[name] for name in edge)
        return self.column_of[source] == self.column_of[to] and to == source + 1

    def _far(self, edge: Edge) -> bool:
        source, to = (self.column_of[self.row_of[name]] for name in edge)
        return to not in (source, source + 1)

    def _length(self, edge: Edge) -> tuple[int, int]:
        source, to = (self.row_of[name] for name in edge)
        return abs(to - source), source

    def _spans(self, edge: Edge) -> list[tuple[int, float, float]]:
        """The gutters that an edge runs in, each with the lines it covers; gutter 0 is right of the first column."""
        source, to = (self.row_of[name] for name in edge)
        first, last = self.line_of[source] + 0.6, self.line_of[to] - 0.4
        if not self._far(edge):
            return [(self.column_of[source], min(first, last), max(first, last))]
        return [(self.column_of[source], -1, first), (self.column_of[to] - 1, -1, last)]

    def _take_lanes(self, edge: Edge) -> None:
        if self.straight(edge):
            return
        for part, (gutter, low, high) in enumerate(self._spans(edge)):
            lane = 0
            # Edges of one source may share a lane: they are one line that branches.
            while any(
                low < other_high and other_low < high and source != edge[0]
                for other_low, other_high, source in self.taken[gutter, lane]
            ):
                lane += 1
            self.taken[gutter, lane].append((low, high, edge[0]))
            self.lanes[edge, part] = lane

    def way(self, edge: Edge, boxes: dict[str, Box]) -> tuple[Point, ...]:
        """Return the points that an edge runs through."""
        source, to = boxes[edge[0]], boxes[edge[1]]
        start, end = (source.x + source.width / 2, source.y + source.height), (to.x + to.width / 2, to.y)
        if self.straight(edge):
            return (start, end)
        # What leaves the same gap runs at heights of its own, as far as there is room.
        leave = start[1] + (0.25 + 0.18 * min(self.place_in_row[edge[0]], 3)) * self.room.gap
        arrive = end[1] - (0.35 + 0.12 * min(self.place_in_row[edge[1]], 3)) * self.room.gap
        x = [self._x(gutter, self.lanes[edge, part]) for part, (gutter, _, _) in enumerate(self._spans(edge))]
        if len(x) == 1:
            return (start, (start[0], leave), (x[0], leave), (x[0], arrive), (end[0], arrive), end)
        above = 2 + self.over[edge] * 4.0
        return (
            start,
            (start[0], leave),
            (x[0], leave),
            (x[0], above),
            (x[1], above),
            (x[1], arrive),
            (end[0], arrive),
            end,
        )

    def _x(self, gutter: int, lane: int) -> float:
        if gutter < 0:
            return -self.lane * (lane + 1)
        return self.left(gutter) + self.inner + self.lane * (lane + 0.8)
