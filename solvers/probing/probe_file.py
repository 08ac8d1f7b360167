"""The probe file: probes as one HDF5 file, without pickle. Alone in ``solvers`` it imports h5py, when called.

Layout, version 0, also in docs/probes.md. The root group MUST hold datasets only, contiguous and unfiltered:

- ``header``: uint8, the UTF-8 bytes of a JSON object: ``format`` ("actstore probes"), ``version`` (int),
  ``failures`` (layer -> reason) and ``probes``, a list of objects with the fields of ``Probe`` but for the
  arrays below. ``classes`` is {"dtype": NumPy's name, "values": [...]}; ``path`` is a list of objects with the
  fields of ``Tried``. Numbers that are not finite stand as Python's json writes them (NaN, Infinity).
- of entry N of ``probes``, float64: ``weights.N`` (width, classes), ``bias.N`` (classes,), ``mean.N`` and
  ``scale.N`` (width,); where random features or a slice were taken also ``columns.N`` (columns,), int64.
  ``head`` is there for probes of a slice only.

Nothing is kept in attributes, links, groups, strings or objects. What is read is checked first.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProbeFileError, ProblemError
from solvers.probing.probe import Probe, Probes, Tried

if TYPE_CHECKING:
    from collections.abc import Iterator

    import h5py
    from numpy.typing import NDArray

__all__ = ["load", "refuse_existing", "save", "write_whole"]

FORMAT = "actstore probes"
VERSION = 0
ARRAYS = {"weights": "<f8", "bias": "<f8", "mean": "<f8", "scale": "<f8", "columns": "<i8"}
CLASS_TYPES = "?bBhHiIlLqQefdSU"  # type codes of NumPy whose values JSON can hold exactly


def save(probes: Probes, path: str | Path, overwrite: bool = False) -> None:
    """Write probes to one file, which appears under its name only when it is whole and on the disk.

    Raises:
        ProbeFileError: when the file is there already (without ``overwrite``), its folder is not, the classes
            are of a type that the file can not hold, or the disk refuses.
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    try:
        write_whole(path, _image(probes))
    except OSError as error:
        msg = f"the probe file {path} could not be written: {error.strerror}; make room or choose another place"
        raise ProbeFileError(msg) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears under its name, in place of any other, only when it is whole and on the disk.

    Raises:
        OSError: when the disk refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: str | Path) -> Probes:
    """Read the probes of a file, to the bit as they were saved.

    Raises:
        ProbeFileError: when the file is missing, damaged, of a newer version, or not a probe file.
    """
    path = Path(path)
    with _opened(path) as file:
        header = _header(path, file)
        try:
            probes = [_probe(path, file, index, entry) for index, entry in enumerate(header["probes"])]
            return Probes(probes, header["failures"])
        except (KeyError, TypeError, ValueError, AttributeError, ProblemError) as error:
            msg = (
                f"{path} is damaged: its header does not describe its probes ({error!r}); fit the probes again"
            )
            raise ProbeFileError(msg) from error


def refuse_existing(path: str | Path, overwrite: bool) -> None:
    """Raise ProbeFileError where ``save`` would refuse; for asking before a long fit."""
    path = Path(path)
    if path.is_dir():
        msg = (
            f"{path} is a folder, but probes are saved to one file; give it a name such as {path / 'probes.h5'}"
        )
        raise ProbeFileError(msg)
    if path.exists() and not overwrite:
        msg = f"{path} exists already; choose another name, or say that it may be overwritten"
        raise ProbeFileError(msg)
    if not path.parent.is_dir():
        msg = f"the folder {path.parent} of the probe file {path.name} does not exist; make it first"
        raise ProbeFileError(msg)


def _image(probes: Probes) -> bytes:
    """The bytes of the file, made in memory: on a full disk HDF5 would crash, and a plain write does not."""
    import h5py

    entries = []
    with h5py.File("probes", "w", driver="core", backing_store=False) as file:
        for index, probe in enumerate(probes.values()):
            entries.append(_entry(probe))
            for name, dtype in ARRAYS.items():
                if getattr(probe, name) is not None:
                    file.create_dataset(f"{name}.{index}", data=np.asarray(getattr(probe, name), dtype=dtype))
        header = {"format": FORMAT, "version": VERSION, "failures": probes.failures, "probes": entries}
        file.create_dataset("header", data=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8))
        file.flush()
        return file.id.get_file_image()


def _entry(probe: Probe) -> dict[str, Any]:
    """The fields of a probe that go into the header."""
    classes = probe.classes
    if classes.dtype.char not in CLASS_TYPES:
        msg = f"classes of type {classes.dtype} can not be saved; label with ints, floats, bools or strings"
        raise ProbeFileError(msg)
    values = np.char.decode(classes, "latin-1") if classes.dtype.kind == "S" else classes
    plain = {field.name: getattr(probe, field.name) for field in fields(probe) if field.name not in ARRAYS}
    if probe.head is None:
        del plain["head"]
    return plain | {
        "classes": {"dtype": classes.dtype.str, "values": values.tolist()},
        "path": [asdict(tried) for tried in probe.path],
    }


def _probe(path: Path, file: h5py.File, index: int, entry: dict[str, Any]) -> Probe:
    """One probe from its entry in the header and its arrays."""
    there = [name for name in ARRAYS if name != "columns" or f"columns.{index}" in file]
    arrays = {name: _array(path, file, f"{name}.{index}", ARRAYS[name]) for name in there}
    converted = {
        "classes": _classes(**entry["classes"]),
        "shape": tuple(entry["shape"]),
        "path": tuple(Tried(**tried) for tried in entry["path"]),
    }
    probe = Probe(**{"columns": None, **entry, **arrays, **converted})
    width, classes = probe.width, len(probe.classes)
    expected = {"weights": (width, classes), "bias": (classes,), "mean": (width,), "scale": (width,)}
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            msg = f"{name}.{index} has the shape {arrays[name].shape}, not {shape}"
            raise ValueError(msg)
    columns = probe.columns
    if columns is not None and not np.array_equal(columns, np.intersect1d(columns, range(width))):
        msg = f"columns.{index} is not ascending from 0 to {width - 1}"
        raise ValueError(msg)
    return probe


def _classes(dtype: str, values: list[Any]) -> NDArray[Any]:
    """The classes as they were, from the header."""
    if np.dtype(dtype).char not in CLASS_TYPES:
        msg = f"classes of type {dtype}"
        raise TypeError(msg)
    plain = np.array(values)
    if np.dtype(dtype).kind == "S":
        plain = np.char.encode(plain, "latin-1")
    return plain.astype(dtype)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    import h5py

    if not path.is_file():
        msg = f"there is no probe file {path}; make one with `probe fit` or `Probes.save`"
        raise ProbeFileError(msg)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        msg = f"{path} is not a whole HDF5 file ({error}); copy it again, or fit the probes again"
        raise ProbeFileError(msg) from error
    with file:
        yield file


def _header(path: Path, file: h5py.File) -> dict[str, Any]:
    """The header, once it is known that this is a probe file of a version that is understood."""
    if "header" not in file:
        msg = f"{path} is HDF5 but not a probe file: it has no dataset `header`; give a file of `probe fit`"
        raise ProbeFileError(msg)
    try:
        header = json.loads(_array(path, file, "header", "|u1").tobytes())
    except (ValueError, RecursionError) as error:
        msg = f"{path} is damaged: its header is not JSON ({error}); fit the probes again"
        raise ProbeFileError(msg) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        msg = f"{path} is not a probe file: its header does not say `{FORMAT}`; give a file of `probe fit`"
        raise ProbeFileError(msg)
    if header.get("version") != VERSION:
        version = header.get("version")
        msg = (
            f"{path} is a probe file of version {version!r} but version {VERSION} is read here; update actstore"
        )
        raise ProbeFileError(msg)
    return header


def _array(path: Path, file: h5py.File, name: str, dtype: str) -> NDArray[Any]:
    """A dataset of the profile that the module's docstring states, checked before anything of it is read."""
    import h5py

    problem = None
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        problem = "is missing or is a link"
    elif file.get(name, getclass=True) is not h5py.Dataset:
        problem = "is not a dataset"
    else:
        stored = file[name].id
        layout = stored.get_create_plist()
        size = math.prod(stored.shape or ()) * np.dtype(dtype).itemsize
        if stored.shape is None:
            problem = "is empty"
        elif not stored.get_type().equal(h5py.h5t.py_create(np.dtype(dtype))):
            problem = f"is not of type {np.dtype(dtype)}"
        elif layout.get_layout() != h5py.h5d.CONTIGUOUS or layout.get_nfilters() or layout.get_external_count():
            problem = "is not stored in one plain piece"
        elif stored.get_storage_size() != size or size > path.stat().st_size:
            problem = "declares more than the file holds"
    if problem:
        msg = f"{path} is not as `probe fit` wrote it: its dataset `{name}` {problem}; fit the probes again"
        raise ProbeFileError(msg)
    return file[name][()]
