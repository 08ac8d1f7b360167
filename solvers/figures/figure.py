"""Every figure's door: scores in, one Vega-Lite description out."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from solvers.figures.asked import asked
from solvers.figures.parts.look import Look
from solvers.figures.scores import edges_of, scores_of, shown
from solvers.probing.scores.split_names import own_splits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from solvers.figures.asked import Asked
    from solvers.figures.rows import Shown
    from solvers.probing.probes import Probes

__all__ = ["description", "plot"]


def description(rows: Sequence[Shown], asked: Asked) -> dict[str, Any]:
    """Return the Vega-Lite description of a figure, plain JSON.

    Args:
        rows: scores, each with what its file is called; in network order.
        asked: which figure.

    Raises:
        FigureError: the scores cannot be drawn so; the message says why, and what can.
    """
    draw = import_module(f"solvers.figures.kinds.{asked.kind}").draw
    return draw(rows, asked, Look.of(asked))


def plot(probes: Probes | Mapping[str, Probes], kind: str = "depth", **options: Any) -> Any:
    """Return a figure of probes, or of several by name, that a notebook shows (an altair chart).

    Args:
        probes: whose scores are drawn.
        kind: a word of ``KINDS``.
        options: the other fields of ``Asked``, as plain values: ``metric="error"``, ``steps=[0, 500]``,
            ``references=(0.02, "the model itself")``, ``edges=[("conv1", "relu1")]``.

    Raises:
        FigureError: an option or a word that there is not, or scores that cannot be drawn so.
    """
    from solvers.figures.chart import notebook_chart
    from solvers.probing.probes import Probes

    by_name = {"": probes} if isinstance(probes, Probes) else dict(probes)
    every = [probe for each in by_name.values() for probe in each.values()]
    what = asked(kind, **options)
    what = replace(what, splits=own_splits(every, what.splits))
    if kind == "graph" and what.edges is None:
        what = replace(what, edges=edges_of(every))
    return notebook_chart(
        description(shown([(name, scores_of(each, what)) for name, each in by_name.items()]), what)
    )
