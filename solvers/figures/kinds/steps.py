"""A map of a metric: training steps across, layers from the first at the bottom to the last at the top."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from solvers.figures.marks.maps import Maps, drawn
from solvers.figures.parts.notes import title_of
from solvers.figures.parts.places import layers_in_order
from solvers.figures.rows import chosen, distinct, metric_of, only_held_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.figures.asked import Asked
    from solvers.figures.parts.look import Look
    from solvers.figures.rows import Shown


def draw(rows: Sequence[Shown], asked: Asked, look: Look) -> dict[str, Any]:
    """Return a map of layers by steps, of one split."""
    whole = [
        row for row in chosen(rows, asked) if not row.score.part and row.score.kind not in ("path", "majority")
    ]
    metric = metric_of(whole, asked)
    whole = only_held_out([row for row in whole if row.score.metric == metric], asked)
    what = Maps(
        whole,
        metric,
        ("step", "layer"),
        ([str(step) for step in distinct(whole, "step")], layers_in_order(whole)[::-1]),
        lambda row: (str(row.score.step), row.score.layer),
        ("training step", "layer"),
        title_of(whole, metric, "by layer and step"),
    )
    return drawn(what, asked, look)
