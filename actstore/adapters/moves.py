"""A batch as it could be instead: of other rows, or with one of its axes of another length. Shows what follows what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore import arrays
from actstore.reductions.positions import MASK, read_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

POSITION = "position"
_IDS = ("int16", "int32", "int64", "uint16", "uint32", "uint64", "bool")
"""Types of token ids; eight bits are pixels."""


@dataclass(frozen=True)
class Move:
    """One axis of a batch, cut to other lengths.

    Args:
        axis: of the batch's main array, from 1 on.
        axes: how many feature axes that array has.
        ids: whether the array is whole numbers (as of tokens) or a mask, or the batch text.
        batches: the batch with that axis cut, the most telling cut first.
    """

    axis: int
    axes: int
    ids: bool
    batches: Sequence[object]


def with_rows(inputs: object, count: int) -> object:
    """Return ``count`` rows of a batch, the last one again where there are fewer.

    Parts of it that have another number of rows stay as they are.

    Raises:
        TypeError: nothing in the batch has rows.
    """
    rows = arrays.count_rows(inputs)
    return picked(inputs, np.minimum(np.arange(count), rows - 1))


def picked(inputs: object, places: np.ndarray) -> object:
    """Return the rows at these places, in this order; parts that have another number of rows stay as they are.

    Raises:
        TypeError: nothing in the batch has rows.
    """
    rows = arrays.count_rows(inputs)

    def taken(value: Any) -> object:
        if len(value) != rows:
            return value
        return arrays.by_place(value)[places] if arrays.is_array(value) else [value[place] for place in places]

    return arrays.each_part(inputs, taken)


def moves(inputs: object) -> list[Move]:
    """Return what can be moved in a batch besides its rows: the length of its texts, or each axis of its main array."""
    if arrays.is_text(inputs):
        shorter = _shortest_text(inputs)
        return [] if shorter is None else [Move(1, 1, True, [shorter])]
    main = _main(inputs)
    if main is None:
        return []
    shape: tuple[int, ...] = tuple(main.shape)
    # Ids and their mask, words and their positions: one length, which they share.
    mask = mask_of(inputs)
    axes = [1] if len(shape) == 2 or mask is not None else list(range(1, len(shape)))
    # A mask is of tokens whatever its type: many are multiplied by it, as floats.
    ids = mask is not None or str(main.dtype).removeprefix("torch.") in _IDS
    return [Move(axis, len(shape) - 1, ids, _cuts(inputs, axis, shape[axis])) for axis in axes if shape[axis]]


def _cuts(inputs: object, axis: int, length: int) -> list[object]:
    # Never to one entry, which would be repeated against many without a word.
    lengths = {1: [2], 2: [3], 3: [2]}.get(length) or list(dict.fromkeys([length // 2, length - 1]))
    return [_cut(inputs, axis, length, new) for new in lengths]


def _cut(inputs: object, axis: int, length: int, new: int) -> object:
    pad = padding(inputs)
    left = pad is not None and new < length and bool(pad[:, 0].any())
    return at_positions(
        inputs, axis, length, np.arange(length - new, length) if left else np.arange(new) % length
    )


def _shortest_text(inputs: Any) -> object | None:
    """The same number of rows, all of them the shortest text; None where all are as long, or there is nothing less."""
    lengths = [len(text) for text in inputs]
    if not lengths or not min(lengths) or min(lengths) == max(lengths):
        return None
    return picked(inputs, np.full(len(lengths), int(np.argmin(lengths))))


def _main(inputs: object) -> Any:
    """The array whose axes are moved: the mask, or the first that has any."""
    mask = mask_of(inputs)
    if mask is not None:
        return mask
    if isinstance(inputs, Mapping) and len(inputs) > 1:  # what is called a mask and is none follows the others
        inputs = {name: value for name, value in inputs.items() if name != MASK}
    found: list[Any] = []

    def see(value: Any) -> Any:
        if len(getattr(value, "shape", ())) > 1:
            found.append(value)
        return value

    arrays.each_part(inputs, see)
    return found[0] if found else None


def mask_of(inputs: object) -> Any:
    """Return the mask of a batch as (rows, positions); None where it has none of such a shape."""
    mask: Any = inputs.get(MASK) if isinstance(inputs, Mapping) else None
    if not arrays.is_array(mask):
        return None
    return mask if len(mask.shape) == 2 else read_mask(mask)


def padding(inputs: object) -> np.ndarray | None:
    """Return (rows, positions) bools, where a batch says that there is padding; None where it says of none.

    A mask that is none (of other values, or a list) says nothing.
    """
    mask = mask_of(inputs)
    real = None if mask is None else read_mask(inputs[MASK])  # type: ignore[index]  # a mapping, as it has a mask
    return None if real is None or real.all() else ~real


def at_positions(inputs: object, axis: int, length: int, places: Any) -> object:
    """Return a batch at some of the ``length`` places of an axis; what has no such axis stays as it is.

    A mask of more than two axes has its positions in the last, and in that before where it says them of each.
    """

    def cut(value: Any, axes: tuple[int, ...] = (axis,)) -> object:
        shape: tuple[int, ...] = getattr(value, "shape", ())
        for one in axes:
            if len(shape) > one and shape[one] == length:
                value = value[(*[slice(None)] * one, places)]
        return value

    mask: Any = inputs.get(MASK) if isinstance(inputs, Mapping) else None
    last = len(getattr(mask, "shape", ())) - 1
    if axis != 1 or last < 2:
        return arrays.each_part(inputs, cut)
    others = {name: value for name, value in inputs.items() if name != MASK}  # type: ignore[attr-defined]
    found: Any = arrays.each_part(others, cut)
    return {name: cut(mask, (last - 1, last)) if name == MASK else found[name] for name in inputs}  # type: ignore[attr-defined]
