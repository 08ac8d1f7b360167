"""What a file is: told by its first bytes, whatever it is called."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from actstore.errors import SourceError
from actstore.formats.opening import existing

if TYPE_CHECKING:
    from collections.abc import Iterator

NPY, NPZ, HDF5, SAFETENSORS, TORCH, ZARR = "npy", "npz", "hdf5", "safetensors", "torch", "zarr"
PARQUET, FEATHER, GZIP, TEXT, FOLDER = "parquet", "feather", "gzip", "text", "folder"
ARRAYS = (NPY, NPZ, HDF5, SAFETENSORS, TORCH, ZARR)
"""Kinds that hold arrays by name."""
COLUMNS = (PARQUET, FEATHER)
"""Kinds that hold columns with types of their own."""

FORMS = (
    "FILE.npy, FILE.npz[:KEY], FILE.safetensors[:KEY], FILE.pt[:KEY], FILE.h5[:/PATH] (.h5ad, netCDF-4 and MATLAB's "
    "v7.3 are HDF5, too), FOLDER.zarr[:/PATH]"
)
TABLE_FORMS = "FILE.parquet[:COLUMN], FILE.feather[:COLUMN], FILE.csv[:COLUMN], FILE.tsv[:COLUMN]"
SUFFIXES = {
    ".npy": NPY,
    ".npz": NPZ,
    ".safetensors": SAFETENSORS,
    **dict.fromkeys((".pt", ".pth"), TORCH),
    **dict.fromkeys((".h5", ".hdf5", ".h5ad", ".nc", ".nc4", ".mat"), HDF5),
    ".zarr": ZARR,
    **dict.fromkeys((".parquet", ".pq"), PARQUET),
    **dict.fromkeys((".feather", ".arrow"), FEATHER),
}
"""What a file was to be that is not there, or whose first bytes say nothing: it is missing, or damaged, not unknown."""

_HDF5 = b"\x89HDF\r\n\x1a\n"
_BEGINNINGS = {
    b"\x93NUMPY": NPY,
    _HDF5: HDF5,
    b"PAR1": PARQUET,
    b"ARROW1": FEATHER,
    b"\x1f\x8b": GZIP,
}
_REFUSED = {
    b"FEA1": "a Feather file of version 1; write it again with pyarrow.feather.write_feather",
    b"\xff\xff\xff\xff": "an Arrow stream; write it as .feather or .parquet",
    b"PARE": "an encrypted Parquet file; write it without encryption",
    b"ORC": "an ORC file; write it as .parquet",
    b"CDF\x01": "netCDF of an old version, which is not HDF5; convert it with `nccopy -k nc4`",
    b"CDF\x02": "netCDF of an old version, which is not HDF5; convert it with `nccopy -k nc4`",
    b"CDF\x05": "netCDF of an old version, which is not HDF5; convert it with `nccopy -k nc4`",
    b"MATLAB 5.0 MAT": "a MATLAB file of an old version; save it again with `save(..., '-v7.3')`",
    b"BZh": "packed by bzip2; unpack it first (or pack it by gzip)",
    b"\xfd7zXZ": "packed by xz; unpack it first (or pack it by gzip)",
    b"\x28\xb5\x2f\xfd": "packed by zstd; unpack it first (or pack it by gzip)",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"Rar!": "a rar archive; unpack it first",
    b"SQLite format 3": "an SQLite database; write the table as .parquet or .csv",
    b"GGUF": "a GGUF model; it holds weights, not activations",
}
_USER_BLOCKS = tuple(512 * 2**power for power in range(8))
"""Where else HDF5 may begin: behind a block of the user's own, as MATLAB's files have one."""
_SAMPLE_BYTES = 4096


@dataclass(frozen=True)
class Located:
    """A file or folder that a SPEC names.

    Args:
        path: of it.
        key: what is named in it; None where nothing is.
        kind: one of this file's names; ``TEXT`` for what may be text, ``FOLDER`` for any other folder.
    """

    path: Path
    key: str | None
    kind: str


def located(spec: str) -> Located | None:
    """Return what there is by the name of a SPEC, ``FILE`` or ``FILE:KEY``; None where there is no such file.

    Raises:
        SourceError: a file of a kind that is known, and not read.
    """
    for name, key in _splits(spec):
        try:
            path = Path(name)
            if path.is_dir():
                return Located(path, key, ZARR if is_zarr(path) else FOLDER)
            if path.exists():
                return Located(path, key, kind_of(path))
        except (OSError, ValueError):  # no name that a file could have
            continue
    return None


def missing(spec: str) -> Path | None:
    """Return the path of the file of arrays that a SPEC means by its suffix, whether or not it is there; or None."""
    for name, _ in reversed(list(_splits(spec))):
        if meant(name) is not None:
            return Path(name)
    return None


def meant(name: str) -> str | None:
    """Return the kind that a file of this name was to be; None where the suffix says nothing."""
    return SUFFIXES.get(Path(name.removesuffix(".gz")).suffix.lower())


def _splits(spec: str) -> Iterator[tuple[str, str | None]]:
    """The ways to part a SPEC into a name and a key, the longest name first."""
    yield spec, None
    place = spec.rfind(":")
    while place > 0:
        yield spec[:place], spec[place + 1 :]
        place = spec.rfind(":", 0, place)


def is_zarr(path: Path) -> bool:
    """Whether a folder is a group or an array of zarr."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


def kind_of(path: Path) -> str:
    """Return the kind of a file.

    Raises:
        SourceError: no ordinary file, or of a kind that is known, and not read.
    """
    try:
        with existing(path).open("rb") as file:
            beginning = file.read(_SAMPLE_BYTES)
            found = next((kind for mark, kind in _BEGINNINGS.items() if beginning.startswith(mark)), None)
            if found is None and any(_at(file, place) == _HDF5 for place in _USER_BLOCKS):
                found = HDF5
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise SourceError(msg) from error
    if found is not None:
        return found
    if beginning[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _of_archive(path)
    if beginning[8:9] == b"{" and int.from_bytes(beginning[:8], "little") < 2**40:
        return SAFETENSORS
    _refuse(path, beginning)
    return TEXT


def _at(file: IO[bytes], place: int) -> bytes:
    file.seek(place)
    return file.read(len(_HDF5))


def _refuse(path: Path, beginning: bytes) -> None:
    told = next((what for mark, what in _REFUSED.items() if beginning.startswith(mark)), None)
    if told is None and beginning[:1] == b"\x80" and beginning[1:2] in b"\x02\x03\x04\x05":
        told = (
            "a pickle, as torch.save wrote before 1.6 (Python objects are refused); save tensors with torch.save of a "
            "newer torch, arrays with np.save"
        )
    if told is not None:
        msg = f"{path} is {told}"
        raise SourceError(msg)


def _of_archive(path: Path) -> str:
    """NumPy's, torch's and zarr's archives are all zip files; what is in them tells."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, UnicodeDecodeError) as error:
        msg = f"{path} is a damaged archive: {' '.join(str(error).split())}; restore it from a copy"
        raise SourceError(msg) from error
    if any(name in ("zarr.json", ".zgroup", ".zarray") for name in names):
        return ZARR
    if any(name.endswith("/data.pkl") for name in names):
        return TORCH
    if any(name.endswith(".npy") for name in names):
        return NPZ
    raise SourceError(_told_of_archive(path, names))


def _told_of_archive(path: Path, names: list[str]) -> str:
    what = "an archive without arrays"
    if "[Content_Types].xml" in names:
        what = "a document of an office program; save the table as .csv"
    elif "config.json" in names and "metadata.json" in names:
        what = "a Keras model; it holds weights, not activations"
    elif not names:
        what = "an archive of nothing"
    return f"{path} is {what}; expected one of {FORMS}, {TABLE_FORMS}"
