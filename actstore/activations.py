"""What an adapter hands to a store: rows of every layer, with the labels that belong to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np


@dataclass(frozen=True)
class Captured:
    """Rows of one layer.

    Args:
        array: (rows, *features). bfloat16 travels as its bits, in uint16; every other dtype as itself.
        dtype: the name that ``format.DTYPES`` knows: NumPy's, or "bfloat16".
        axes: the name of each feature axis, as many as there are.
    """

    array: np.ndarray
    dtype: str
    axes: tuple[str, ...]


@dataclass(frozen=True)
class RowBatch:
    """Rows that are stored together: the same rows of every layer, and what is known of each.

    Args:
        activations: by layer, in call order; the same number of rows in each.
        ids: (rows,) unique over the store.
        splits: (rows,) "" where none was named.
        targets: by name, (rows,) ints, bools or text; a masked array where rows have no label.
        groups: (rows,) which rows belong together (the tokens of a sentence), or None for every batch.
        positions: (rows,) index within the group, or None for every batch.
    """

    activations: Mapping[str, Captured]
    ids: Sequence[str]
    splits: Sequence[str]
    targets: Mapping[str, np.ndarray] = field(default_factory=dict)
    groups: Sequence[str] | None = None
    positions: Sequence[int] | np.ndarray | None = None
