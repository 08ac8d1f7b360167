"""Which axes of a layer a pool takes away."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actstore.arrays import default_axes
from actstore.errors import LayerError
from actstore.patterns import matching, unknown
from actstore.reductions.settings import NONE, pool_entry
from actstore.store.format import EXAMPLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actstore.activations import ModelLayer
    from actstore.store.format import JSON

POSITION = "position"
_KEPT = ("channel", "feature")
_OVER_POSITIONS = ("cls", "first", "last")
_UNNAMED = re.compile(r"axis\d+")


@dataclass(frozen=True)
class Pool:
    """A pool of one layer.

    Args:
        kind: one of ``settings.POOLS``, but not ``none``.
        axes: of the layer's array that are taken away, of which axis 0 is the rows; () leaves the layer alone.
        position: that axis of the array which holds positions, if one does.
        names: what the ``axes`` are called.
        row: what is a row afterwards. Of an example, one value remains; of its tokens or words (``rows.choose_rows``)
            each is a row, made of one position, or of its sub-words as ``kind`` says.
    """

    kind: str
    axes: tuple[int, ...]
    position: int | None
    names: tuple[str, ...]
    row: str = EXAMPLE

    @property
    def masked(self) -> bool:
        """Whether padding is left out: over positions, but not where position 0 is taken whatever it holds."""
        return self.position is not None and self.kind != "cls"

    def kept(self, of_axes: Sequence) -> tuple:
        """Of one item for each feature axis, those of axes that stay."""
        return tuple(item for axis, item in enumerate(of_axes, start=1) if axis not in self.axes)

    def kept_names(self, axes: Sequence[str]) -> tuple[str, ...]:
        """The names of the axes that stay. Numbers count from the first that stays: one alone is features."""
        names = self.kept(axes)
        return default_axes(len(names)) if all(map(_UNNAMED.fullmatch, names)) else names

    def document(self) -> dict[str, JSON]:
        """For the provenance."""
        if self.row != EXAMPLE:
            return {"step": "rows", "row": self.row, "join": self.kind, "axes": list(self.names)}
        found: dict[str, JSON] = {"step": "pool", "pool": self.kind, "axes": list(self.names)}
        return found if self.axes else {**found, "note": "left alone: it has no axis to pool"}


def choose_pools(entries: Sequence[str], layers: Sequence[ModelLayer]) -> dict[str, Pool]:
    """The pool of each layer that has one, by name: of the last entry that picks it.

    As with ``--layers``, ``input`` and ``output`` are picked by their exact names, or by an entry for every layer.

    Raises:
        LayerError: a pattern picks none of the layers, or a layer has not the axes that its pool needs.
    """
    kinds = chosen_kinds(entries, layers)
    chosen = [(layer, kinds.get(layer.name, NONE)) for layer in layers]
    return {layer.name: _pool(kind, layer) for layer, kind in chosen if kind != NONE}


def chosen_kinds(entries: Sequence[str], layers: Sequence[ModelLayer]) -> dict[str, str]:
    """The pool of each layer that an entry picks, by name; of several, the last.

    Raises:
        LayerError: a pattern picks none of the layers.
    """
    names = [layer.name for layer in layers]
    kinds: dict[str, str] = {}
    for entry in entries:
        pattern, kind = pool_entry(entry)
        picked = names if pattern is None else _picked(pattern, layers, names)
        kinds.update(dict.fromkeys(picked, kind))
    return kinds


def _picked(pattern: str, layers: Sequence[ModelLayer], names: Sequence[str]) -> list[str]:
    picked = [name for name, matches in zip(names, matching(pattern, layers), strict=True) if matches]
    if not picked:
        raise unknown(pattern, names)
    return picked


def _pool(kind: str, layer: ModelLayer) -> Pool:
    positions = [axis for axis, name in enumerate(layer.axes, start=1) if name == POSITION]
    if kind in _OVER_POSITIONS:
        axes = tuple(positions)
        if not axes:
            raise LayerError(
                f"pool {kind!r} takes a position, but layer {layer.name!r} has {_axes(layer)}; {_exempt(layer)}"
            )
    else:
        axes = tuple(axis for axis, name in enumerate(layer.axes, start=1) if name not in _KEPT)
        if any(_UNNAMED.fullmatch(name) for name in layer.axes):
            raise LayerError(
                f"pool {kind!r} needs to know what the axes of layer {layer.name!r} are, but it has {_axes(layer)}; "
                f"{_exempt(layer)}"
            )
    if len(positions) > 1:
        raise LayerError(
            f"pool {kind!r} of layer {layer.name!r} is not told over which positions: it has {_axes(layer)}; "
            f"{_exempt(layer)}"
        )
    names = tuple(layer.axes[axis - 1] for axis in axes)
    return Pool(kind, axes, positions[0] if positions else None, names)


def _axes(layer: ModelLayer) -> str:
    return f"the axes ({', '.join(layer.axes)})" if layer.axes else "no axes"


def _exempt(layer: ModelLayer) -> str:
    unknown = any(_UNNAMED.fullmatch(name) for name in layer.axes) or layer.axes.count(POSITION) > 1
    named = (
        f"say what they are by --axes '{layer.name}={suggested_axes(len(layer.axes))}', or " if unknown else ""
    )
    return f"{named}leave it as it is by --pool '{layer.name}={NONE}'"


def suggested_axes(count: int) -> str:
    """Return an example of the names of so many axes, for messages."""
    usual = {1: "feature", 2: "position,feature", 3: "channel,height,width"}
    return usual.get(count) or ",".join(["position", *["other"] * (count - 2), "feature"])
