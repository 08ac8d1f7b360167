"""A layer as a model gives it, and what an adapter hands to a store: rows of every layer with their labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


INPUT = "input"
OUTPUT = "output"


@dataclass(frozen=True)
class ModelLayer:
    """One layer of a model, as ``actstore layers`` lists it.

    Args:
        name: ``relu``, and ``relu#1`` for what a module gives when it is called again; ``relu:in`` and ``relu:in#1``
            for what goes into it.
        type: of what computes it: ``Conv2d``, ``StandardScaler``, ``array`` for a plain function.
        shape: the features of one row; None where nothing can be stored or only a batch would tell.
        axes: the name of each feature axis.
        dtype: as it would be stored; "" where ``shape`` is None.
        note: why nothing can be stored, or which part of an output is taken.
        explicit: taken by its exact name only, never by a glob (``input``, ``output``); ``NAME:in`` also by a pattern
            that ends so.
        calls: how many times its module is called in one run.
        rows: how long its first axis was in the run that an adapter describes; None in a description of several runs,
            and where an adapter does not say.
        bytes_per_row: what one row takes on disk; None where the shape is not known.
    """

    name: str
    type: str
    shape: tuple[int, ...] | None = None
    axes: tuple[str, ...] = ()
    dtype: str = ""
    note: str = ""
    explicit: bool = False
    calls: int = 1
    rows: int | None = field(default=None, compare=False)
    bytes_per_row: int | None = field(init=False)

    def __post_init__(self) -> None:
        nbytes = None if self.shape is None else prod(self.shape) * _itemsize(self.dtype)
        object.__setattr__(self, "bytes_per_row", nbytes)


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


def layer_of(captured: Captured, name: str, type_name: str, explicit: bool = False) -> ModelLayer:
    """Describe a layer of which some rows were captured."""
    rows, *shape = captured.array.shape
    return ModelLayer(
        name, type_name, tuple(shape), captured.axes, captured.dtype, explicit=explicit, rows=rows
    )


def _itemsize(dtype: str) -> int:
    """Bytes of one value; NumPy does not know bfloat16."""
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
