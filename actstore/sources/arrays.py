"""Arrays in files: ``FILE.npy`` (mapped), ``FILE.npz:KEY`` (held in memory), ``FILE.h5:/PATH`` (read in slices).

Nothing is ever unpickled: arrays of Python objects are refused.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore import arrays
from actstore.errors import SourceError
from actstore.formats.foreign_array import ForeignArray
from actstore.formats.foreign_hdf5 import open_array
from actstore.formats.numpy_files import Member, open_npy, open_npz
from actstore.formats.opening import existing
from actstore.rows.labels import check_size
from actstore.sources.base import Batch, Source, check_labels
from actstore.wording import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

FORMS = "FILE.npy, FILE.npz:KEY, FILE.h5:/PATH"

_SPEC = re.compile(r"(?P<file>.*\.(?P<kind>npy|npz|h5|hdf5))(?::(?P<key>.*))?", re.DOTALL)


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

        def take(places: np.ndarray) -> Batch:
            rows = _slice_of(places)
            if rows is not None:
                inputs = arrays.copied(self._array[rows])
            else:
                inputs = (
                    self._array.take(places) if isinstance(self._array, ForeignArray) else self._array[places]
                )
            return Batch(inputs, len(places), {name: labels[places] for name, labels in self._targets.items()})

        yield take

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The array itself."""
        yield self._array


def resolve(spec: str, split: str) -> Sequence[tuple[str, Source]] | None:
    """The one source of an array's SPEC."""
    found = _SPEC.fullmatch(spec)
    if found is None:
        return None
    path = existing(Path(found["file"]))
    array = _opened(found, path, spec)
    return [(split, ArraySource(array.whole() if isinstance(array, Member) else array, spec))]


def labels(spec: str) -> np.ndarray | None:
    """All labels of an array's SPEC."""
    found = _SPEC.fullmatch(spec)
    if found is None:
        return None
    path = existing(Path(found["file"]))
    array = _opened(found, path, spec)
    if len(array.shape) == 1:
        check_size(array.shape[0], array.dtype, spec)
    else:  # refused by its shape, unread
        return check_labels(np.broadcast_to(np.zeros((), np.int8), array.shape), spec)
    return check_labels(array.whole() if isinstance(array, Member) else np.array(array[()]), spec)


def _opened(found: re.Match[str], path: Path, spec: str) -> np.ndarray | ForeignArray | Member:
    if found["kind"] in ("h5", "hdf5"):
        return open_array(path, _key(found, spec, "/PATH"), spec)
    if found["kind"] == "npy":
        if found["key"] is not None:
            msg = f"{spec}: a .npy file holds one array; write {path}"
            raise SourceError(msg)
        return open_npy(path, spec)
    if not found["key"]:
        _key(found, f"{spec} (it holds {listed([*open_npz(path)])})", "KEY")
    return open_npz(path, found["key"])[found["key"]]


def _slice_of(places: np.ndarray) -> slice | None:
    start, stop = int(places[0]), int(places[-1]) + 1
    return slice(start, stop) if stop - start == len(places) else None


def _key(found: re.Match[str], spec: str, form: str) -> str:
    if not found["key"]:
        msg = f"{spec} does not say which array: {found['file']}:{form}"
        raise SourceError(msg)
    return found["key"]


def _rows(array: Any, spec: str) -> int:
    if not array.shape:
        msg = f"{spec} is a single {array.dtype}; expected an array with rows"
        raise SourceError(msg)
    if not array.shape[0]:
        msg = f"{spec} has no rows ({arrays.describe(array)})"
        raise SourceError(msg)
    return int(array.shape[0])
