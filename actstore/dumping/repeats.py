"""Inputs that come more than once, as where every worker of a loader reads all of its data set."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from actstore import arrays
from actstore.provenance import InputHash
from actstore.sources.base import SlicedSource

if TYPE_CHECKING:
    from actstore.sources import Batch, SplitData


class RepeatedInputsWarning(UserWarning):
    """The data gave the same inputs more than once."""


class Repeats:
    """Counts the rows of one item of data that came in batches whose inputs, all of them, came before.

    Only of what makes its own batches: the rows of a file are as the user has them.
    """

    def __init__(self, item: SplitData) -> None:
        self._spec = item.source.spec
        self._watches = not isinstance(item.source, SlicedSource)
        self._marks: set[str] = set()
        self._rows = 0
        self._repeated: list[int] = []

    def add(self, batch: Batch) -> None:
        """Compare a batch with those before."""
        if not self._watches:
            return
        self._rows += batch.rows
        if batch.rows > 1 and _all_alike(batch.inputs):
            return  # zeros, for a test: not to be told from other zeros
        own = InputHash()
        own.update(batch.inputs)
        mark = own.hexdigest()
        if mark in self._marks:
            self._repeated.append(batch.rows)
        self._marks.add(mark)

    def warn(self) -> None:
        """Warn of batches that appear twice; a row that is alone in its batch may well be like another."""
        repeated = sum(self._repeated)
        alone = max(self._repeated, default=0) < 2
        if not repeated or "not seen" in self._marks or (alone and 2 * repeated < self._rows):
            return
        msg = (
            f"{repeated:,} of {self._rows:,} rows of {self._spec} are in batches whose inputs appeared before, so rows "
            "are stored more than once: does every worker of an IterableDataset read all of it? Divide it among "
            "them (torch.utils.data.get_worker_info), or use one worker"
        )
        warnings.warn(msg, RepeatedInputsWarning, stacklevel=4)


def _all_alike(inputs: object) -> bool:
    """Whether all rows of a batch are the same."""
    if isinstance(inputs, Mapping):
        return all(map(_all_alike, inputs.values()))
    if arrays.is_array(inputs):
        return _rows_alike(inputs)
    if isinstance(inputs, (tuple, list)):
        if any(arrays.is_array(part) or isinstance(part, Mapping) for part in inputs):
            return all(map(_all_alike, inputs))
        return all(part == inputs[0] for part in inputs)
    return False


def _rows_alike(array: object) -> bool:
    try:
        rows = arrays.to_bits(array)[0]
    except TypeError:  # Python objects, and tensors that NumPy cannot hold: they are not hashed either
        return False
    return not rows.shape or bool((rows == rows[:1]).all())
