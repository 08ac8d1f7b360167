"""NumPy's files: FILE.npy, mapped, and FILE.npz, streamed from its archive whatever its size; never unpickled."""

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
from actstore.formats.opening import existing
from actstore.wording import listed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MEMBER_SUFFIX = ".npy"
PIECE_BYTES = 2**22


def open_npy(path: Path, spec: str) -> np.ndarray:
    """Return the array of a .npy file, mapped. SourceError, which begins with ``spec``, where it is none."""
    with readable(spec):
        try:
            array = np.load(existing(path), mmap_mode="r", allow_pickle=False)
        except OSError as error:
            raise ValueError(error.strerror or str(error)) from error
        if not isinstance(array, np.ndarray):
            array.close()
            msg = "it is an archive (.npz)"
            raise ValueError(msg)
        _check_dtype(array.dtype)
        return array


def open_npz(path: Path, key: str | None = None) -> dict[str, Member]:
    """Return the arrays of an .npz file by name, or the one called ``key``; no values are read yet.

    Raises:
        SourceError: no archive, an array that is not one of numbers or text, or none of that name.
    """
    with readable(str(path) if key is None else f"{path}:{key}"), zipfile.ZipFile(existing(path)) as archive:
        names = [
            name.removesuffix(MEMBER_SUFFIX) for name in archive.namelist() if name.endswith(MEMBER_SUFFIX)
        ]
        if key is not None and key not in names:
            msg = f"{path} holds no {key!r}; it holds {listed(names)}"
            raise SourceError(msg)
        return {name: Member.of(path, archive, name) for name in ([*names] if key is None else [key])}


def _check_dtype(dtype: np.dtype) -> None:
    if dtype.hasobject or dtype.names or dtype.subdtype:
        msg = f"it is of {dtype}"
        raise ValueError(msg)


@dataclass(frozen=True)
class Member:
    """One array of an archive; its header was read. Read from the archive whatever its size."""

    path: Path
    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    fortran_order: bool

    @classmethod
    def of(cls, path: Path, archive: zipfile.ZipFile, name: str) -> Member:
        """Read a member's header. ValueError where it is no array of numbers or text, or not of its size."""
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
        """How it is named, for messages."""
        return f"{self.path}:{self.name}"

    def whole(self) -> np.ndarray:
        """All of it."""
        if not self.shape:
            with self._opened() as file:
                value = np.frombuffer(_exactly(file, self.dtype.itemsize), self.dtype).reshape(())
                _check_end(file)
                return value
        blocks = list(self.blocks(self.shape[0]))
        return blocks[0] if blocks else np.empty(self.shape, self.dtype)

    def blocks(self, rows: int) -> Iterator[np.ndarray]:
        """All rows in order; columns first, they have to be brought into memory together."""
        row_shape, native = self.shape[1:], self.dtype.newbyteorder("=")
        row_bytes = prod(row_shape) * self.dtype.itemsize
        with self._opened() as file:
            if self.fortran_order:
                data = np.frombuffer(_exactly(file, self.shape[0] * row_bytes), self.dtype)
                _check_end(file)
                array = data.reshape(self.shape, order="F")
                for start in range(0, self.shape[0], rows):
                    yield np.array(array[start : start + rows], native, order="C")
                return
            for start in range(0, self.shape[0], rows):
                count = min(rows, self.shape[0] - start)
                block = np.frombuffer(_exactly(file, count * row_bytes), self.dtype).reshape(count, *row_shape)
                if start + count == self.shape[0]:
                    _check_end(file)
                yield block.astype(native, copy=False)

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        with (
            readable(self.spec),
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


def _check_end(file: IO[bytes]) -> None:
    """Read on to the end: only there does ``zipfile`` compare the checksum of the whole."""
    if file.read(1):
        msg = "it goes on behind its end"
        raise ValueError(msg)


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
def readable(spec: str) -> Iterator[None]:
    """Whatever is wrong with a file, as one line."""
    try:
        yield
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        msg = f"{spec} cannot be read as an array of numbers or text (Python objects are refused): {reason}"
        raise SourceError(msg) from error
