"""Rows of a stored layer as torch's data loaders take them, and an order of rows that the disk can follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from actstore.errors import AdapterError, TargetError

try:
    import torch
    from torch.utils.data import Dataset, Sampler
except ImportError as error:
    _MISSING = "store.torch needs torch, which is not installed; pip install 'actstore[torch]'"
    raise AdapterError(_MISSING) from error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actstore.store.reading.layer import Layer
    from actstore.store.reading.reader import Store

__all__ = ["BlockSampler", "LayerDataset"]

BLOCK_BYTES = 2**20
"""Neighbouring rows that are read together where the order is shuffled."""
POOLED_BLOCKS = 64
"""So many blocks, drawn at random, are mixed row by row."""


class LayerDataset(Dataset[Any]):
    """Rows of one layer, each a tensor of its features, with their labels where a target was named.

    An item is a row, or (row, label). Rows are of the layer's dtype (bfloat16 as float32), labels int64: whole numbers
    and booleans as they are, texts as numbers into ``classes``, which are those of the whole store, so that two splits
    have the same. Worker processes open the store anew.

    Args:
        layer: a row source of NumPy arrays.
        rows: (rows,) int64, ascending: which rows of it.
        labels: (rows,) int64, or None.
        classes: the texts that labels count into; None where labels are numbers.
    """

    def __init__(
        self,
        layer: Layer,
        rows: np.ndarray,
        labels: np.ndarray | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        self.layer, self.rows, self.labels, self.classes = layer, rows, labels, classes

    @classmethod
    def of(
        cls, store: Store, layer: str | tuple[str, int], target: str | None, split: str | None
    ) -> LayerDataset:
        """Return the rows of a split of a layer that have a label of a target; see ``Store.torch``."""
        found = store.layers[layer]
        rows = np.arange(store.rows) if split is None else store.rows_of(split)
        rows = rows[rows < len(found)]  # a step that is being written has fewer rows than the others
        if target is None:
            return cls(found, rows)
        labels, classes = _numbered(store.targets[target], target)
        rows = rows[~np.ma.getmaskarray(labels)[rows]]
        if not len(rows):
            where = "" if split is None else f" of split {split!r}"
            msg = f"no row{where} has a label of target {target!r}; choose another target or split"
            raise TargetError(msg)
        return cls(found, rows, np.ma.getdata(labels)[rows], classes)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        """Return an item. IndexError for what is out of range."""
        if not -len(self) <= index < len(self):
            msg = f"item {index} is out of range: there are {len(self):,} rows"
            raise IndexError(msg)
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Return several items, whose rows are read together: how a ``DataLoader`` asks for a batch."""
        places = np.asarray(indices, np.int64)
        rows = list(torch.from_numpy(self.layer[self.rows[places]]))
        if self.labels is None:
            return rows
        return list(zip(rows, torch.from_numpy(self.labels[places]), strict=True))

    def sampler(self, seed: int = 0, block_rows: int | None = None) -> BlockSampler:
        """Return an order for ``DataLoader(dataset, sampler=...)``, another one each time that it is gone through.

        Blocks of neighbouring rows (``block_rows`` of them, else 1 MiB) are drawn at random, 64 at a time, and the rows
        of these are mixed: nearly a shuffle of all rows, at the price of reading in order.
        """
        row_bytes = max(1, self.layer.info.row_bytes)
        return BlockSampler(len(self), block_rows or max(1, BLOCK_BYTES // row_bytes), seed)

    def __repr__(self) -> str:
        labelled = "" if self.labels is None else ", labelled"
        return f"<LayerDataset of {self.layer.name!r}: {len(self):,} rows{labelled}>"


class BlockSampler(Sampler[int]):
    """Every row once, in an order shuffled by blocks; drawn anew, from (seed, epoch), each time it is gone through.

    Args:
        rows: how many.
        block_rows: neighbouring rows that stay near each other.
        seed: of the order.
    """

    def __init__(self, rows: int, block_rows: int, seed: int = 0) -> None:
        if block_rows < 1:
            msg = f"block_rows is {block_rows}; expected 1 or more"
            raise ValueError(msg)
        self.rows, self.block_rows, self.seed, self.epoch = rows, block_rows, seed, 0

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[int]:
        draws = np.random.default_rng([self.seed, self.epoch])
        self.epoch += 1
        starts = draws.permutation(np.arange(0, self.rows, self.block_rows))
        for first in range(0, len(starts), POOLED_BLOCKS):
            blocks = [
                np.arange(start, min(start + self.block_rows, self.rows))
                for start in starts[first : first + POOLED_BLOCKS]
            ]
            yield from draws.permutation(np.concatenate(blocks)).tolist()


def _numbered(labels: np.ndarray, target: str) -> tuple[np.ndarray, list[str] | None]:
    """Labels as int64, masked where there is none, and the texts that they count into, if they do."""
    mask = np.ma.getmaskarray(labels)
    values = np.ma.getdata(labels)
    if values.dtype.kind == "U":
        classes, codes = np.unique(values[~mask], return_inverse=True)
        numbers = np.zeros(len(values), np.int64)
        numbers[~mask] = codes
        return np.ma.MaskedArray(numbers, mask), classes.tolist()
    if values.dtype.kind == "u" and values.size and values.max() > np.iinfo(np.int64).max:
        msg = f"target {target!r} has labels up to {values.max()}, which int64 cannot hold; give labels of your own"
        raise TargetError(msg)
    return np.ma.MaskedArray(values.astype(np.int64), mask), None
