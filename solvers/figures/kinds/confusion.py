"""What the rows of each class are taken for, one layer a panel; the last layer where none is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from solvers.errors import FigureError
from solvers.figures.marks.maps import Maps, drawn
from solvers.figures.parts.names import safe
from solvers.figures.parts.places import layers_in_order
from solvers.figures.rows import chosen, only_held_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.figures.asked import Asked
    from solvers.figures.parts.look import Look
    from solvers.figures.rows import Shown

METRIC = "confusion"
_BETWEEN = ">"


def draw(rows: Sequence[Shown], asked: Asked, look: Look) -> dict[str, Any]:
    """Return a map of true class by predicted class; a row of cells adds up to 1."""
    every = [row for row in chosen(rows, asked) if row.score.metric == METRIC and row.score.part]
    if not every:
        raise FigureError(
            "there is no confusion to plot: these scores have no parts `true>predicted`; the probe file needs its "
            "predictions (fit without --no-predictions)"
        )
    every = only_held_out(every, asked)
    notes = []
    if not asked.layers:
        last = layers_in_order(every)[-1]
        every = [row for row in every if row.score.layer == last]
        notes = [f"layer {safe(last)}"]
    pairs = pairs_of({row.score.part for row in every})
    truths = list(dict.fromkeys(pairs[row.score.part][0] for row in every))
    classes = list(dict.fromkeys([*truths, *(pairs[row.score.part][1] for row in every)]))
    targets = {row.score.target for row in every}
    of = f" of {safe(next(iter(targets)))}" if len(targets) == 1 else ""
    what = Maps(
        every,
        METRIC,
        ("part",),
        (classes, truths),
        lambda row: (pairs[row.score.part][1], pairs[row.score.part][0]),
        ("predicted", "true class"),
        f"Confusion{of}: share of each true class's rows, in percent",
        square=True,
        pale=True,
        notes=notes,
    )
    return drawn(what, asked, look)


def pairs_of(parts: set[str]) -> dict[str, tuple[str, str]]:
    """Return the true and predicted class of each part `true>predicted`, also where names hold a `>`.

    A class that has rows stands on both sides of its own part, `x>x`: so the classes are known, and a part is read as
    two of them, or as one of them and a class without rows.

    Raises:
        FigureError: a part that can be read in two ways.
    """
    known = {part[: len(part) // 2] for part in parts if part == _BETWEEN.join([part[: len(part) // 2]] * 2)}
    pairs = {}
    for part in parts:
        ways = [(part[:at], part[at + 1 :]) for at, character in enumerate(part) if character == _BETWEEN]
        both = [way for way in ways if set(way) <= known]
        likely = both or [way for way in ways if way[0] in known] or ways
        if len(likely) != 1:
            msg = (
                f"the part {part!r} can be read in {len(likely)} ways as `true>predicted`, since a class has a `>` in "
                "its name; rename that class to plot its confusion"
            )
            raise FigureError(msg)
        pairs[part] = likely[0]
    return pairs
