"""Arrays in files: ``FILE.npy`` (mapped), ``FILE.npz:KEY`` (held in memory), ``FILE.h5:/PATH`` (read in slices).

Nothing is ever unpickled: arrays of Python objects are refused.
"""

from __future__ import annotations

import re
import zipfile
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore import arrays
from actstore.errors import SourceError
from actstore.sources.base import Batch, Source, check_labels
from actstore.wording import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

FORMS = "FILE.npy, FILE.npz:KEY, FILE.h5:/PATH"

_GAP_BYTES = 2**18
"""Rows that lie closer together than this are read in one slice of a file."""

_SPEC = re.compile(r"(?P<file>.*\.(?P<kind>npy|npz|h5|hdf5))(?::(?P<key>.*))?", re.DOTALL)


class ArraySource:
    """The rows of an array, with the labels that belong to them."""

    def __init__(self, array: Any, spec: str, targets: Mapping[str, np.ndarray] | None = None) -> None:
        self.spec = spec
        self.rows = _rows(array, spec)
        self._array = array
        self._targets = targets or {}

    @contextmanager
    def slicing(self) -> Iterator[Callable[[np.ndarray], Batch]]:
        """Reads rows of the array."""

        def take(places: np.ndarray) -> Batch:
            rows = _slice_of(places)
            inputs = self._array[places] if rows is None else arrays.copied(self._array[rows])
            return Batch(inputs, len(places), {name: labels[places] for name, labels in self._targets.items()})

        yield take

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The array itself."""
        yield self._array


class Hdf5Source:
    """The rows of a dataset in an HDF5 file, which is open only while it is read."""

    def __init__(self, path: Path, key: str, spec: str) -> None:
        self.spec = spec
        self._path, self._key = path, key
        with _hdf5(path) as file:
            self.rows = _rows(_dataset(file, key, spec), spec)

    @contextmanager
    def slicing(self) -> Iterator[Callable[[np.ndarray], Batch]]:
        """Reads rows of the dataset: whole slices, out of which rows are picked where they lie close together."""
        with _hdf5(self._path) as file:
            dataset = _dataset(file, self._key, self.spec)
            yield lambda places: Batch(_read_places(dataset, places), len(places))

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The dataset, while its file is open."""
        with _hdf5(self._path) as file:
            yield _dataset(file, self._key, self.spec)


def resolve(spec: str, split: str) -> Sequence[tuple[str, Source]] | None:
    """The one source of an array's SPEC."""
    found = _SPEC.fullmatch(spec)
    if found is None:
        return None
    path = _existing(Path(found["file"]))
    if found["kind"] in ("h5", "hdf5"):
        return [(split, Hdf5Source(path, _key(found, spec, "/PATH"), spec))]
    return [(split, ArraySource(_numpy_array(found, path, spec), spec))]


def labels(spec: str) -> np.ndarray | None:
    """All labels of an array's SPEC."""
    found = _SPEC.fullmatch(spec)
    if found is None:
        return None
    path = _existing(Path(found["file"]))
    if found["kind"] in ("h5", "hdf5"):
        with _hdf5(path) as file:
            return check_labels(_dataset(file, _key(found, spec, "/PATH"), spec)[()], spec)
    return check_labels(np.array(_numpy_array(found, path, spec)), spec)


def _numpy_array(found: re.Match[str], path: Path, spec: str) -> np.ndarray:
    if found["kind"] == "npy" and found["key"] is not None:
        msg = f"{spec}: a .npy file holds one array; write {path}"
        raise SourceError(msg)
    try:
        if found["kind"] == "npy":
            return np.load(path, mmap_mode="r", allow_pickle=False)
        with np.load(path, allow_pickle=False) as archive:
            key = _key(found, f"{spec} (it holds {listed(archive.files)})", "KEY")
            if key not in archive.files:
                msg = f"{path} holds no {key!r}; it holds {listed(archive.files)}"
                raise SourceError(msg)
            return archive[key]
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        msg = f"{spec} can not be read as an array of numbers or text (Python objects are refused): {error}"
        raise SourceError(msg) from error


def _dataset(file: Any, key: str, spec: str) -> Any:
    from actstore.formats.foreign_hdf5 import open_dataset

    return open_dataset(file, key, spec)


def _read_places(dataset: Any, places: np.ndarray) -> np.ndarray:
    """Rows of a dataset, (count, *features): h5py's own picking of rows is far slower than slices."""
    row_bytes = max(1, dataset.dtype.itemsize * prod(dataset.shape[1:]))
    breaks = np.flatnonzero(np.diff(places) > 1 + _GAP_BYTES // row_bytes) + 1
    parts = [dataset[run[0] : run[-1] + 1][run - run[0]] for run in np.split(places, breaks)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _slice_of(places: np.ndarray) -> slice | None:
    start, stop = int(places[0]), int(places[-1]) + 1
    return slice(start, stop) if stop - start == len(places) else None


def _hdf5(path: Path) -> Any:
    from actstore.formats.foreign_hdf5 import open_file

    return open_file(path)


def _key(found: re.Match[str], spec: str, form: str) -> str:
    if not found["key"]:
        msg = f"{spec} was expected to say which array: {found['file']}:{form}"
        raise SourceError(msg)
    return found["key"]


def _existing(path: Path) -> Path:
    if not path.is_file():
        msg = f"there is no file {path}"
        raise SourceError(msg)
    return path


def _rows(array: Any, spec: str) -> int:
    if not array.shape:
        msg = f"{spec} is a single {array.dtype}; an array with rows was expected"
        raise SourceError(msg)
    if not array.shape[0]:
        msg = f"{spec} has no rows ({arrays.describe(array)})"
        raise SourceError(msg)
    return int(array.shape[0])
