"""FILE.npy, mapped, and FILE.npz, streamed from its archive whatever its size; never unpickled."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from actstore.errors import SourceError
from actstore.exchange.base import ArrayLayer, Facts, sliced
from actstore.exchange.export import MISSING, ONE_LAYER, ROW_NAMES, TARGET
from actstore.wording import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MEMBER_SUFFIX = ".npy"
PIECE_BYTES = 2**22


def read_npy(path: Path) -> ArrayLayer:
    """The array of a .npy file."""
    with _readable(str(path)):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    return ArrayLayer(str(path), array.dtype.newbyteorder("=").name, array.shape, sliced(array))


def read_npz(path: Path, key: str | None) -> tuple[dict[str, ArrayLayer], Facts]:
    """The layers of an .npz file, or the one called ``key``, and what arrays of an export's names say of their rows."""
    with _readable(str(path)), zipfile.ZipFile(path) as archive:
        names = [
            name.removesuffix(MEMBER_SUFFIX) for name in archive.namelist() if name.endswith(MEMBER_SUFFIX)
        ]
        if key is not None and key not in names:
            msg = f"{path} holds no {key!r}; it holds {listed(names)}"
            raise SourceError(msg)
        members = {name: _Member.of(path, archive, name) for name in names}
    if key is not None:
        return {key: members[key].layer()}, Facts()
    about_rows = {name: one for name, one in members.items() if name in ROW_NAMES or name.startswith(TARGET)}
    layers = {name: one.layer() for name, one in members.items() if name not in about_rows}
    if not layers:
        msg = f"{path} holds no layer; it holds {listed(names)}"
        raise SourceError(msg)
    rows = next(iter(layers.values())).shape[:1]
    known = {name: one.whole() for name, one in about_rows.items()}
    for name, values in known.items():
        if values.shape != (() if name in ("layer", "row_unit") else rows):
            msg = f"{path}:{name} has shape {values.shape} where the layers have {rows[0]:,} rows; {_ADVICE}"
            raise SourceError(msg)
    if "layer" in known and ONE_LAYER in layers:
        layers = {str(known["layer"]) if name == ONE_LAYER else name: one for name, one in layers.items()}
    return layers, _facts(path, known)


_ADVICE = (
    f"names that an export gives ({', '.join(ROW_NAMES)}, {TARGET}NAME) stand for what is known of the rows. "
    "Name the arrays to import one by one (FILE.npz:KEY)"
)


@dataclass(frozen=True)
class _Member:
    """One array of an archive; its header was read."""

    path: Path
    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    fortran_order: bool

    @classmethod
    def of(cls, path: Path, archive: zipfile.ZipFile, name: str) -> _Member:
        with archive.open(name + MEMBER_SUFFIX) as file:
            shape, fortran_order, dtype = _read_header(file)
            start = file.tell()
        nbytes = prod(shape) * dtype.itemsize
        if dtype.hasobject or dtype.names or dtype.subdtype:
            msg = f"array {name!r} of {dtype}"
            raise ValueError(msg)
        if archive.getinfo(name + MEMBER_SUFFIX).file_size != start + nbytes:
            msg = f"array {name!r} declares {nbytes:,} bytes, which is not what the archive has"
            raise ValueError(msg)
        return cls(path, name, dtype, shape, fortran_order and len(shape) > 1)

    @property
    def spec(self) -> str:
        return f"{self.path}:{self.name}"

    def layer(self) -> ArrayLayer:
        return ArrayLayer(self.spec, self.dtype.newbyteorder("=").name, self.shape, self.blocks)

    def whole(self) -> np.ndarray:
        if not self.shape:
            with self._opened() as file:
                return np.frombuffer(_exactly(file, self.dtype.itemsize), self.dtype).reshape(())
        blocks = list(self.blocks(self.shape[0]))
        return blocks[0] if blocks else np.empty(self.shape, self.dtype)

    def blocks(self, rows: int) -> Iterator[np.ndarray]:
        """All rows in order; columns first, they have to be brought into memory together."""
        row_shape, native = self.shape[1:], self.dtype.newbyteorder("=")
        row_bytes = prod(row_shape) * self.dtype.itemsize
        with self._opened() as file:
            if self.fortran_order:
                data = np.frombuffer(_exactly(file, self.shape[0] * row_bytes), self.dtype)
                yield from sliced(data.reshape(self.shape, order="F"))(rows)
                return
            for start in range(0, self.shape[0], rows):
                count = min(rows, self.shape[0] - start)
                block = np.frombuffer(_exactly(file, count * row_bytes), self.dtype).reshape(count, *row_shape)
                yield block.astype(native, copy=False)

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        with (
            _readable(self.spec),
            zipfile.ZipFile(self.path) as archive,
            archive.open(self.name + MEMBER_SUFFIX) as file,
        ):
            _read_header(file)
            yield file


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    readers: dict[tuple[int, int], Any] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        msg = f"version {version} of the .npy format"
        raise ValueError(msg)
    return readers[version](file)


def _exactly(file: IO[bytes], nbytes: int) -> bytearray:
    """So many bytes. Memory is taken as they come, whatever the file declares."""
    data = bytearray()
    while len(data) < nbytes:
        piece = file.read(min(PIECE_BYTES, nbytes - len(data)))
        if not piece:
            msg = "it ends too early"
            raise ValueError(msg)
        data += piece
    return data


# What zipfile and NumPy's parser of headers were seen to raise on damaged and hostile files.
_UNREADABLE = (
    ValueError,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    MemoryError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def _readable(spec: str) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        msg = f"{spec} can not be read as arrays of numbers (Python objects are refused): {reason}"
        raise SourceError(msg) from error


def _facts(path: Path, known: Mapping[str, np.ndarray]) -> Facts:
    """What an export says of its rows."""
    for name in ("ids", "splits", "groups", "layer", "row_unit"):
        if name in known and known[name].dtype.kind != "U":
            msg = f"{path}:{name} is of dtype {known[name].dtype} where text was expected; {_ADVICE}"
            raise SourceError(msg)
    texts = {name: known[name].tolist() if name in known else None for name in ("ids", "splits", "groups")}
    positions = known["positions"].tolist() if "positions" in known else None
    row_unit = str(known["row_unit"]) if "row_unit" in known else None
    return Facts(**texts, positions=positions, targets=_targets(known), row_unit=row_unit)


def _targets(known: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [name for name in known if name.startswith(TARGET)]
    masks = {name for name in names if name.endswith(MISSING) and name.removesuffix(MISSING) in names}
    targets = {}
    for name in names:
        if name not in masks:
            mask = known[name + MISSING] if name + MISSING in masks else None
            labels = known[name]
            targets[name.removeprefix(TARGET)] = (
                labels if mask is None else np.ma.MaskedArray(labels, mask.astype(bool))
            )
    return targets
