"""Axes of names, such as the layers in network order; labels never stand over each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from solvers.figures.parts.names import Labels, fitting, labels_of, thinned

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from solvers.figures.parts.look import Look
    from solvers.figures.rows import Shown

__all__ = ["Places", "horizontal", "layers_in_order", "of_few_layers", "upright"]

_LINE = 1.3  # from one line of text to the next, in font sizes


@dataclass(frozen=True)
class Places:
    """The places of an axis, by their labels; ``axis`` says which of them are written, and how."""

    names: tuple[str, ...]
    labels: Labels
    axis: dict[str, Any]
    padding: float = 0.5

    def label(self, name: str) -> str:
        """Return what a place is called here."""
        return self.labels.texts[self.names.index(name)]

    def channel(self, field: str, kind: str = "point") -> dict[str, Any]:
        """Return the Vega-Lite channel of a field that holds labels; ``kind`` of scale: ``point`` or ``band``."""
        domain = list(self.labels.texts)
        padding = {"padding": self.padding} if kind == "point" else {"paddingInner": 0, "paddingOuter": 0}
        scale = {"type": kind, "domain": domain, **padding}
        return {"field": field, "type": "nominal", "sort": domain, "scale": scale, "axis": self.axis}


def layers_in_order(rows: Iterable[Shown]) -> list[str]:
    """Return the layers in the order of the network, those of several files merged."""
    by_file: dict[Any, dict[str, None]] = {}
    for row in rows:
        by_file.setdefault((row.file, row.score.target, row.score.step), {})[row.score.layer] = None
    merged: list[str] = []
    for layers in by_file.values():
        at = 0
        for layer in layers:
            if layer in merged:
                at = max(at, merged.index(layer) + 1)
            else:
                merged.insert(at, layer)
                at += 1
    return merged


def of_few_layers(rows: Sequence[Shown], most: int) -> tuple[list[Shown], list[str]]:
    """Return the scores of at most so many layers, evenly chosen, in network order; and the note that says so."""
    layers = layers_in_order(rows)
    kept = [layers[place] for place in thinned(len(layers), most)] if len(layers) > most else layers
    notes = [f"{len(kept)} of {len(layers)} layers, evenly chosen"] if len(kept) < len(layers) else []
    order = {layer: place for place, layer in enumerate(kept)}
    found = sorted((row for row in rows if row.score.layer in order), key=lambda row: order[row.score.layer])
    return found, notes


def horizontal(names: Sequence[str], width: float, look: Look, title: str | None) -> Places:
    """Return the places of an axis below a plot: labels lie where they have room, else stand and are thinned."""
    slot = width / max(len(names), 1)
    lying = labels_of(names, slot - 6, look.font)
    cut = any("…" in text[1:] or "#" in text for text in lying.texts)
    if cut or lying.widest(look.font) > slot - 6:
        labels = labels_of(names, look.font * (9 if look.width < 400 else 13), look.font)
        angle, room = -90, math.floor(width / (look.font * _LINE))
    else:
        labels, angle, room = lying, 0, len(names)
    shown = [labels.texts[place] for place in thinned(len(names), room)]
    axis = {
        "values": shown,
        "labelAngle": angle,
        "labelOverlap": False,
        "labelPadding": 3,
        "title": title and fitting(title, width, look.font),
        "ticks": True,
        "minExtent": labels.widest(look.font) + 8 if angle else look.font * 1.3 + 8,
        "grid": False,
        **({"labelAlign": "right", "labelBaseline": "middle"} if angle else {}),
    }
    return Places(tuple(names), labels, axis)


def upright(names: Sequence[str], height: float, look: Look, title: str | None, room: float) -> Places:
    """Return the places of an axis beside a plot: a label a line, thinned where there are more than lines."""
    labels = labels_of(names, room, look.font)
    shown = [labels.texts[place] for place in thinned(len(names), math.floor(height / (look.font * _LINE)))]
    axis = {
        "values": shown,
        "labelOverlap": False,
        "labelPadding": 3,
        "title": title and fitting(title, height, look.font),
        "minExtent": labels.widest(look.font) + 8,
        "grid": False,
        "ticks": len(shown) == len(names),
    }
    return Places(tuple(names), labels, axis)
