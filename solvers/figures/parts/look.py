"""How figures look: sizes, colours, fonts. Colours are told apart by every eye (Okabe and Ito; cividis)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.figures.asked import Asked

__all__ = ["GREY", "INK", "Look", "colours_for", "ramp"]

INK, GREY, PALE = "#1f2933", "#6b7785", "#e4e7eb"
_SPLITS = {"train": "#8a94a0", "val": "#E69F00", "test": "#0072B2"}
_SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#1f2933")
_CIVIDIS = (
    "#00224e",
    "#123570",
    "#3b496c",
    "#575d6d",
    "#707173",
    "#8a8678",
    "#a59c74",
    "#c3b369",
    "#e1cc55",
    "#fee838",
)
_RED_BLUE = ("#2b45b0", "#4f6cc9", "#8093d8", "#b5b3d3", "#d3aeb6", "#d9808a", "#c94b5b", "#ae1f35")
"""From the paper: what a probe reads well is blue, what it does not is red."""
_PALE = ("#f7f9fc", "#d3e0ef", "#a3c0de", "#6a99c8", "#3a72ac", "#1c4f88", "#0b2f5e")


@dataclass(frozen=True)
class Look:
    """Lengths in pixels, 96 to the inch: ``width`` is that of the whole figure.

    ``column`` is 8.5 cm wide with letters of 7 points, ``page`` what a screen or a page of text has room for, ``slide``
    two thirds of a slide of 1,440 pixels with letters that the last row reads.
    """

    width: int
    plot_height: int
    most_height: int
    font: float
    title: float
    stroke: float
    point: float
    pixels: float  # of a PNG, for each pixel here

    @staticmethod
    def of(asked: Asked) -> Look:
        """Return the look of a size."""
        return _LOOKS[asked.size]


_LOOKS = {
    "column": Look(321, 150, 620, 9.4, 10.6, 1.2, 14, 4),
    "page": Look(680, 300, 900, 11, 13.5, 2, 36, 2),
    "slide": Look(960, 400, 540, 17, 22, 3, 90, 2),
}


def colours_for(dimension: str, values: Sequence[Any]) -> list[str]:
    """Return a colour for each value: fixed ones for the usual splits, a ramp for steps and where there are many."""
    if dimension == "step" or len(values) > len(_SERIES):
        return [ramp("safe", (place + 0.5) / len(values) * 0.92) for place in range(len(values))]
    if dimension != "split":
        return list(_SERIES[: len(values)])
    others = iter([colour for colour in _SERIES if colour not in _SPLITS.values()] * len(values))
    return [_SPLITS.get(value) or next(others) for value in values]


def ramp(palette: str, share: float) -> str:
    """Return the colour at a share of a palette, from 0 to 1."""
    stops = stops_of(palette)
    place = min(max(share, 0.0), 1.0) * (len(stops) - 1)
    first = min(int(place), len(stops) - 2)
    pair = [[int(stops[first + more][at : at + 2], 16) for at in (1, 3, 5)] for more in (0, 1)]
    mixed = [round(a + (b - a) * (place - first)) for a, b in zip(*pair, strict=True)]
    return "#" + "".join(f"{each:02x}" for each in mixed)


def stops_of(palette: str) -> list[str]:
    """Return the colours of a palette, from the better values to the worse."""
    return list({"red-blue": _RED_BLUE, "pale": _PALE}.get(palette, _CIVIDIS))


def config(look: Look) -> dict[str, Any]:
    """Return what all views of a figure share."""
    return {
        "font": "Arial, Helvetica, Liberation Sans, DejaVu Sans, sans-serif",
        "background": "white",
        "view": {"stroke": None},
        "axis": {
            "gridColor": PALE,
            "domainColor": GREY,
            "tickColor": GREY,
            "labelColor": INK,
            "titleColor": INK,
            "titleFontWeight": "normal",
            "labelFontSize": look.font,
            "titleFontSize": look.font,
            "labelLimit": 0,
            "titleLimit": 0,
        },
        "legend": {"labelFontSize": look.font, "titleFontSize": look.font, "labelColor": INK, "labelLimit": 0},
        "title": {"color": INK, "subtitleColor": GREY, "limit": 0},
        "text": {"fontSize": look.font, "color": INK},
    }
