"""The one description of a model's layers: what follows the rows of a batch, and what its lengths and sizes.

A model is run on two rows and on three. A layer has a row per example only where its first axis is as long as the batch
both times and nothing else of it changes; else it has a note that says how it is shaped, globs pass over it, and by its
exact name it is refused. Then a length of the batch is cut, or each size of its images: the axes that follow are its
positions, its height and width. What an adapter knows of a layer's class says the rest, where it does not contradict.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from actstore import arrays
from actstore.activations import INPUT
from actstore.adapters.moves import POSITION, Move, moves, with_rows
from actstore.adapters.outputs import PIXELS, SPATIAL
from actstore.patterns import batch_axis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actstore.activations import ModelLayer
    from actstore.adapters.base import Adapter

ROWS = 2
MORE_ROWS = (3, 4, 8)
"""Tried in this order: a model may take pairs of rows."""
NOT_ROWS = "no row per example"
"""Begins the note of a layer whose first axis is not the rows."""
_ALONG = "the rows along axis "
_KEPT = ("channel", "feature")


@dataclass(frozen=True)
class Description:
    """The layers of a model, in call order.

    Args:
        layers: with names of their axes.
        unproven: why the model could not be run on other numbers of rows; None where it was proven what follows them.
    """

    layers: Sequence[ModelLayer]
    unproven: str | None = None


def described(adapter: Adapter, inputs: object) -> Description:
    """Describe the layers of a model by a few runs of a few rows.

    Raises:
        Exception: whatever the model raises for the batch as it came.
    """
    rows = ROWS if adapter.fixed_rows is None else adapter.fixed_rows
    try:
        # More rows are the last of these again: texts are then padded alike.
        head = with_rows(inputs, rows)
        few = adapter.prepared(head)[0]
        first = adapter.described_rows(few)
    except Exception as error:  # noqa: BLE001 - a batch of a fixed size; any other reason comes again just below
        first = adapter.described_rows(adapter.prepared(inputs)[0])
        return _unproven(first, arrays.count_rows(inputs), str(error) or type(error).__name__)
    glimpses = _Glimpses(adapter)
    more, other = glimpses.of_more(head)
    if not other:
        why = f"the model takes {rows} rows, and was not seen to take another number"
        return _unproven(first, rows, why)
    known = [
        _of_rows(layer, other.get(layer.name), (rows, more), batch_axis(adapter.batch_axis, layer.name))
        for layer in first
    ]
    if any(len(layer.shape or ()) > 1 for layer in known):
        known = _named(known, glimpses, few)
    return Description([replace(layer, rows=None) for layer in known])


class _Glimpses:
    """Looks at a model as other batches show it, which it need not take."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    def of(self, inputs: object) -> dict[str, ModelLayer]:
        """Return the layers that are seen, until the model fails."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {layer.name: layer for layer in self._adapter.glimpsed_rows(inputs)}

    def of_more(self, inputs: object) -> tuple[int, dict[str, ModelLayer]]:
        """Return the layers for more rows, and how many these are; none where the model takes none of the numbers."""
        if self._adapter.fixed_rows is not None:
            return 0, {}
        for count in MORE_ROWS:
            seen = self.of(self._adapter.prepared(with_rows(inputs, count))[0])
            if seen.keys() - {INPUT}:
                return count, seen
        return 0, {}

    def cut(self, move: Move, layers: int) -> dict[str, ModelLayer]:
        """Return the layers as a cut of the batch shows most of them."""
        best: dict[str, ModelLayer] = {}
        for batch in move.batches:
            seen = self.of(batch)
            if len(seen) > len(best):
                best = seen
            if len(best) >= layers:
                break
        return best


def _unproven(layers: Sequence[ModelLayer], rows: int, why: str) -> Description:
    """The layers as they were seen for one number of rows, and why for no other."""
    return Description([_of_one_count(layer, rows) for layer in layers], why)


def _of_one_count(layer: ModelLayer, rows: int) -> ModelLayer:
    if layer.shape is None or layer.rows in (None, rows):
        return replace(layer, rows=None)
    return _not_rows(layer, f"its first axis is {layer.rows} for a batch of {rows}")


def rows_along(layer: ModelLayer, axis: int) -> ModelLayer:
    """A layer of one run whose rows lie along ``axis``, as it is once that axis is the first."""
    if not axis or layer.shape is None or layer.rows is None:
        return layer
    whole, names = (layer.rows, *layer.shape), ("", *layer.axes)
    if axis >= len(whole):
        return _not_rows(layer, f"it is {whole}, without an axis {axis} to be the rows (--batch-axis)")
    default = arrays.default_axes(len(whole) - 1)
    left = [name for place, name in enumerate(names) if place != axis]
    axes = tuple(name or default[place] for place, name in enumerate(left))
    shape = tuple(length for place, length in enumerate(whole) if place != axis)
    return replace(layer, rows=whole[axis], shape=shape, axes=axes)


def _of_rows(
    layer: ModelLayer, other: ModelLayer | None, counts: tuple[int, int], turned: int = 0
) -> ModelLayer:
    """The layer as it is, where its first axis follows the number of rows; else without a shape, and why.

    ``turned`` is the axis that was made the first, as was asked.
    """
    if layer.shape is None or layer.rows is None:
        return layer
    few, more = counts
    if other is None or other.shape is None or other.rows is None:
        return _not_rows(layer, f"it is there for {few} rows and not for {more}")
    if (layer.rows, other.rows) == (few, more) and layer.shape == other.shape:
        return layer
    small, large = (layer.rows, *layer.shape), (other.rows, *other.shape)
    how = _how(small, large, counts)
    cure = f" (--batch-axis '{layer.name}={how.rpartition(' ')[2]}')" if how.startswith(_ALONG) else ""
    if turned:
        cure = f" once --batch-axis has made its axis {turned} the first; name another, or leave it out"
    return _not_rows(
        layer, f"it is {small} for {few} rows and {large} for {more}{f', {how}' if how else ''}{cure}"
    )


def _not_rows(layer: ModelLayer, why: str) -> ModelLayer:
    return replace(layer, shape=None, axes=(), dtype="", note=f"{NOT_ROWS}: {why}", rows=None)


def _how(small: tuple[int, ...], large: tuple[int, ...], counts: tuple[int, int]) -> str:
    """How the rows lie in a layer instead, where that can be told from its shape for few of them and for more."""
    few, more = counts
    if small == large:
        return "whatever the rows"
    if len(small) != len(large):
        return ""
    following = [axis for axis, lengths in enumerate(zip(small, large, strict=True)) if lengths == counts]
    if following and 0 not in following:
        return f"{_ALONG}{following[0]}"
    if len(following) > 1:
        return f"the rows along the axes {', '.join(map(str, following))}"
    if small[0] * more == large[0] * few and small[0] % few == 0:
        return f"{small[0] // few} to each row (windows, or tokens times rows)"
    return ""


@dataclass(frozen=True)
class _Cut:
    """One axis of the batch cut, and the layers that were seen; ``whole`` where the model came to all of them."""

    move: Move
    seen: Mapping[str, ModelLayer]
    whole: bool

    @property
    def inside(self) -> int:
        """How many layers the model came to, besides its input."""
        return len(self.seen.keys() - {INPUT})


def _named(layers: Sequence[ModelLayer], glimpses: _Glimpses, inputs: object) -> list[ModelLayer]:
    """The layers with names for those axes that move when the batch does."""
    of_rows = {layer.name: layer for layer in layers if layer.shape is not None and layer.name != INPUT}
    cuts = _movable(of_rows, glimpses, inputs)
    roles = _roles(cuts, set(chain.from_iterable(layer.axes for layer in layers)))
    found = []
    for layer in layers:
        if len(layer.shape or ()) > 1 and layer.rows is not None:
            runs = [(role, cut.seen.get(layer.name)) for role, cut in zip(roles, cuts, strict=True)]
            layer = replace(layer, axes=axis_names(layer, runs))
        found.append(layer)
    return found


def _movable(of_rows: Mapping[str, ModelLayer], glimpses: _Glimpses, inputs: object) -> list[_Cut]:
    """The cuts of the batch that change a layer, and that the model takes."""
    cuts = []
    for move in moves(inputs):
        seen = glimpses.cut(move, len(of_rows))
        whole = all(name in seen and seen[name].shape is not None for name in of_rows)
        if any(name in seen and seen[name].shape != layer.shape for name, layer in of_rows.items()):
            cuts.append(_Cut(move, seen, whole))
    # Where a size is fixed, a model fails before most of its layers.
    most = max((cut.inside for cut in cuts), default=0)
    return [cut for cut in cuts if 2 * cut.inside >= most]


def _roles(movable: Sequence[_Cut], known: set[str]) -> list[str | None]:
    """Return what each movable axis of the batch is; None where that cannot be told.

    Args:
        movable: of an array whose other axes are of a fixed size.
        known: the axes that layers of the model are known to have by their classes.
    """
    count = len(movable)
    axes = movable[0].move.axes if movable else 0
    if count == 1 and axes <= 2:
        return [POSITION] if _holds_positions(movable[0], known) else [None]
    if count in SPATIAL and count > 1 and (count == axes - 1 or (count == axes and "height" in known)):
        return list(SPATIAL[count])
    return [None] * count


def _holds_positions(cut: _Cut, known: set[str]) -> bool:
    """Whether the only axis that can be cut is of positions.

    Ids are of tokens. The columns of a table of numbers are no positions, unless a convolution goes over them; and an
    axis that a model goes on with for a while, and then does not take, is the one that it mixes.
    """
    sound = {"channel", POSITION} <= known
    return cut.move.ids or sound or (cut.whole and cut.move.axes == 2)


def axis_names(layer: ModelLayer, runs: Sequence[tuple[str | None, ModelLayer | None]]) -> tuple[str, ...]:
    """Return the names of a layer's two or more feature axes.

    Args:
        layer: with the names that its class, or the layer before it, suggests.
        runs: for each axis of the batch that was cut, what it is and the layer as it was then; None where it was not
            seen.
    """
    shape = layer.shape or ()
    alike = _of_as_many_axes(len(shape), runs)
    if not alike:
        return layer.axes
    moving = _roles_by_axis(shape, alike)
    default = arrays.default_axes(len(shape))
    if len(moving) == len(shape):  # with nothing that stays, there is no telling what its features are
        return default
    if not moving:  # what is as long whatever the texts are holds no positions of theirs
        return tuple(default[axis] if name == POSITION else name for axis, name in enumerate(layer.axes))
    names = {axis: _moving_name(roles, layer.axes[axis]) or default[axis] for axis, roles in moving.items()}
    names |= _staying_names(names, layer.axes, default)
    return tuple(names[axis] for axis in range(len(shape)))


def _of_as_many_axes(
    count: int, runs: Sequence[tuple[str | None, ModelLayer | None]]
) -> list[tuple[str | None, tuple[int, ...]]]:
    """The runs in which a layer was seen with so many axes, each as the role of what was cut and the layer's shape."""
    shapes = [(role, () if seen is None else seen.shape or ()) for role, seen in runs]
    return [(role, shape) for role, shape in shapes if len(shape) == count]


def _roles_by_axis(
    shape: tuple[int, ...], cuts: Sequence[tuple[str | None, tuple[int, ...]]]
) -> dict[int, list[str | None]]:
    """The axes of a layer that move, each with the roles of the cuts that move it."""
    moving: dict[int, list[str | None]] = {}
    for role, cut in cuts:
        for axis, (before, after) in enumerate(zip(shape, cut, strict=True)):
            if before != after:
                moving.setdefault(axis, []).append(role)
    return moving


def _staying_names(
    moving: Mapping[int, str], suggested: Sequence[str], default: Sequence[str]
) -> dict[int, str]:
    """The names of the axes that stay as they are, beside those that move.

    One that stays alone is the layer's features, where each that moves has a name of its own.
    """
    told = len(set(moving.values())) == len(moving) and not any(
        default[axis] == name for axis, name in moving.items()
    )
    alone = told and len(default) - len(moving) == 1
    features = "channel" if PIXELS.intersection(moving.values()) else "feature"
    names = {axis: features if alone else default[axis] for axis in range(len(default)) if axis not in moving}
    return names | {axis: suggested[axis] for axis in names if suggested[axis] in _KEPT}


def _moving_name(roles: Sequence[str | None], suggested: str) -> str | None:
    if len(roles) > 1:  # patches of an image in one row, which follow its height and its width
        return POSITION if None not in roles else None
    (role,) = roles
    return role or (suggested if suggested not in _KEPT and suggested != POSITION else None)
