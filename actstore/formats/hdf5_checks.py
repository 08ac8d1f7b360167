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
from actstore.formats.conventions import FILLS, NETCDF_FILLS, is_of_rows, refused_array, refused_group
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
        _check_group(found, f"{spec} (in the group {name.decode()!r})")
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


def _check_conventions(dataset: h5d.DatasetID, spec: str) -> None:
    """Of MATLAB and of netCDF: what an attribute says of the numbers is nowhere in their bytes."""
    attributes = attributes_of(dataset)
    if attributes.get("MATLAB_class") in ("char", "cell", "struct", "function_handle"):
        msg = f"{spec} is a {attributes['MATLAB_class']} of MATLAB's, whose numbers are not what it means; save numbers"
        raise SourceError(msg)
    if "MATLAB_empty" in attributes:
        msg = f"{spec} is an empty array of MATLAB's: its numbers are its shape"
        raise SourceError(msg)
    why = refused_array(attributes, spec)
    if why:
        raise SourceError(why)


def is_turned(dataset: h5d.DatasetID) -> bool:
    """Whether the axes of a dataset lie in reverse: MATLAB's do."""
    return h5a.exists(dataset, b"MATLAB_class") and len(dataset.shape) > 1


def attributes_of(thing: Any) -> dict[str, object]:
    """The attributes of a group or dataset: texts as they are, of all else only that it is there."""
    found: dict[str, object] = {}
    for number in range(h5a.get_num_attrs(thing)):
        attribute = h5a.open(thing, index=number)
        name = attribute.name.decode("utf-8", "backslashreplace")
        is_text = attribute.get_type().get_class() == h5t.STRING and prod(attribute.shape) == 1
        found[name] = _text(thing, attribute.name) if is_text else True
    return found


def _text(thing: Any, name: bytes) -> str:
    kind = h5py.Dataset if isinstance(thing, h5d.DatasetID) else h5py.Group
    value = kind(thing).attrs[name]
    value = value.item() if isinstance(value, np.ndarray) else value
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def rows_and_others(file: h5py.File) -> tuple[list[str], list[str]]:
    """The datasets that may be layers, by their paths, and those that are not: text, single values, coordinates.

    Raises:
        SourceError: a group that holds rows in a way that is not undone.
    """
    root = attributes_of(file.id)
    if root.get("encoding-type") == "anndata":
        for group in (b"X", b"raw"):
            if group in file.id:
                _check_group(h5o.open(file.id, group), f"{file.filename}:/{group.decode()}")
    rows: list[str] = []
    others: list[str] = []
    for path in dataset_names(file):
        name = path.lstrip("/")
        if name.startswith(_OF_MATLAB):
            continue
        is_rows = is_of_rows(name, root) and _is_numbers(_follow(file, name, f"{file.filename}:{path}"))
        (rows if is_rows else others).append(name)
    return rows, others


_OF_MATLAB = ("#refs#/", "#subsystem#/")
"""Where MATLAB keeps what its cells and objects refer to."""


def _is_numbers(dataset: h5d.DatasetID) -> bool:
    kind = dataset.get_type()
    is_coordinate = attributes_of(dataset).get("CLASS") == "DIMENSION_SCALE"
    known = kind.get_class() in (h5t.INTEGER, h5t.FLOAT) or (
        kind.get_class() == h5t.ENUM and kind.get_size() == 1
    )
    return bool(known and dataset.shape and not is_coordinate)


def _check_group(group: Any, name: str) -> None:
    why = refused_group(attributes_of(group), name) if isinstance(group, h5g.GroupID) else ""
    if why:
        raise SourceError(why)


def fill_values(file: h5py.File, dataset: h5d.DatasetID, spec: str) -> list[float]:
    """Return the numbers that stand for nothing (netCDF); NaN stands for nothing anyway."""
    found = []
    if h5a.exists(file.id, b"_NCProperties") and not h5a.exists(dataset, b"_FillValue"):
        kind = dataset.get_type()
        code = {h5t.FLOAT: "f", h5t.INTEGER: "i"}.get(kind.get_class(), "")
        if code == "i" and kind.get_sign() == h5t.SGN_NONE:
            code = "u"
        found += [NETCDF_FILLS[name] for name in [f"{code}{kind.get_size()}"] if name in NETCDF_FILLS]
    for name in map(str.encode, FILLS):
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
