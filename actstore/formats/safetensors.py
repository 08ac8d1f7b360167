"""The safetensors format: eight bytes of length, a JSON header, raw bytes. Strict, and without a package.

See https://github.com/huggingface/safetensors (README, "Format").
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from itertools import chain, pairwise
from math import prod
from typing import TYPE_CHECKING, Any

from actstore.errors import SourceError
from actstore.store.format import BFLOAT16, numpy_dtype

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LENGTH_BYTES = 8
LARGEST_HEADER_BYTES = 100_000_000  # as in the reference implementation
METADATA = "__metadata__"
DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": BFLOAT16,
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file: its dtype as stores name it, its shape, and where its bytes lie, counted from the start."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes of the whole."""
        return prod(self.shape) * numpy_dtype(self.dtype).itemsize


def write_header(tensors: Mapping[str, tuple[str, Sequence[int]]], metadata: Mapping[str, str]) -> bytes:
    """Return what a file begins with whose tensors, name to (dtype, shape), follow in this order."""
    header: dict[str, Any] = {METADATA: dict(metadata)}
    end = 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + prod(shape) * numpy_dtype(dtype).itemsize
        header[name] = {"dtype": _CODES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    data = json.dumps(header, separators=(",", ":")).encode("ascii")
    data = data.ljust(-(-len(data) // LENGTH_BYTES) * LENGTH_BYTES)  # so that the tensors are aligned
    return len(data).to_bytes(LENGTH_BYTES, "little") + data


def read_header(path: Path) -> list[Tensor]:
    """The tensors of a file, in the order of their bytes.

    Raises:
        SourceError: the file is none, or anything in its header is not as it has to be. Nothing else is read then.
    """
    try:
        with path.open("rb") as file:
            file_bytes = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            if not 2 <= length <= min(LARGEST_HEADER_BYTES, file_bytes - LENGTH_BYTES):
                msg = f"a header of {length:,} bytes in a file of {file_bytes:,}"
                raise ValueError(msg)
            return _parse(file.read(length), file_bytes)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        msg = f"{path} is not a sound safetensors file: {' '.join(str(error).split())}"
        raise SourceError(msg) from error


def _parse(data: bytes, file_bytes: int) -> list[Tensor]:
    if not data.startswith(b"{"):
        msg = "its header is not a JSON object"
        raise ValueError(msg)
    header = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    header.pop(METADATA, None)
    first = LENGTH_BYTES + len(data)
    tensors = sorted(
        (_tensor(name, entry, first) for name, entry in header.items()),
        key=lambda one: (one.offset, one.nbytes),
    )
    bounds = chain([(first, first)], ((one.offset, one.offset + one.nbytes) for one in tensors))
    for (_, end), (start, _) in pairwise(chain(bounds, [(file_bytes, file_bytes)])):
        if start != end:
            msg = f"its tensors overlap, leave bytes out or reach out of the file, at byte {min(start, end):,}"
            raise ValueError(msg)
    return tensors


def _tensor(name: str, entry: Mapping[str, Any], first: int) -> Tensor:
    if entry["dtype"] not in DTYPES:
        msg = f"tensor {name!r} is of dtype {entry['dtype']!r}; expected one of {', '.join(DTYPES)}"
        raise ValueError(msg)
    start, end = (_natural(value) for value in entry["data_offsets"])
    tensor = Tensor(
        name, DTYPES[entry["dtype"]], tuple(_natural(side) for side in entry["shape"]), first + start
    )
    if tensor.nbytes != end - start:
        msg = f"tensor {name!r} of shape {tensor.shape} has {end - start:,} bytes, not {tensor.nbytes:,}"
        raise ValueError(msg)
    return tensor


def _natural(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        msg = f"{str(value)[:40]!r} is not a count"
        raise ValueError(msg)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        msg = "its header has a name twice"
        raise ValueError(msg)
    return found
