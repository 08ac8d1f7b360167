"""A metric along C, one panel a layer; the chosen C has a ring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from solvers.errors import FigureError
from solvers.figures.marks.curves import Curves, drawn
from solvers.figures.parts.places import of_few_layers
from solvers.figures.rows import chosen, metric_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.figures.asked import Asked
    from solvers.figures.parts.look import Look
    from solvers.figures.rows import Shown

_MOST_LAYERS = 6


def draw(rows: Sequence[Shown], asked: Asked, look: Look) -> dict[str, Any]:
    """Return curves along C; of many layers some, evenly chosen, unless ``layers`` names others."""
    whole = [row for row in chosen(rows, asked) if not row.score.part and row.score.kind in ("path", "task")]
    if not any(row.score.kind == "path" for row in whole):
        raise FigureError(
            "there is no path to plot: one C was tried, or its rows were not scored; fit with several, --C 0.01,0.1,1"
        )
    metric = metric_of([row for row in whole if row.score.kind == "path"], asked)
    taken = {(_probe(row), row.score.C) for row in whole if row.score.kind == "task"}
    splits = {row.score.split for row in whole if row.score.kind == "path" and row.score.metric == metric}
    whole = _once([row for row in whole if row.score.metric == metric and row.score.split in splits])
    whole, notes = of_few_layers(whole, _MOST_LAYERS)
    what = Curves(
        whole,
        metric,
        "C",
        [f"{penalty:g}" for penalty in sorted({row.score.C for row in whole})],
        lambda row: f"{row.score.C:g}",
        "C, weaker penalty to the right",
        "along C",
        asked.overlay or "split",
        lambda panel: asked.references,
        [line.value for line in asked.references],
        lambda row: (_probe(row), row.score.C) in taken,
        ["ring: the C that was chosen", *notes],
        ("kind",),
    )
    return drawn(what, asked, look)


def _probe(row: Shown) -> tuple[Any, ...]:
    """Which fit a score is of, whatever its C."""
    return tuple(row.of(name) for name in ("file", "layer", "target", "step", "method", "seed"))


def _once(rows: Sequence[Shown]) -> list[Shown]:
    """The chosen C may stand in the path, too: its own score is kept."""
    own = {
        (_probe(row), row.score.split, row.score.fold, row.score.C) for row in rows if row.score.kind == "task"
    }
    return [
        row
        for row in rows
        if row.score.kind == "task" or (_probe(row), row.score.split, row.score.fold, row.score.C) not in own
    ]
