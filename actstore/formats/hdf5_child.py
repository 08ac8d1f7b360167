"""The process that opens HDF5 files of others with the HDF5 library, says where their values lie, and ends.

On a damaged file the library may crash or never return; here that costs nothing. It reads no values (but those that
lie in an object header), so nothing that it makes of damage can become a number: ``foreign_hdf5`` checks what is said
here, and reads. A question is JSON on standard input; the answer is JSON on a line of standard output, with how many
bytes follow: the chunks of chunked datasets, as ``INDEX``, and the values of compact ones.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from h5py import h5d, h5i, h5s

from actstore.errors import SourceError
from actstore.formats.foreign_array import ForeignArray, Told
from actstore.formats.hdf5_checks import (
    LARGEST_RATIO,
    check_dataset,
    fill_values,
    is_turned,
    needed,
    open_file,
    rows_and_others,
)
from actstore.formats.hdf5_place import PLAIN, index_dtype, place_of
from actstore.formats.hdf5_types import numpy_type
from actstore.formats.opening import stamp_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MEMORY_BYTES = 4 * 2**30
CPU_S = 5
COMPARED_BYTES = 32 * 2**20
"""Of a chunk that is decoded here to be compared; a larger one takes more time and memory than this process has."""
BYTES_PER_CPU_S = 10_000_000
"""Index entries take 16 bytes at least, and a second walks hundreds of thousands of them."""


def main() -> None:
    """Answer the question on standard input."""
    question = json.load(sys.stdin)
    limit(os.stat(question["path"]).st_size)
    header, payload = answer(question)
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + payload)


def limit(file_bytes: int) -> None:
    """Let this process take no more memory and time than the structure of an ordinary file of that size does."""
    seconds = CPU_S + file_bytes // BYTES_PER_CPU_S
    for what, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ValueError, OSError):  # a system without that limit, or a lower one that is already there
            resource.setrlimit(what, (most, most))


def answer(question: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Return what is said of the file's datasets, or the error: a line that the user reads."""
    try:
        with open_file(question["path"]) as file:
            names, keys = _asked(file, question)
            checked = [(_checked(file, key, spec), spec) for key, spec in keys]
            _check_together(file, [dataset for dataset, _ in checked])
            found = [_described(file, dataset, spec) for dataset, spec in checked]
    except SourceError as error:
        return {"error": str(error)}, b""
    except MemoryError:
        return {
            "error": f"{question['path']} cannot be opened: its structure asks for more memory than it may"
        }, b""
    payload = b"".join(data for _, data in found)
    return {
        "names": names,
        "keys": keys,
        "arrays": [one for one, _ in found],
        "bytes": len(payload),
    }, payload


def _asked(file: h5py.File, question: dict[str, Any]) -> tuple[list[str], Sequence[tuple[str, str]]]:
    """All names of the file, and the keys to describe, each with what messages call it.

    Where keys are asked for, the names are not looked up. Where ``rows`` are, the keys are all datasets that may be
    layers, and the names those that are not. Else the keys
    are those names in the root that are numbers, and none where ``root`` says that the names are all.
    """
    if question.get("rows"):
        rows, others = rows_and_others(file)
        return others, [(name, f"{question['path']}:/{name}") for name in rows]
    if question["keys"]:
        return [], question["keys"]
    names = [name.decode("utf-8", "backslashreplace") for name in file.id]
    wanted = [] if question.get("root") else [name for name in names if name.isdecimal()]
    return names, [(name, f"{question['path']}:/{name}") for name in wanted]


def _check_together(file: h5py.File, datasets: Sequence[h5d.DatasetID]) -> None:
    """Each by itself was found plausible; all of them together have to be, too."""
    declared = sum(prod(dataset.shape) * dataset.get_type().get_size() for dataset in datasets)
    if declared > LARGEST_RATIO * file.id.get_filesize():
        msg = f"{file.filename} declares {declared:,} bytes in a file of {file.id.get_filesize():,}; it is not read"
        raise SourceError(msg)


def _checked(file: h5py.File, key: str, spec: str) -> h5d.DatasetID:
    with _one_line(spec):
        return check_dataset(file, key, spec)


def _described(file: h5py.File, dataset: h5d.DatasetID, spec: str) -> tuple[dict[str, Any], bytes]:
    with _one_line(spec):
        dtype, how = numpy_type(dataset.get_type(), spec)
        said: dict[str, Any] = {"shape": dataset.shape, "dtype": dtype, "how": how, "data": 0}
        said["turned"] = is_turned(dataset)
        said |= {"fills": fill_values(file, dataset, spec), "needed": needed(file, dataset)}
        said, data = _placed(dataset, said)
        if said["layout"] in ("contiguous", "chunked"):
            check_agreement(dataset, said, data)
        return {**said, "data": len(data)}, data


def check_agreement(dataset: h5d.DatasetID, said: dict[str, Any], data: bytes) -> None:
    """Read the first and the last element both ways, the library's and ours.

    What we do not know of (an address that counts from elsewhere, chunks at the edge that are stored otherwise) shows
    there. Where ours refuses, nothing is compared: the parent will refuse, too. Nor is a very large chunk.

    Raises:
        ValueError: they differ.
    """
    if prod(said.get("chunk", ())) * np.dtype(said["dtype"]).itemsize > COMPARED_BYTES:
        return
    path = Path(os.fsdecode(h5i.get_file_id(dataset).name))
    corners = {tuple(0 for _ in dataset.shape), tuple(side - 1 for side in dataset.shape)}
    for corner in corners:
        try:
            place = place_of(said, data, path.stat().st_size)
            told = Told(dataset.shape, np.dtype(said["dtype"]), PLAIN)
            box = tuple(slice(number, number + 1) for number in corner)
            ours = ForeignArray(path, "", stamp_of(path), told, place)[box].tobytes()
        except (ValueError, SourceError):
            return
        theirs = _element(dataset, corner, np.dtype(said["dtype"]))
        if ours != theirs:
            msg = f"the HDF5 library reads {theirs!r} at {corner} where {ours!r} lies"
            raise ValueError(msg)


def _element(dataset: h5d.DatasetID, corner: tuple[int, ...], dtype: np.dtype) -> bytes:
    space, value = dataset.get_space(), np.zeros((1,) * len(corner), dtype)
    if corner:
        space.select_hyperslab(corner, value.shape)
    memory = h5s.create_simple(value.shape) if corner else h5s.create(h5s.SCALAR)
    dataset.read(memory, space, value, dataset.get_type())  # to the type of the file: nothing is converted
    return value.tobytes()


def _placed(dataset: h5d.DatasetID, said: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    creation = dataset.get_create_plist()
    layout = creation.get_layout()
    if not prod(dataset.shape):
        return {**said, "layout": "empty"}, b""
    if layout == h5d.CONTIGUOUS:
        said |= {"address": dataset.get_offset(), "nbytes": dataset.get_storage_size()}
        return {**said, "layout": "contiguous"}, b""
    if layout == h5d.COMPACT:
        return {**said, "layout": "compact"}, _compact(dataset, said["dtype"])
    codes = [creation.get_filter(number)[0] for number in range(creation.get_nfilters())]
    data = _index(dataset, creation.get_chunk()).tobytes()
    return {**said, "layout": "chunked", "chunk": creation.get_chunk(), "filters": codes}, data


@contextmanager
def _one_line(spec: str) -> Iterator[None]:
    """Whatever the library says of a dataset, as one line."""
    try:
        yield
    except (RuntimeError, OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        msg = f"{spec} cannot be opened: {' '.join(str(error).split())}"
        raise SourceError(msg) from error


def _compact(dataset: h5d.DatasetID, dtype: str) -> bytes:
    values = np.zeros(dataset.shape, dtype)
    if dataset.get_storage_size() != values.nbytes:
        msg = f"it has {dataset.get_storage_size():,} bytes where its shape needs {values.nbytes:,}"
        raise ValueError(msg)
    dataset.read(h5s.ALL, h5s.ALL, values, dataset.get_type())  # to the type of the file: nothing is converted
    return values.tobytes()


def _index(dataset: h5d.DatasetID, chunk: tuple[int, ...]) -> np.ndarray:
    """Return the chunks as the library lists them, up to one more than the shape has room for: they are too many."""
    most = prod(-(-side // part) for side, part in zip(dataset.shape, chunk, strict=True)) + 1
    found: list[tuple[tuple[int, ...], int, int, int]] = []

    def note(info: Any) -> bool | None:
        found.append((info.chunk_offset, info.filter_mask, info.byte_offset, info.size))
        return True if len(found) >= most else None

    _each_chunk(dataset, note)
    return np.array(found, index_dtype(len(chunk)))


def _each_chunk(dataset: h5d.DatasetID, note: Callable[[Any], bool | None]) -> None:
    if hasattr(dataset, "chunk_iter"):
        dataset.chunk_iter(note)
        return
    for number in range(dataset.get_num_chunks()):  # HDF5 before 1.12.3: a search for each
        if note(dataset.get_chunk_info(number)):
            return
