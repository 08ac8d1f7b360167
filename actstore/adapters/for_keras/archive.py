"""What a file of Keras names, looked at before Keras reads it: its versions differ in what they refuse.

Keras follows links and external storage in its HDF5 files where the library does, so that a file from elsewhere could
show, as weights, whatever lies on this disk.
"""

from __future__ import annotations

import posixpath
import stat
import zipfile
from math import prod
from typing import TYPE_CHECKING, Any

import h5py
from h5py import h5d, h5g, h5l, h5o

from actstore.errors import AdapterError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGEST_RATIO = 1000  # of what is declared to what the file has: deflate reaches 1032 at its very best


def check_archive(path: Path) -> None:
    """Refuse a ``.keras`` file whose members, or whose weights, name anything outside it, or declare more than it has.

    Raises:
        AdapterError: with the member.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            declared = sum(member.file_size for member in members)
            if declared > LARGEST_RATIO * path.stat().st_size:
                msg = f"{path} declares {declared:,} bytes in a file of {path.stat().st_size:,}; it is not read"
                raise AdapterError(msg)
            for member in members:
                _check_member(path, member)
                if member.filename.endswith((".h5", ".hdf5")):
                    with archive.open(member) as file:
                        check_weights(file, f"{path} ({member.filename})", member.file_size)
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        msg = f"{path} is damaged: {' '.join(str(error).split())}"
        raise AdapterError(msg) from error


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    name = member.filename.replace("\\", "/")
    link = stat.S_ISLNK(member.external_attr >> 16)
    if link or posixpath.isabs(name) or ".." in name.split("/") or ":" in name.split("/")[0]:
        what = "is a link" if link else "would be written outside its folder"
        msg = f"{path} has the member {member.filename!r}, which {what}: the file is not read"
        raise AdapterError(msg)


def check_weights(file: Any, what: str, nbytes: int) -> None:
    """Refuse HDF5 weights that lead to another file, or declare more than their own ``nbytes`` could hold.

    Args:
        file: its path, or an open file.
        what: how messages call it.
        nbytes: its size.

    Raises:
        AdapterError: with the path of the dataset; or it is no HDF5 file.
    """
    try:
        with h5py.File(file, "r") as opened:
            for name, dataset in _datasets(opened.id, what):
                _check_dataset(f"{what}, {name!r},", dataset, nbytes)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        msg = f"{what} is no HDF5 file, or a damaged one: {str(error).splitlines()[0]}"
        raise AdapterError(msg) from error


def _datasets(root: h5g.GroupID, what: str) -> Iterator[tuple[str, h5d.DatasetID]]:
    """Every dataset, by hard links alone. AdapterError at the first link of another kind."""
    seen = set()
    waiting = [(root, "")]
    while waiting:
        group, before = waiting.pop()
        address = h5o.get_info(group).addr
        if address in seen:
            continue
        seen.add(address)
        for name in group:
            path = f"{before}/{name.decode('utf-8', 'backslashreplace')}"
            if group.links.get_info(name).type != h5l.TYPE_HARD:
                msg = f"{what} has the link {path!r}, which could lead to any file: it is not read"
                raise AdapterError(msg)
            found = h5o.open(group, name)
            if isinstance(found, h5d.DatasetID):
                yield path, found
            elif isinstance(found, h5g.GroupID):
                waiting.append((found, path))


def _check_dataset(what: str, dataset: h5d.DatasetID, nbytes: int) -> None:
    creation = dataset.get_create_plist()
    if creation.get_layout() == h5d.VIRTUAL or creation.get_external_count():
        msg = f"{what} lies in another file, which could be any: it is not read"
        raise AdapterError(msg)
    declared = prod(dataset.shape) * dataset.get_type().get_size()
    if declared > LARGEST_RATIO * nbytes:
        msg = f"{what} declares {declared:,} bytes in a file of {nbytes:,}: it is not read"
        raise AdapterError(msg)
