"""A metric by layer, in the order of the network; `majority` is a dotted line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from solvers.figures.asked import Reference
from solvers.figures.marks.curves import Curves, drawn
from solvers.figures.parts.names import safe
from solvers.figures.parts.places import layers_in_order
from solvers.figures.parts.scale import number
from solvers.figures.rows import chosen, distinct, metric_of, only_held_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.figures.asked import Asked
    from solvers.figures.parts.look import Look
    from solvers.figures.parts.panels import Panel
    from solvers.figures.rows import Shown

_MAJORITY = "majority"
_MOST_LINES = 8
_FAR = 3  # times the largest value that is drawn


def draw(rows: Sequence[Shown], asked: Asked, look: Look) -> dict[str, Any]:
    """Return curves by layer, a panel for whatever differs beyond the colours."""
    whole = [row for row in chosen(rows, asked) if not row.score.part and row.score.kind != "path"]
    metric = metric_of([row for row in whole if row.score.kind != _MAJORITY], asked)
    whole = [row for row in whole if row.score.metric == metric]
    curve = [row for row in whole if row.score.kind != _MAJORITY]
    overlay = asked.overlay or "split"
    if overlay != "split":
        curve = only_held_out(curve, asked)
    splits = distinct(curve, "split")
    always = [
        row for row in whole if row.score.kind == _MAJORITY and row.of("split") == splits[-1] and row.finite
    ]

    above = _far_above(always, curve, asked)
    always = [] if above else always

    def lines(panel: Panel) -> list[Reference]:
        own = [row for row in always if _in(row, panel)]
        values = list(dict.fromkeys(row.score.value for row in own))
        if len(values) < 2:
            return [*asked.references, *(Reference(value, _MAJORITY) for value in values)]
        named = {row.score.value: f"{_MAJORITY} {safe(row.of(overlay))}" for row in reversed(own)}
        return [*asked.references, *(Reference(value, named[value]) for value in values[:_MOST_LINES])]

    what = Curves(
        curve,
        metric,
        "layer",
        layers_in_order(curve),
        lambda row: row.score.layer,
        "layer, in network order",
        "by layer",
        overlay,
        lines,
        [*(line.value for line in asked.references), *(row.score.value for row in always)],
        notes=[above] if above else [],
    )
    return drawn(what, asked, look)


def _far_above(always: Sequence[Shown], curve: Sequence[Shown], asked: Asked) -> str:
    """Return what is said of `majority` where its line would press the curves to the axis; "" where it is drawn."""
    ends = [
        max(row.score.value, row.score.high) for row in curve if row.finite
    ]  # a high of NaN leaves the value
    values = sorted({row.score.value for row in always})
    if not values or not ends or asked.ylim is not None or values[0] <= _FAR * max(ends):
        return ""
    least, most = (number(value, curve[0].score.unit) for value in (values[0], values[-1]))
    return f"majority {least if least == most else f'{least} to {most}'}, above the axis"


def _in(row: Shown, panel: Panel) -> bool:
    """Whether a score of `majority` is about the rows of a panel; it has a kind and a method of its own."""
    apart = {name: value for name, value in panel.differs.items() if name in ("file", "target", "step", "fold")}
    return all(row.of(name) == value for name, value in apart.items())
