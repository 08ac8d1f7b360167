"""Tensors that torch.save wrote (``.pt``, ``.pth``; zip archives, from torch 1.6 on): mapped, without torch."""

from __future__ import annotations

import zipfile
import zlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from actstore.errors import SourceError
from actstore.formats.containers.base import FileArray
from actstore.formats.containers.torch_pickle import LARGEST_PICKLE_BYTES, StoredTensor, flattened, read_pickle
from actstore.store.format import BFLOAT16
from actstore.wording import listed

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = "tensor"
"""What the tensor is called that is all a file holds."""
_LOCAL_HEADER_BYTES = 30
_PIECE_BYTES = 2**22
_DTYPES = {
    "Float": "float32",
    "Double": "float64",
    "Half": "float16",
    "BFloat16": BFLOAT16,
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
}
_BY_NAME = {
    **{f"torch {name}Storage": dtype for name, dtype in _DTYPES.items()},
    **{f"torch {name}": name for name in (*_DTYPES.values(), "uint16", "uint32", "uint64")},
}


_UNREADABLE = (
    *(ValueError, KeyError, OSError, EOFError, NotImplementedError, RuntimeError, OverflowError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)


def read_torch(path: Path, shown: str) -> tuple[dict[str, FileArray], list[str]]:
    """Return the tensors of a file by the way to them, and the names of what else is in it.

    Lists of labels (numbers or texts) are arrays, too.

    Args:
        path: of the file.
        shown: what messages call it.

    Raises:
        SourceError: it is damaged, or holds Python's objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            prefix, values = _pickled(archive)
            order = _byte_order(archive, prefix)
            storages = _Storages(path, archive, prefix)
            arrays, others = {}, []
            for name, value in values.items():
                spec = f"{shown}:{name}" if name else shown
                if isinstance(value, StoredTensor):
                    arrays[name or WHOLE] = storages.array(value, order, spec)
                elif isinstance(value, (list, tuple)) and len({type(part) for part in value}) == 1:
                    arrays[name] = FileArray.of(np.array(value), spec)
                else:
                    others.append(name)
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        msg = f"{shown} cannot be read as tensors of torch: {reason}"
        raise SourceError(msg) from error
    if not arrays:
        msg = f"{shown} holds no tensor; it holds {listed(others) if others else 'nothing'}"
        raise SourceError(msg)
    return arrays, others


def _pickled(archive: zipfile.ZipFile) -> tuple[str, dict[str, Any]]:
    """The folder that all of an archive lies in, and what its pickle holds."""
    names = archive.namelist()
    if len(set(names)) != len(names):
        msg = "a name is twice in its archive"
        raise ValueError(msg)
    (pickle,) = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    prefix = pickle.removesuffix("data.pkl")
    if f"{prefix}constants.pkl" in names:
        msg = "it is a TorchScript module; save its tensors, with torch.save"
        raise ValueError(msg)
    if archive.getinfo(pickle).file_size > LARGEST_PICKLE_BYTES:
        msg = f"its pickle has {archive.getinfo(pickle).file_size:,} bytes; {LARGEST_PICKLE_BYTES:,} at most"
        raise ValueError(msg)
    return prefix, flattened(read_pickle(archive.read(pickle)))


def _byte_order(archive: zipfile.ZipFile, prefix: str) -> Literal["<", ">"]:
    if f"{prefix}byteorder" not in archive.namelist():
        return "<"  # as every torch before 2.1 wrote on the machines it ran on
    order = archive.read(f"{prefix}byteorder")
    if order not in (b"little", b"big"):
        msg = f"its byte order is {order[:20]!r}"
        raise ValueError(msg)
    return "<" if order == b"little" else ">"


class _Storages:
    """The bytes of an archive's storages, mapped; each is compared with its checksum when it is first asked for."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, prefix: str) -> None:
        self._path, self._archive, self._prefix = path, archive, prefix
        self._bytes: dict[str, np.ndarray] = {}

    def array(self, tensor: StoredTensor, order: Literal["<", ">"], spec: str) -> FileArray:
        dtype = _BY_NAME.get(tensor.dtype)
        if dtype is None:
            kind = tensor.dtype.removeprefix("torch ").removesuffix("Storage")
            msg = f"{spec} is of torch's type {kind}, which no layer or label has; cast it first"
            raise SourceError(msg)
        bits = np.dtype("uint16" if dtype == BFLOAT16 else dtype).newbyteorder(order)
        found = self._view(self._raw(tensor.storage.key), tensor, bits)
        if bits.kind == "b" and found.size and found.view(np.uint8).max() > 1:
            msg = f"{spec} has a truth value that is neither true nor false"
            raise SourceError(msg)
        return FileArray(spec, found, dtype)

    @staticmethod
    def _view(raw: np.ndarray, tensor: StoredTensor, bits: np.dtype) -> np.ndarray:
        if not all(tensor.shape):
            return np.empty(tensor.shape, bits)
        reach = sum((side - 1) * stride for side, stride in zip(tensor.shape, tensor.strides, strict=True))
        if (tensor.offset + reach + 1) * bits.itemsize > raw.nbytes:
            msg = f"a tensor of shape {tensor.shape} reaches out of its {raw.nbytes:,} bytes"
            raise ValueError(msg)
        flat = raw[: raw.nbytes // bits.itemsize * bits.itemsize].view(bits)[tensor.offset :]
        strides = [stride * bits.itemsize for stride in tensor.strides]
        return np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)

    def _raw(self, key: str) -> np.ndarray:
        if key not in self._bytes:
            self._bytes[key] = self._mapped(self._archive.getinfo(f"{self._prefix}data/{key}"))
        return self._bytes[key]

    def _mapped(self, info: zipfile.ZipInfo) -> np.ndarray:
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            msg = f"{info.filename} is packed, which torch.save never does"
            raise ValueError(msg)
        if not info.file_size:
            return np.empty(0, np.uint8)
        with self._path.open("rb") as file:
            file.seek(info.header_offset)
            header = file.read(_LOCAL_HEADER_BYTES)
        lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        if header[:4] != b"PK\x03\x04":
            msg = f"{info.filename} does not lie where its archive says"
            raise ValueError(msg)
        start = info.header_offset + _LOCAL_HEADER_BYTES + lengths
        mapped = np.memmap(self._path, np.uint8, "r", start, (info.file_size,))
        checksum = 0
        for piece in range(0, len(mapped), _PIECE_BYTES):
            checksum = zlib.crc32(mapped[piece : piece + _PIECE_BYTES].data, checksum)
        if checksum != info.CRC:
            msg = (
                f"{info.filename} is not what its checksum says: it is damaged, or was saved without checksums"
            )
            raise ValueError(msg)
        return mapped
