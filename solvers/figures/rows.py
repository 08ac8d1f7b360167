"""The scores that a figure shows: chosen, told apart by what differs, and refused where two claim one place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from solvers.errors import FigureError
from solvers.figures.parts.names import safe
from solvers.metrics import registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from solvers.figures.asked import Asked
    from solvers.scoring.score import Score

__all__ = [
    "DIMENSIONS",
    "Shown",
    "at_one_place",
    "chosen",
    "distinct",
    "lower_is_better",
    "metric_of",
    "not_optimal",
    "only_held_out",
]

DIMENSIONS = ("file", "target", "step", "kind", "method", "seed", "fold", "split")
"""What tells two scores of one layer and metric apart."""
USUAL = ("train", "val", "test")
_CERTIFIED = ("converged", "unpenalised")


@dataclass(frozen=True)
class Shown:
    """A score, and what the file that it is from is called here.

    ``divided``: its rows are no training rows, but groups of training rows are among them. ``learned``: how many rows
    its probe was fitted on, where a figure needs that.
    """

    score: Score
    file: str = ""
    divided: bool = False
    learned: int | None = None

    def of(self, dimension: str) -> Any:
        """Return what a score has in a dimension."""
        return getattr(self if dimension in ("file", "learned") else self.score, dimension)

    @property
    def finite(self) -> bool:
        """Whether there is a value."""
        return math.isfinite(self.score.value)


def lower_is_better(metric: str) -> bool:
    """Whether less of a metric is more; of one that nobody knows here, more is."""
    return metric in registry.names() and not registry.get(metric).higher_is_better


def not_optimal(rows: Iterable[Shown]) -> list[Shown]:
    """Return the scores of probes that are not proven to be optimal."""
    return [row for row in rows if str(row.score.status) not in _CERTIFIED]


def distinct(rows: Iterable[Shown], dimension: str) -> list[Any]:
    """Return the values in a dimension: steps ascending, the usual splits in their order, others as they come."""
    found = list(dict.fromkeys(row.of(dimension) for row in rows))
    if dimension == "step":
        return sorted(found)
    if dimension == "split":
        return [split for split in USUAL if split in found] + [split for split in found if split not in USUAL]
    return found


def metric_of(rows: Sequence[Shown], asked: Asked) -> str:
    """Return the metric that is drawn.

    Raises:
        FigureError: no score has it.
    """
    there = list(dict.fromkeys(row.score.metric for row in rows))
    if not there:
        raise FigureError("there is nothing to plot: no score was given; see `probe show`")
    if asked.metric is None:
        return "error" if "error" in there else there[0]
    if asked.metric not in there:
        raise FigureError(_missing("metric", asked.metric, there))
    return asked.metric


def chosen(rows: Iterable[Shown], asked: Asked) -> list[Shown]:
    """Return the scores of the layers, targets, steps and splits asked for; all where none is.

    Raises:
        FigureError: one that is asked for and not there.
    """
    kept = list(rows)
    for name in ("layer", "target", "step", "split"):
        wanted = getattr(asked, f"{name}s")
        there = distinct(kept, name)
        for each in wanted:
            if each not in there:
                raise FigureError(_missing(name, each, there))
        if wanted:
            kept = [row for row in kept if row.of(name) in wanted]
    return kept


def _missing(what: str, asked: Any, there: Sequence[Any]) -> str:
    names = ", ".join(safe(each) for each in there[:12]) + (", ..." if len(there) > 12 else "")
    near = get_close_matches(str(asked), list(map(str, there)), 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"there is no score of {what} {asked!r}{hint}; there is {names or 'none'}"


def only_held_out(rows: Sequence[Shown], asked: Asked) -> list[Shown]:
    """Return the scores of one split where a figure has room for one: the last that nothing was chosen on.

    Raises:
        FigureError: several splits were asked for.
    """
    splits = distinct(rows, "split")
    if len(splits) < 2:
        return list(rows)
    if len(asked.splits) > 1:
        msg = f"this figure shows one split, and {len(asked.splits)} were asked for; name one"
        raise FigureError(msg)
    held_out = [
        split
        for split in splits
        if any(row.of("split") == split and row.score.role == "held_out" for row in rows)
    ]
    usual = [split for split in held_out if split in USUAL]
    split = (usual or held_out or splits)[-1]
    return [row for row in rows if row.of("split") == split]


def at_one_place(rows: Sequence[Shown], places: Sequence[str]) -> None:
    """Refuse two scores that claim one place of a figure.

    Raises:
        FigureError: which, and what they differ in.
    """
    seen: dict[tuple[Any, ...], Shown] = {}
    for row in rows:
        other = seen.setdefault(tuple(row.of(place) for place in places), row)
        if other is row:
            continue
        known = [name for name in ("C", "value", "status", "features") if row.of(name) != other.of(name)]
        msg = (
            f"two scores are of layer {row.score.layer!r}, target {row.score.target!r}, step {row.score.step} and "
            f"split {row.score.split!r}; they differ in {', '.join(known) or 'nothing'}, and a place of a figure has "
            "one value: leave one out, or plot them apart"
        )
        raise FigureError(msg)
