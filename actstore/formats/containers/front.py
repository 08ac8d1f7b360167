"""The one front to files of arrays: what is in them by name, whatever kind they are of and whatever they are called."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from actstore.errors import SourceError
from actstore.formats import safetensors
from actstore.formats.containers.base import FileArray
from actstore.formats.containers.kinds import (
    ARRAYS,
    FORMS,
    GZIP,
    HDF5,
    NPY,
    NPZ,
    SAFETENSORS,
    TABLE_FORMS,
    TEXT,
    TORCH,
    ZARR,
    Located,
    kind_of,
    located,
    meant,
    missing,
)
from actstore.formats.containers.torch_file import read_torch
from actstore.formats.containers.unpacked import unpacked
from actstore.formats.containers.zarr_folder import read_zarr
from actstore.formats.foreign_hdf5 import open_array, open_rows
from actstore.formats.numpy_files import open_npy, open_npz
from actstore.formats.opening import existing
from actstore.store.format import numpy_dtype
from actstore.store.reading.single_file import is_single_file
from actstore.wording import hint, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Found:
    """A file that a SPEC names, as it can be read.

    Args:
        shown: what messages call the file.
        path: where its bytes are: of a file packed by gzip, those that were packed.
        key: what is named in it; None where nothing is.
        kind: one of ``kinds``.
    """

    shown: str
    path: Path
    key: str | None
    kind: str

    @property
    def spec(self) -> str:
        """How it was named."""
        return self.shown if self.key is None else f"{self.shown}:{self.key}"


def find(spec: str) -> Found | None:
    """Return the file that a SPEC names; None where there is no such file.

    Raises:
        SourceError: a file of arrays, by its suffix, that is not there; a damaged one; one of a kind that is not read.
    """
    place = located(spec)
    if place is None:
        path = missing(spec)
        if path is not None:
            existing(path)
        return None
    return _as_found(place)


def _as_found(place: Located) -> Found:
    path, kind, shown = place.path, place.kind, str(place.path)
    if kind == GZIP:
        path = unpacked(path)
        with shown_as(path, shown):
            kind = kind_of(path)
    if kind == TEXT:  # of a damaged file, the reader that its suffix asks for says what is wrong
        kind = meant(shown) or TEXT
    return Found(shown, path, place.key, kind)


def open_one(found: Found) -> FileArray:
    """Return the array that a SPEC names, or the only one of its file.

    Raises:
        SourceError: none of that name, or several and no name.
    """
    if found.key is not None and not found.key and found.kind != HDF5:
        found = Found(found.shown, found.path, None, found.kind)
    arrays, _ = _read(found)
    if len(arrays) > 1:
        form = "/PATH" if found.kind in (HDF5, ZARR) else "KEY"
        msg = f"{found.shown} does not say which array: {found.shown}:{form} (it holds {listed([*arrays])})"
        raise SourceError(msg)
    return next(iter(arrays.values()))


def open_all(found: Found) -> tuple[dict[str, FileArray], list[str]]:
    """Return the arrays of a file by name, or the one that is named, and the names of what else is in it.

    Raises:
        SourceError: it cannot be read, holds none, or none of that name.
    """
    return _read(found)


def _read(found: Found) -> tuple[dict[str, FileArray], list[str]]:
    if found.kind not in ARRAYS:
        msg = f"{found.spec} is not understood; expected one of {FORMS}, {TABLE_FORMS}"
        raise SourceError(msg)
    with shown_as(found.path, found.shown):
        return _READERS[found.kind](found)


def _npy(found: Found) -> tuple[dict[str, FileArray], list[str]]:
    if found.key is not None:
        msg = f"{found.spec}: a .npy file holds one array; write {found.shown}"
        raise SourceError(msg)
    return {_stem(found): FileArray.of(open_npy(found.path, found.shown), found.shown)}, []


def _npz(found: Found) -> tuple[dict[str, FileArray], list[str]]:
    members = open_npz(found.path, found.key)
    return {name: FileArray.of(one, f"{found.shown}:{name}") for name, one in members.items()}, []


def _safetensors(found: Found) -> tuple[dict[str, FileArray], list[str]]:
    tensors = {tensor.name: tensor for tensor in safetensors.read_header(found.path)}
    if found.key is not None and found.key not in tensors:
        msg = f"{found.shown} holds no {found.key!r}; it holds {listed([*tensors])}"
        raise SourceError(msg)
    chosen = [tensor for name, tensor in tensors.items() if found.key in (None, name)]
    if not chosen:
        msg = f"{found.shown} holds no tensors"
        raise SourceError(msg)
    return {one.name: _tensor(found, one) for one in chosen}, []


def _tensor(found: Found, tensor: safetensors.Tensor) -> FileArray:
    dtype = numpy_dtype(tensor.dtype)
    array: np.ndarray = np.empty(0 if tensor.nbytes else tensor.shape, dtype)
    if tensor.nbytes:  # nothing cannot be mapped
        array = np.memmap(found.path, dtype, "r", tensor.offset, tensor.shape)
    return FileArray(f"{found.shown}:{tensor.name}", array, tensor.dtype)


def _hdf5(found: Found) -> tuple[dict[str, FileArray], list[str]]:
    if found.key is not None and found.key.strip("/"):
        name = found.key.strip("/")
        return {name: _dataset(open_array(found.path, found.key, found.spec), found.spec)}, []
    if is_single_file(found.path):
        msg = (
            f"{found.shown} is a store already, and no file of others; name one dataset in it, "
            f"{found.shown}:/layers/NAME, or fit the store itself, alone"
        )
        raise SourceError(msg)
    answer = open_rows(found.path)
    arrays = {one.spec.removeprefix(f"{found.path}:/"): one for one in answer.arrays}
    if not arrays:
        msg = f"{found.shown} holds no dataset of numbers with rows; it holds {listed(answer.names)}"
        raise SourceError(msg)
    named = {name: _dataset(one, f"{found.shown}:/{name}") for name, one in arrays.items()}
    return named, list(answer.names)


def _dataset(values: object, spec: str) -> FileArray:
    is_column = type(values).__name__ == "FileRows"  # MATLAB's, turned round
    return FileArray.of(values, spec, is_column=is_column)


def _torch(found: Found) -> tuple[dict[str, FileArray], list[str]]:
    arrays, others = read_torch(found.path, found.shown)
    if found.key is None:
        return arrays, others
    if found.key not in arrays:
        msg = f"{found.shown} holds no {found.key!r}; {hint(found.key, [*arrays])}"
        raise SourceError(msg)
    return {found.key: arrays[found.key]}, others


def _zarr(found: Found) -> tuple[dict[str, FileArray], list[str]]:
    return read_zarr(found.path, found.key, found.shown)


_READERS: dict[str, Callable[[Found], tuple[dict[str, FileArray], list[str]]]] = {
    NPY: _npy,
    NPZ: _npz,
    SAFETENSORS: _safetensors,
    HDF5: _hdf5,
    TORCH: _torch,
    ZARR: _zarr,
}


def _stem(found: Found) -> str:
    """What the only array of a file is called: as the file, without the ending of packing."""
    name = found.shown.rpartition("/")[2]
    return name.removesuffix(".gz").rpartition(".")[0] or name


@contextmanager
def shown_as(path: Path, shown: str) -> Iterator[None]:
    """Name a file as the user did, where a message has the path of its unpacked bytes."""
    try:
        yield
    except SourceError as error:
        if str(path) == shown or str(path) not in str(error):
            raise
        raise SourceError(str(error).replace(str(path), shown)) from error
