"""The probe file: probes as one HDF5 file, without pickle. Alone in ``solvers`` it imports h5py, when called.

Decoders are saved through it too: ``save_arrays`` and ``opened_arrays`` take any header and arrays of the same profile.

docs/probes.md has the layout, version 0.9. The library only plans a file, in memory and without its rows; the bytes are
written by us, block by block, since on a full disk HDF5 would crash the process (docs/decisions/0002). What is read is
checked first, and read at its place in the file.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from solvers.disk import cures
from solvers.disk.new_file import new_file, write_all
from solvers.disk.paged_memory import PagedMemory
from solvers.disk.placed_arrays import Placed
from solvers.errors import ProbeFileError, ProblemError
from solvers.probing.document.arrays import HEADER, MOST_HEADER_BYTES, FileArrays, unfit
from solvers.probing.document.contents import KEPT, known_type, pack, short, unpack
from solvers.probing.document.header import read_header
from solvers.probing.document.kind import PROBES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import h5py

    from solvers.arrays import Array
    from solvers.probing.document.kind import FileKind
    from solvers.probing.probes import Probes

__all__ = [
    "is_probe_file",
    "load",
    "opened_arrays",
    "refuse_existing",
    "save",
    "save_arrays",
    "write_probes",
]

_WRITTEN_BYTES = 1 << 23
_ALIGNMENT_BYTES = 64  # of every array, so that it can be mapped


def save(
    probes: Probes,
    path: str | Path,
    overwrite: bool = False,
    may_replace: Callable[[Path], bool] | None = None,
) -> None:
    """Write probes to one file, which appears under its name only when it is whole and on the disk.

    ``may_replace`` says what ``overwrite`` may replace; None: probe files.

    Raises:
        ProbeFileError: when the file is there already (without ``overwrite``, or as something else than a probe
            file), its folder is not, the probes hold what a file cannot, or the disk refuses.
    """
    path = Path(path)
    if may_replace is None:
        refuse_existing(path, overwrite)
        may_replace = is_probe_file
    with _saying(path, PROBES), new_file(path, may_replace if overwrite else None) as descriptor:
        write_probes(descriptor, probes)


def save_arrays(
    path: Path, kind: FileKind, header: bytes, arrays: Mapping[str, Array], overwrite: bool = False
) -> None:
    """Write a header and arrays as one file of a kind, as ``save`` does.

    Raises:
        ProbeFileError: as ``save``.
    """
    refuse_existing(path, overwrite, kind=kind)
    replaced = (lambda there: is_probe_file(there, kind)) if overwrite else None
    with _saying(path, kind), new_file(path, replaced) as descriptor:
        _write(descriptor, np.frombuffer(header, np.uint8), arrays, kind)


@contextlib.contextmanager
def _saying(path: Path, kind: FileKind) -> Iterator[None]:
    """Say in one line why a file of a kind could not be written."""
    try:
        yield
    except FileExistsError as error:
        msg = f"{path} exists already; choose another name, or say `--overwrite`, in Python overwrite=True"
        raise ProbeFileError(msg) from error
    except OSError as error:
        msg = f"the {kind.name} {path} could not be written: {error.strerror}; {cures.to_write(error)}"
        raise ProbeFileError(msg) from error


def write_probes(descriptor: int, probes: Probes) -> None:
    """Write the bytes of a probe file.

    Raises:
        ProbeFileError: the probes hold what a file cannot.
        OSError: when the disk refuses.
    """
    header, arrays = pack(probes)
    _write(descriptor, header, arrays, PROBES)


def _write(descriptor: int, header: Array, arrays: Mapping[str, Array], kind: FileKind) -> None:
    """Write the bytes of a file of a kind."""
    if header.nbytes > MOST_HEADER_BYTES:
        msg = (
            f"the header of this {kind.name} would take {header.nbytes:,} bytes, over {MOST_HEADER_BYTES:,}; "
            "save fewer"
        )
        raise ProbeFileError(msg)
    arrays = {HEADER: header, **arrays}
    metadata = PagedMemory()
    offsets = _lay_out(metadata, arrays)
    os.ftruncate(descriptor, metadata.size)
    for offset, page in metadata.pages():
        write_all(descriptor, page, offset)
    for name, array in arrays.items():
        offset = offsets[name]
        for piece in _pieces(array):
            write_all(descriptor, piece, offset)
            offset += piece.nbytes


def load(path: str | Path) -> Probes:
    """Read the probes of a file, to the bit as they were saved, with what this version does not know of them.

    Predictions and tables of rows stay on the disk and are mapped; the rest is read.

    Raises:
        ProbeFileError: when the file is missing, damaged, of a version that is not read here, or not a probe file.
    """
    path = Path(path)
    with opened_arrays(path) as found:
        header = read_header(path, found.bytes_of_header())
        try:
            return unpack(found, header)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, ProblemError) as error:
            msg = f"{path} is damaged: its header does not describe its probes ({short(error)}); fit the probes again"
            raise ProbeFileError(msg) from error


def is_probe_file(path: str | Path, kind: FileKind = PROBES) -> bool:
    """Return whether a file is of a kind, a probe file if not said, whatever its version: what may be replaced."""
    try:
        with opened_arrays(Path(path), kind) as found:
            header = json.loads(found.bytes_of_header())
    except (ProbeFileError, ValueError, RecursionError):
        return False
    return isinstance(header, dict) and header.get("format") == kind.format


def refuse_existing(
    path: str | Path, overwrite: bool, inputs: tuple[str | Path, ...] = (), kind: FileKind = PROBES
) -> None:
    """Raise ProbeFileError where ``save`` would refuse; for asking before a long fit.

    ``inputs`` are files that are read, which are never overwritten.
    """
    path = Path(path)
    if path.is_dir():
        what = kind.name.removesuffix(" file")
        msg = f"{path} is a folder, but {what}s are saved to one file; give it a name such as {path / f'{what}s.h5'}"
        raise ProbeFileError(msg)
    if any(os.path.exists(each) and path.exists() and path.samefile(each) for each in inputs):
        msg = f"{path} is read by this very command, so it is not overwritten; choose another name"
        raise ProbeFileError(msg)
    if os.path.lexists(path):
        if not overwrite:
            msg = f"{path} exists already; choose another name, or say `--overwrite`, in Python overwrite=True"
            raise ProbeFileError(msg)
        if not is_probe_file(path, kind):
            msg = f"{path} is no {kind.name}, and only a {kind.name} is overwritten; choose another name, or remove it"
            raise ProbeFileError(msg)
    if not path.parent.is_dir():
        msg = f"the folder {path.parent} of the {kind.name} {path.name} does not exist; make it first"
        raise ProbeFileError(msg)


# what is written


def _pieces(array: Array) -> Iterator[memoryview]:
    """The bytes of an array as they are stored, little-endian in C order, a few megabytes at a time."""
    little = array.dtype.newbyteorder("<")
    if array.ndim == 0 or not array.size:
        yield np.ascontiguousarray(array, little).reshape(-1).view(np.uint8).data
        return
    rows = max(1, _WRITTEN_BYTES // max(1, array.nbytes // len(array)))
    for start in range(0, len(array), rows):
        yield np.ascontiguousarray(array[start : start + rows], little).reshape(-1).view(np.uint8).data


def _lay_out(metadata: PagedMemory, arrays: Mapping[str, Array]) -> dict[str, int]:
    """Plan a file of these datasets, contiguous and allocated early; gives where the bytes of each go."""
    from h5py import h5d, h5f, h5fd, h5p, h5s, h5t

    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    access.set_fileobj_driver(h5fd.fileobj_driver, metadata)
    access.set_libver_bounds(h5f.LIBVER_V18, h5f.LIBVER_V110)
    access.set_alignment(512, _ALIGNMENT_BYTES)
    creation = h5p.create(h5p.FILE_CREATE)
    creation.set_obj_track_times(False)  # the same probes make the same bytes
    file = h5f.create(b"probes", h5f.ACC_TRUNC, creation, access)
    contiguous = h5p.create(h5p.DATASET_CREATE)
    contiguous.set_obj_track_times(False)
    contiguous.set_layout(h5d.CONTIGUOUS)
    contiguous.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    contiguous.set_fill_time(h5d.FILL_TIME_NEVER)
    offsets = {}
    for name, array in arrays.items():
        space = h5s.create_simple(array.shape) if array.shape else h5s.create(h5s.SCALAR)
        kind = h5t.py_create(array.dtype.newbyteorder("<"))
        offsets[name] = h5d.create(file, name.encode(), kind, space, dcpl=contiguous).get_offset() or 0
    file.close()
    return offsets


# what is read


@contextlib.contextmanager
def opened_arrays(path: Path, kind: FileKind = PROBES) -> Iterator[FileArrays]:
    """Open a file of a kind whose every dataset is within the profile of docs/probes.md.

    Raises:
        ProbeFileError: there is no such file, or it is damaged.
    """
    import h5py

    if not path.is_file():
        msg = f"there is no {kind.name} {path}; make one with `{kind.made_by}` or `{kind.method}`"
        raise ProbeFileError(msg)
    with path.open("rb", buffering=0) as descriptor:
        try:
            with h5py.File(path, "r", locking=False) as file:
                datasets = _datasets(path, file, kind)
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            msg = f"{path} is not a whole HDF5 file ({short(error)}); copy it again, or {kind.again}"
            raise ProbeFileError(msg) from error
        if not os.path.samestat(os.fstat(descriptor.fileno()), path.stat()):
            msg = f"{path} was replaced while it was read; read it again"
            raise ProbeFileError(msg)
        try:
            yield FileArrays(path, cast("BinaryIO", descriptor), datasets, kind)
        except OSError as error:
            msg = f"{path} cannot be read ({error.strerror}); copy it again, or {kind.again}"
            raise ProbeFileError(msg) from error


def _datasets(path: Path, file: h5py.File, kind: FileKind) -> dict[str, Placed]:
    """Return what the root group holds, by name; refused where that is more than the file has room for."""
    names = list(file.id)
    if HEADER.encode() not in names:
        msg = (
            f"{path} is HDF5 but not a {kind.name}: it has no dataset `header`; give a file of `{kind.made_by}`"
        )
        raise ProbeFileError(msg)
    size = path.stat().st_size
    found = {}
    for raw in names:
        name = raw.decode("utf-8", "replace")
        found[name] = _dataset(path, file, raw, size, kind)
    end, last = 0, ""
    for name, each in sorted(found.items(), key=lambda item: item[1].offset):
        if each.nbytes:
            if each.offset < end:
                raise unfit(path, name, f"shares its bytes with `{last}`", kind)
            end, last = each.offset + each.nbytes, name
    return found


@cache
def _kept_types() -> list[tuple[np.dtype[Any], Any]]:
    """The types that a dataset may have, as NumPy and as HDF5 have them, the commonest first."""
    from h5py import h5t

    return [(dtype, h5t.py_create(dtype)) for dtype in reversed(KEPT)]


def _dataset(path: Path, file: h5py.File, raw: bytes, file_bytes: int, kind: FileKind) -> Placed:
    """A dataset of the profile, checked before anything of it is read."""
    name = raw.decode("utf-8", "replace")
    try:
        stored = _hard_linked(file, raw)
        dtype = _dtype(name, stored)
        _refuse_pieces(stored)
        nbytes = math.prod(stored.shape) * dtype.itemsize
        offset = stored.get_offset() if nbytes else 0
        if offset is None or stored.get_storage_size() != nbytes or offset + nbytes > file_bytes:
            raise _UnfitError("declares more than the file holds")
    except _UnfitError as problem:
        raise unfit(path, name, str(problem), kind) from None
    return Placed(dtype, tuple(stored.shape), offset)


class _UnfitError(Exception):
    """A dataset outside the profile; the message says how, as `unfit` goes on from the dataset's name."""


def _hard_linked(file: h5py.File, raw: bytes) -> h5py.h5d.DatasetID:
    from h5py import h5d, h5l, h5o

    if file.id.links.get_info(raw).type != h5l.TYPE_HARD:
        raise _UnfitError("is missing or is a link")
    stored = h5o.open(file.id, raw)
    if not isinstance(stored, h5d.DatasetID):
        raise _UnfitError("is not a dataset")
    if stored.shape is None:
        raise _UnfitError("is empty")
    return stored


def _dtype(name: str, stored: h5py.h5d.DatasetID) -> np.dtype[Any]:
    """The type of a dataset, which must be the one that its name has."""
    kind = stored.get_type()
    dtype = next((each for each, of_hdf5 in _kept_types() if kind.equal(of_hdf5)), None)
    expected = known_type(name)
    if dtype is None or (expected is not None and dtype != expected):
        raise _UnfitError(
            f"is not {'of a type of plain numbers' if expected is None else f'of type {expected}'}"
        )
    return dtype


def _refuse_pieces(stored: h5py.h5d.DatasetID) -> None:
    """Refuse a dataset that is not stored as it is, in one piece, in this file."""
    from h5py import h5d

    layout = stored.get_create_plist()
    if layout.get_layout() != h5d.CONTIGUOUS or layout.get_nfilters() or layout.get_external_count():
        raise _UnfitError("is not stored in one plain piece")
