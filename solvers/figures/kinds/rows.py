"""A metric by the number of rows that a probe learned from, a panel a layer."""

from __future__ import annotations

from dataclasses import replace
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

_MOST_LAYERS = 6


def draw(rows: Sequence[Shown], asked: Asked, look: Look) -> dict[str, Any]:
    """Return curves by training rows, a colour a split; of many layers some, unless ``layers`` names others.

    Files and targets are merged: a number of rows is a fit of its own, and mostly a file or a target of its own.
    """
    task = [row for row in rows if not row.score.part and row.score.kind not in ("path", "majority")]
    metric = metric_of(task, asked)
    task = [row for row in task if row.score.metric == metric]
    learned = {_probe(row): row.score.rows for row in task if row.score.role == "fit"}
    whole = [
        replace(row, learned=learned[_probe(row)]) for row in chosen(task, asked) if _probe(row) in learned
    ]
    if not whole:
        raise FigureError(
            "there is no number of training rows to plot: no score is of the rows that its probe was fitted on; plot "
            "probe files, or tables that keep the split they were trained on"
        )
    untold = len({_probe(row) for row in chosen(task, asked)} - learned.keys())
    notes = [f"left out, as nothing says how many rows they learned from: {untold} fits"] if untold else []
    whole, few = of_few_layers(whole, _MOST_LAYERS)
    notes += few
    overlay = asked.overlay or "split"
    whole = whole if overlay == "split" else only_held_out(whole, asked)
    what = Curves(
        whole,
        metric,
        "learned",
        [f"{number:,}" for number in sorted({row.learned or 0 for row in whole})],
        lambda row: f"{row.learned:,}",
        "rows that the probe learned from",
        "by training rows",
        overlay,
        lambda panel: asked.references,
        [line.value for line in asked.references],
        notes=notes,
        merged=tuple(name for name in ("file", "target") if name != overlay),
    )
    return drawn(what, asked, look)


def _probe(row: Shown) -> tuple[Any, ...]:
    """Which probe a score is of."""
    return tuple(row.of(name) for name in ("file", "layer", "target", "step", "method", "seed", "fold"))
