"""What is asked of a figure: one value, built at the two doors (`probe plot`, ``probes.plot``) and checked here."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from solvers.errors import FigureError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["KINDS", "OVERLAYS", "PALETTES", "SCALES", "SIZES", "Asked", "Edges", "Reference", "asked"]

KINDS = ("depth", "steps", "width", "rows", "path", "classes", "confusion", "calibration", "compare", "graph")
SCALES = ("linear", "log")
SIZES = ("column", "page", "slide")
PALETTES = ("safe", "red-blue")
OVERLAYS = ("split", "file", "target", "step", "method", "kind", "seed", "fold")
"""What may be told apart by colour within one panel; what else differs becomes a panel of its own."""
_MOST_REFERENCES = 8
_WITHOUT = {
    "references": ("steps", "confusion", "calibration", "graph"),
    "overlay": ("steps", "confusion", "calibration", "graph"),
    "palette": ("depth", "width", "rows", "path", "calibration", "compare"),
    "metric": ("confusion", "calibration"),
    "edges": tuple(kind for kind in KINDS if kind != "graph"),
}
"""Options that some kinds would pass over in silence, and are refused by."""
_UNSAID = {"references": (), "palette": "safe"}


@dataclass(frozen=True)
class Reference:
    """A line across the figure, such as the model's own error."""

    value: float
    label: str = ""


@dataclass(frozen=True)
class Edges:
    """Which layer feeds which, (from, to), and who said so."""

    pairs: tuple[tuple[str, str], ...]
    told_by: str


@dataclass(frozen=True)
class Asked:
    """A figure's kind, what it shows and how it looks.

    Args:
        kind: a word of ``KINDS``.
        metric: of the scores; None for the error, or the first metric where there is none.
        scale: of the values, ``linear`` or ``log``.
        ylim: the least and largest value shown; what lies outside is counted in the subtitle.
        references: lines across.
        layers, targets, steps, splits: what is shown of each; empty for all.
        overlay: what colours tell apart; the splits where it is None.
        size: ``column`` (8.5 cm), ``page`` or ``slide``.
        palette: of maps and graphs: ``safe`` for every eye, or the paper's ``red-blue``.
        title: instead of the figure's own.
        edges: of the network, for ``graph``; None where nothing was recorded.
    """

    kind: str = "depth"
    metric: str | None = None
    scale: str = "linear"
    ylim: tuple[float, float] | None = None
    references: tuple[Reference, ...] = ()
    layers: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()
    splits: tuple[str, ...] = ()
    overlay: str | None = None
    size: str = "page"
    palette: str = "safe"
    title: str | None = None
    edges: Edges | None = None

    def __post_init__(self) -> None:
        for name, words in (
            ("kind", KINDS),
            ("scale", SCALES),
            ("size", SIZES),
            ("palette", PALETTES),
            ("overlay", (*OVERLAYS, None)),
        ):
            if getattr(self, name) not in words:
                known = ", ".join(str(word) for word in words if word)
                msg = f"{name} is {getattr(self, name)!r}; expected one of {known}"
                raise FigureError(msg)
        for option, kinds in _WITHOUT.items():
            if getattr(self, option) != _UNSAID.get(option) and self.kind in kinds:
                msg = f"{option} means nothing to the kind {self.kind!r}; leave it out, or choose another kind"
                raise FigureError(msg)
        _check_limits(self.ylim, self.scale)
        if len(self.references) > _MOST_REFERENCES:
            msg = f"{len(self.references)} reference lines are too many; leave some out, {_MOST_REFERENCES} fit"
            raise FigureError(msg)
        for reference in self.references:
            if not math.isfinite(reference.value) or (self.scale == "log" and reference.value <= 0):
                msg = f"the reference {reference.value} cannot be drawn on a {self.scale} scale; give another value"
                raise FigureError(msg)


def _check_limits(ylim: tuple[float, float] | None, scale: str) -> None:
    if ylim is None:
        return
    low, high = ylim
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        msg = f"ylim is {low} {high}; expected two numbers, the smaller one first"
        raise FigureError(msg)
    if scale == "log" and low <= 0:
        msg = f"ylim begins at {low}, where a logarithmic scale has no place; begin above 0, or use the scale linear"
        raise FigureError(msg)


def asked(kind: str = "depth", **options: Any) -> Asked:
    """Return an ``Asked`` of plain Python values: one name or several, a number as a reference, pairs as edges.

    Raises:
        FigureError: an option or a word that there is not.
    """
    names = [each.name for each in fields(Asked)]
    for name in options:
        if name not in names:
            near = get_close_matches(name, names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(names)}"
            msg = f"a figure has no option {name!r}{hint}"
            raise FigureError(msg)
    given: dict[str, Any] = dict(options)
    for name in ("layers", "targets", "steps", "splits"):
        if name in given:
            given[name] = _several(given[name])
    if given.get("ylim") is not None:
        given["ylim"] = _limits(given["ylim"])
    if "references" in given:
        one = given["references"]
        pair = isinstance(one, tuple) and len(one) == 2 and isinstance(one[1], str)
        given["references"] = tuple(map(_reference, [one] if pair else _several(one)))
    if given.get("edges") is not None and not isinstance(given["edges"], Edges):
        given["edges"] = Edges(tuple((str(source), str(to)) for source, to in given["edges"]), "given")
    return Asked(kind, **given)


def _several(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str | int | float | Reference) else tuple(value)


def _limits(value: Sequence[float]) -> tuple[float, float]:
    try:
        low, high = map(float, value)
    except (TypeError, ValueError) as error:
        msg = f"ylim is {value!r}; expected two numbers, the smaller one first"
        raise FigureError(msg) from error
    return low, high


def _reference(value: Any) -> Reference:
    if isinstance(value, Reference):
        return value
    try:
        number, label = (value, "") if isinstance(value, int | float) else value
        return Reference(float(number), str(label))
    except (TypeError, ValueError) as error:
        msg = f"the reference is {value!r}; expected a number, or (number, label)"
        raise FigureError(msg) from error
