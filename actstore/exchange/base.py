"""What an importer gives: the layers of a file and what it says of their rows, or rows that come with both."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from actstore import arrays as interop
from actstore.activations import Captured
from actstore.errors import SourceError
from actstore.store.format import DTYPES, numpy_dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


@dataclass(frozen=True)
class Facts:
    """What is known of rows; None (and no target) where a file says nothing."""

    ids: Sequence[str] | None = None
    splits: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    positions: Sequence[int] | None = None
    targets: Mapping[str, np.ndarray] = field(default_factory=dict)
    row_unit: str | None = None

    def part(self, rows: slice) -> Facts:
        """Return what is known of some of the rows."""
        known = {name: getattr(self, name) for name in ("ids", "splits", "groups", "positions")}
        return replace(
            self,
            **{name: None if values is None else values[rows] for name, values in known.items()},
            targets={name: labels[rows] for name, labels in self.targets.items()},
        )

    def joined(self, other: Facts, where: str) -> Facts:
        """Return what two files say of the same rows. SourceError where they disagree."""
        merged = {}
        for one in fields(self):
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            if mine and theirs and not _same(mine, theirs):
                msg = f"{where} says other {one.name} than the file beside it; expected the same rows in both"
                raise SourceError(msg)
            merged[one.name] = mine or theirs
        return Facts(**merged)


def _same(mine: object, theirs: object) -> bool:
    if not isinstance(mine, dict) or not isinstance(theirs, dict):
        return mine == theirs
    return mine.keys() == theirs.keys() and all(
        np.array_equal(np.ma.getmaskarray(labels), np.ma.getmaskarray(theirs[name]))
        and np.array_equal(np.ma.filled(labels, labels.flat[0]), np.ma.filled(theirs[name], labels.flat[0]))
        for name, labels in mine.items()
    )


@dataclass(frozen=True)
class ArrayLayer:
    """One array that is a layer.

    Args:
        spec: where it is, for messages.
        dtype: the store's name of it.
        shape: (rows, *features).
        blocks: ``blocks(rows)`` gives all rows in order, so many at a time, in arrays that are the caller's.
    """

    spec: str
    dtype: str
    shape: tuple[int, ...]
    blocks: Callable[[int], Iterator[np.ndarray]]

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            msg = f"{self.spec} is of dtype {self.dtype}; a layer is one of {', '.join(DTYPES)}"
            raise SourceError(msg)
        if not self.shape:
            msg = f"{self.spec} is a single {self.dtype}; expected an array with rows"
            raise SourceError(msg)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.prod(self.shape[1:], dtype=object)) * numpy_dtype(self.dtype).itemsize


class Block(Protocol):
    """Rows that follow on those of the block before."""

    split: str
    rows: int
    row_unit: str | None

    @property
    def layers(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """Name to dtype and shape of a row."""

    def batches(self, nbytes: int) -> Iterator[tuple[Mapping[str, Captured], Facts]]:
        """All rows in order, about ``nbytes`` at a time."""


class ArrayBlock:
    """Arrays side by side: the same rows of several layers, from one file or from several."""

    def __init__(self, split: str, arrays: Mapping[str, ArrayLayer], facts: Facts) -> None:
        """SourceError unless all have the same number of rows, one at least."""
        self.split = split
        self.row_unit = facts.row_unit
        self._arrays, self._facts = dict(arrays), facts
        (first, *others) = self._arrays.values()
        self.rows = first.shape[0]
        for other in others:
            if other.shape[0] != self.rows:
                msg = (
                    f"{other.spec} has {other.shape[0]:,} rows where {first.spec} has {self.rows:,}; expected layers "
                    "of the same rows. Name the arrays to import one by one (FILE.npz:KEY)"
                )
                raise SourceError(msg)
        if not self.rows:
            msg = f"{first.spec} has no rows"
            raise SourceError(msg)

    @property
    def layers(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """Name to dtype and shape of a row."""
        return {name: (one.dtype, one.shape[1:]) for name, one in self._arrays.items()}

    def beside(self, other: ArrayBlock, where: str) -> ArrayBlock:
        """The same rows with the layers of both."""
        return ArrayBlock(
            self.split, {**self._arrays, **other._arrays}, self._facts.joined(other._facts, where)
        )

    def renamed(self, name: str) -> ArrayBlock:
        """The same with another name for the one layer there is."""
        return ArrayBlock(self.split, {name: next(iter(self._arrays.values()))}, self._facts)

    def batches(self, nbytes: int) -> Iterator[tuple[Mapping[str, Captured], Facts]]:
        """All rows in order, about ``nbytes`` at a time."""
        count = max(1, nbytes // max(1, sum(one.row_bytes for one in self._arrays.values())))
        start = 0
        for pieces in zip(*(one.blocks(count) for one in self._arrays.values()), strict=True):
            batch = {
                name: Captured(piece, one.dtype, interop.default_axes(piece.ndim - 1))
                for (name, one), piece in zip(self._arrays.items(), pieces, strict=True)
            }
            yield batch, self._facts.part(slice(start, start + len(pieces[0])))
            start += len(pieces[0])
