"""A metric by the number of columns that a probe looks at, a curve a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from solvers.errors import FigureError
from solvers.figures.marks.curves import Curves, drawn
from solvers.figures.parts.places import of_few_layers
from solvers.figures.rows import chosen, metric_of, only_held_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.figures.asked import Asked
    from solvers.figures.parts.look import Look
    from solvers.figures.rows import Shown

_MOST_LAYERS = 7


def draw(rows: Sequence[Shown], asked: Asked, look: Look) -> dict[str, Any]:
    """Return curves by width, of one split; of many layers some, evenly chosen, unless ``layers`` names others.

    Files are merged: a width is a fit of its own, and mostly a file of its own.
    """
    whole = [
        row for row in chosen(rows, asked) if not row.score.part and row.score.kind not in ("path", "majority")
    ]
    whole = [row for row in whole if row.score.features is not None]
    if not whole:
        raise FigureError(
            "there is no width to plot: no score says how many columns its probe looks at; plot probe files"
        )
    metric = metric_of(whole, asked)
    whole = only_held_out([row for row in whole if row.score.metric == metric], asked)
    whole, notes = of_few_layers(whole, _MOST_LAYERS)
    what = Curves(
        whole,
        metric,
        "features",
        [f"{features:,}" for features in sorted({row.score.features or 0 for row in whole})],
        lambda row: f"{row.score.features:,}",
        "columns that the probe looks at",
        "by width",
        asked.overlay or "layer",
        lambda panel: asked.references,
        [line.value for line in asked.references],
        notes=notes,
        merged=("file",),
    )
    return drawn(what, asked, look)
