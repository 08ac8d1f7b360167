"""HDF5 files that others wrote: a dataset is looked at from outside, and refused where reading it could do harm.

Imported inside functions only: it loads h5py. Of the library, nothing is called that reads a value, follows a link out
of the file or loads a plugin before the checks are through. HDF5_PLUGIN_PRELOAD is left alone: it is read when h5py is
first imported, so it can not be relied on, and it would take plugins away from the rest of the user's program. Instead
a dataset with a filter that is not built in is refused, and plugins are loaded for no other.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import h5py
from h5py import h5d, h5g, h5l, h5o, h5s, h5t, h5z

from actstore.errors import SourceError
from actstore.wording import listed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

LARGEST_RATIO = 1000  # of what a dataset declares to what its file has; deflate reaches 1032 at its very best
FILTERS = {
    h5z.FILTER_DEFLATE: "deflate",
    h5z.FILTER_SHUFFLE: "shuffle",
    h5z.FILTER_FLETCHER32: "fletcher32",
    h5z.FILTER_LZF: "lzf",
    h5z.FILTER_SZIP: "szip",
}
LAYOUTS = (h5d.CONTIGUOUS, h5d.CHUNKED, h5d.COMPACT)
BOOL = {b"FALSE": 0, b"TRUE": 1}


def open_file(path: str | PathLike[str]) -> h5py.File:
    """The HDF5 file at ``path``, to read. SourceError where there is none."""
    try:
        return h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        msg = f"{path} is not an HDF5 file: {str(error).splitlines()[0]}"
        raise SourceError(msg) from error


def open_dataset(file: h5py.File, key: str, spec: str) -> h5py.Dataset:
    """The dataset ``key`` of an open file, once it is safe to read.

    Safe is: reached by hard links alone; stored in this file; filters that are built in; integers, floats, bools or
    text of a fixed width; no more bytes than the file could unpack to.

    Raises:
        SourceError: it is not, or there is none; one line, which begins with ``spec``.
    """
    try:
        found = _follow(file, key, spec)
        _check_storage(found, spec)
        _check_type(found.get_type(), spec)
        _check_size(found, file.id.get_filesize(), spec)
        dataset = h5py.Dataset(found, readonly=True)
        kind = dataset.dtype.kind
    except (RuntimeError, OSError, ValueError, TypeError, KeyError) as error:
        msg = f"{spec} can not be opened: {' '.join(str(error).split())}"
        raise SourceError(msg) from error
    if kind not in "iufbS":
        raise _odd_type(spec)
    return dataset


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
    for number in range(creation.get_nfilters()):
        code, _, _, name = creation.get_filter(number)
        if code not in FILTERS or not (code != h5z.FILTER_SZIP or h5z.filter_avail(code)):
            told = name.decode("utf-8", "backslashreplace") or "no name"
            msg = (
                f"{spec} is packed by filter {code} ({told!r}), which is not loaded; "
                f"store it with one of {', '.join(FILTERS.values())}, or none"
            )
            raise SourceError(msg)


def _check_type(kind: h5t.TypeID, spec: str) -> None:
    """Of the type's class, never of its dtype: a hostile opaque type would make h5py take bytes for pointers."""
    found = kind.get_class()
    fits = found in (h5t.INTEGER, h5t.FLOAT)
    if found == h5t.STRING:
        fits = not kind.is_variable_str()
    if found == h5t.ENUM:
        members = [(kind.get_member_name(i), kind.get_member_value(i)) for i in range(kind.get_nmembers())]
        fits = dict(members) == BOOL and kind.get_size() == 1
    if not fits:
        raise _odd_type(spec)


def _odd_type(spec: str) -> SourceError:
    return SourceError(
        f"{spec} holds neither numbers nor text of a fixed width (Python objects and the like are refused)"
    )


def _check_size(dataset: h5d.DatasetID, file_bytes: int, spec: str) -> None:
    space = dataset.get_space()
    if space.get_simple_extent_type() not in (h5s.SIMPLE, h5s.SCALAR):
        msg = f"{spec} has no shape; an array was expected"
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
    if prod(dataset.shape) and not dataset.get_storage_size():
        msg = f"{spec} was never written: the file has room for it but no values. What wrote it did not finish"
        raise SourceError(msg)
