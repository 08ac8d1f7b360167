"""Arrays in files: ``FILE.npy`` (mapped), ``FILE.npz:KEY`` (held in memory), ``FILE.h5:/PATH`` (read in slices).

Nothing is ever unpickled: arrays of Python objects are refused.
"""

from __future__ import annotations

import re
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore import interop
from actstore.errors import SourceError
from actstore.patterns import listed
from actstore.sources.base import Batch, Source, check_labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FORMS = "FILE.npy, FILE.npz:KEY, FILE.h5:/PATH"

_SPEC = re.compile(r"(?P<file>.*\.(?P<kind>npy|npz|h5|hdf5))(?::(?P<key>.*))?", re.DOTALL)


class ArraySource:
    """The rows of an array, in order, with the labels that belong to them; batches are copies."""

    def __init__(self, array: Any, spec: str, targets: Mapping[str, np.ndarray] | None = None) -> None:
        self.spec = spec
        self.rows: int | None = _rows(array, spec)
        self._array = array
        self._targets = targets or {}

    def batches(self, batch_rows: int) -> Iterator[Batch]:
        """Slices of the array."""
        for start in range(0, len(self._array), batch_rows):
            rows = slice(start, start + batch_rows)
            inputs = interop.copied(self._array[rows])
            yield Batch(inputs, interop.count_rows(inputs), {k: v[rows] for k, v in self._targets.items()})

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
            self.rows: int | None = _rows(_dataset(file, key, spec), spec)

    def batches(self, batch_rows: int) -> Iterator[Batch]:
        """Slices of the dataset."""
        with _hdf5(self._path) as file:
            yield from ArraySource(_dataset(file, self._key, self.spec), self.spec).batches(batch_rows)

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
    from actstore.foreign import open_dataset

    return open_dataset(file, key, spec)


def _hdf5(path: Path) -> Any:
    from actstore.foreign import open_file

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
        msg = f"{spec} has no rows ({interop.describe(array)})"
        raise SourceError(msg)
    return int(array.shape[0])
