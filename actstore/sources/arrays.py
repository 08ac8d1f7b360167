"""Arrays in files, of every kind that ``formats.containers`` opens: ``FILE.npy``, ``FILE.npz:KEY``, ``FILE.h5:/PATH``.

Nothing is ever unpickled: arrays of Python objects are refused.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore import arrays
from actstore.errors import SourceError
from actstore.formats.containers import kinds
from actstore.formats.containers.base import FileRows
from actstore.formats.containers.front import find, open_one
from actstore.formats.foreign_array import ForeignArray
from actstore.rows.labels import check_size
from actstore.sources.base import Batch, Source, check_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

FORMS = kinds.FORMS


class ArraySource:
    """The rows of an array, with the labels that belong to them."""

    def __init__(self, array: Any, spec: str, targets: Mapping[str, np.ndarray] | None = None) -> None:
        self.spec = spec
        self.rows = _rows(array, spec)
        try:
            arrays.check_mask(array)
        except TypeError as error:
            msg = f"{spec} is no data: {error}"
            raise SourceError(msg) from error
        self._array = array
        self._targets = targets or {}

    @contextmanager
    def slicing(self) -> Iterator[Callable[[np.ndarray], Batch]]:
        """Reads rows of the array."""
        by_place = arrays.by_place(self._array)

        def take(places: np.ndarray) -> Batch:
            rows = _slice_of(places)
            if rows is not None:
                inputs = arrays.copied(by_place[rows])
            else:
                is_read = isinstance(self._array, (ForeignArray, FileRows))
                inputs = self._array.take(places) if is_read else by_place[places]
            return Batch(inputs, len(places), {name: labels[places] for name, labels in self._targets.items()})

        yield take

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The array itself."""
        yield self._array


def resolve(spec: str, split: str) -> Sequence[tuple[str, Source]] | None:
    """The one source of an array's SPEC."""
    found = find(spec)
    if found is None or found.kind not in kinds.ARRAYS:
        return None
    return [(split, ArraySource(open_one(found).data(), spec))]


def labels(spec: str) -> np.ndarray | None:
    """All labels of an array's SPEC."""
    found = find(spec)
    if found is None or found.kind not in kinds.ARRAYS:
        return None
    array = open_one(found)
    shape = array.shape
    is_column = array.is_column and len(shape) == 2 and 1 in shape
    if len(shape) != 1 and not is_column:  # refused by its shape, unread
        return check_labels(np.broadcast_to(np.zeros((), np.int8), shape), spec)
    check_size(max(shape), np.dtype(array.values.dtype), spec)
    return check_labels(array.whole().reshape(-1), spec)


def _slice_of(places: np.ndarray) -> slice | None:
    start, stop = int(places[0]), int(places[-1]) + 1
    return slice(start, stop) if stop - start == len(places) else None


def _rows(array: Any, spec: str) -> int:
    if not array.shape:
        msg = f"{spec} is a single {array.dtype}; expected an array with rows"
        raise SourceError(msg)
    if not array.shape[0]:
        msg = f"{spec} has no rows ({arrays.describe(array)})"
        raise SourceError(msg)
    return int(array.shape[0])
