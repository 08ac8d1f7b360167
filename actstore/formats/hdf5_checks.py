"""What of a dataset of others is refused before its values are looked for. Runs in ``hdf5_child`` alone.

Of the library, nothing is called that reads a value, follows a link out of the file or loads a plugin. A dataset with a
filter that ``hdf5_filters`` does not undo is refused, so that no plugin is loaded.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5s, h5t

from actstore.errors import SourceError
from actstore.formats.hdf5_filters import NAMES, SHUFFLE
from actstore.wording import listed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

LARGEST_RATIO = 1000  # of what a dataset declares to what its file has; deflate reaches 1032 at its very best
MOST_FILTERS = 8
LAYOUTS = (h5d.CONTIGUOUS, h5d.CHUNKED, h5d.COMPACT)


def open_file(path: str | PathLike[str]) -> h5py.File:
    """The HDF5 file at ``path``, to read. SourceError where there is none."""
    try:
        return h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        msg = f"{path} is not an HDF5 file: {str(error).splitlines()[0]}"
        raise SourceError(msg) from error


def check_dataset(file: h5py.File, key: str, spec: str) -> h5d.DatasetID:
    """Return the dataset ``key`` of an open file where nothing that can be told without its values speaks against it.

    It is reached by hard links alone; stored in this file, by filters that we undo; of no more bytes than the file
    could unpack to; and not written under a convention by which its numbers mean others.

    Raises:
        SourceError: one line, which begins with ``spec``.
    """
    found = _follow(file, key, spec)
    _check_storage(found, spec)
    _check_size(found, file.id.get_filesize(), spec)
    _check_conventions(found, spec)
    return found


SUPERBLOCK_BYTES, HEADER_BYTES = 48, 16  # the shortest


def needed(file: h5py.File, dataset: h5d.DatasetID) -> list[tuple[int, int]]:
    """Return where (address, bytes) no value can lie: the file's own beginning, and the dataset's header."""
    base = file.userblock_size
    return [(0, base + SUPERBLOCK_BYTES), (base + h5o.get_info(dataset).addr, HEADER_BYTES)]


def dataset_names(file: h5py.File) -> list[str]:
    """The paths of all datasets that hard links lead to, whatever they hold, in the order of the alphabet."""
    return sorted(f"/{path}" for path in _walk(file.id, ""))


def _walk(group: h5g.GroupID, before: str) -> Iterator[str]:
    seen = {_address(group)}
    todo = [(group, before)]
    while todo:
        group, before = todo.pop(0)
        for name in group:
            if group.links.get_info(name).type != h5l.TYPE_HARD:
                continue
            found = h5o.open(group, name)
            path = before + name.decode("utf-8", "backslashreplace")
            if isinstance(found, h5d.DatasetID):
                yield path
            elif isinstance(found, h5g.GroupID) and _address(found) not in seen:
                seen.add(_address(found))
                todo.append((found, f"{path}/"))


def _address(group: h5g.GroupID) -> int:
    return h5o.get_info(group).addr


def _follow(file: h5py.File, key: str, spec: str) -> h5d.DatasetID:
    """Go down one hard link after the other."""
    found: Any = file.id
    for name in key.encode("utf-8").split(b"/"):
        if name in (b"", b"."):
            continue
        if not isinstance(found, h5g.GroupID) or not found.links.exists(name):
            raise _missing(file, key, spec)
        if found.links.get_info(name).type != h5l.TYPE_HARD:
            msg = (
                f"{spec} is reached through a soft or external link, which is not followed: "
                "name the dataset where it really is"
            )
            raise SourceError(msg)
        found = h5o.open(found, name)
    if not isinstance(found, h5d.DatasetID):
        raise _missing(file, key, spec)
    return found


def _missing(file: h5py.File, key: str, spec: str) -> SourceError:
    return SourceError(f"{spec}: there is no dataset {key!r}; there is {listed(dataset_names(file))}")


def _check_storage(dataset: h5d.DatasetID, spec: str) -> None:
    creation = dataset.get_create_plist()
    if creation.get_layout() == h5d.VIRTUAL:
        msg = f"{spec} is a virtual dataset, made of parts of other ones, which are not opened; name those"
        raise SourceError(msg)
    if creation.get_layout() not in LAYOUTS or creation.get_external_count():
        msg = f"{spec} is stored outside its file, in others that are not opened; copy it into one file first"
        raise SourceError(msg)
    if creation.get_nfilters() > MOST_FILTERS:
        msg = f"{spec} is packed by {creation.get_nfilters()} filters; {MOST_FILTERS} at most are undone"
        raise SourceError(msg)
    item_bytes = dataset.get_type().get_size()
    for number in range(creation.get_nfilters()):
        code, _, values, name = creation.get_filter(number)
        if code not in NAMES:
            told = name.decode("utf-8", "backslashreplace") or "no name"
            msg = (
                f"{spec} is packed by filter {code} ({told!r}), which is not loaded; "
                f"store it with one of {', '.join(NAMES.values())}, or none"
            )
            raise SourceError(msg)
        if code == SHUFFLE and values[:1] != (item_bytes,):
            msg = f"{spec} is damaged: its elements of {item_bytes} bytes were shuffled as others, {values[:1]}"
            raise SourceError(msg)


def _check_size(dataset: h5d.DatasetID, file_bytes: int, spec: str) -> None:
    space = dataset.get_space()
    if space.get_simple_extent_type() not in (h5s.SIMPLE, h5s.SCALAR):
        msg = f"{spec} has no shape; expected an array"
        raise SourceError(msg)
    creation = dataset.get_create_plist()
    shapes = [dataset.shape, creation.get_chunk() if creation.get_layout() == h5d.CHUNKED else ()]
    declared = max(prod(shape) for shape in shapes) * dataset.get_type().get_size()
    if declared > LARGEST_RATIO * file_bytes:
        msg = (
            f"{spec} declares {declared:,} bytes in a file of {file_bytes:,}: more than {LARGEST_RATIO:,} times "
            "as much, which no filter unpacks to. It is not read"
        )
        raise SourceError(msg)


_CONVENTIONS = {
    b"scale_factor": "its numbers are to be scaled",
    b"add_offset": "its numbers are to be shifted",
    b"valid_range": "some of its numbers stand for nothing",
    b"valid_min": "some of its numbers stand for nothing",
    b"valid_max": "some of its numbers stand for nothing",
    b"_Unsigned": "its numbers are of another sign",
}
FILLS = (b"_FillValue", b"missing_value")


def _check_conventions(dataset: h5d.DatasetID, spec: str) -> None:
    """Of MATLAB and of netCDF: what an attribute says of the numbers is nowhere in their bytes."""
    if h5a.exists(dataset, b"MATLAB_class") and len(dataset.shape) > 1:
        msg = (
            f"{spec} was written by MATLAB, which lays arrays out the other way round: the {dataset.shape} here is "
            f"{dataset.shape[::-1]} there. Write the transposed array, or save it as .npy"
        )
        raise SourceError(msg)
    for name, meaning in _CONVENTIONS.items():
        if h5a.exists(dataset, name):
            msg = (
                f"{spec} has the attribute {name.decode()}, by which {meaning} (netCDF); it is not applied. "
                "Write the numbers that are meant, without it"
            )
            raise SourceError(msg)


def fill_values(dataset: h5d.DatasetID, spec: str) -> list[float]:
    """Return the numbers that stand for nothing (netCDF); NaN stands for nothing anyway."""
    found = []
    for name in FILLS:
        if not h5a.exists(dataset, name):
            continue
        attribute = h5a.open(dataset, name)
        if attribute.get_type().get_class() not in (h5t.INTEGER, h5t.FLOAT) or prod(attribute.shape) != 1:
            msg = f"{spec} has an attribute {name.decode()} that is no number; write it without"
            raise SourceError(msg)
        value = np.empty(1, attribute.dtype)
        attribute.read(value)
        found.append(value[0].item())
    return [value for value in found if value == value]
