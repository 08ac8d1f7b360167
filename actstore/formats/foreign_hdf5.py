"""HDF5 files that others wrote. The library looks for the values in a process of its own; they are read here.

So a crash of the library on a damaged file is one line, and no value comes out that is not the decoding of bytes that
lie in the file at the place of the dataset. See docs/decisions/0014-the-library-in-a-process-of-its-own.md.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore.errors import SourceError
from actstore.formats.containers.base import FileRows
from actstore.formats.foreign_array import ForeignArray, Told
from actstore.formats.hdf5_place import place_of
from actstore.formats.opening import existing, stamp_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from actstore.formats.opening import Stamp

_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from actstore.formats.hdf5_child import main
main()
"""
_HUNG_S = 600  # the child's own limit is of processor time; this is for one that waits for ever


@dataclass(frozen=True)
class Answer:
    """What a child said.

    Args:
        names: what lies in the root of the file, where that was asked for; of ``open_rows`` what else lies in it.
        arrays: the datasets that were asked for.
    """

    names: Sequence[str]
    arrays: Sequence[Any]


def open_array(path: Path, key: str, spec: str) -> ForeignArray | FileRows:
    """Return the dataset ``key`` of an HDF5 file, to be read in slices.

    Raises:
        SourceError: none is there, or one that is not safe to read or not all there; a line that begins with ``spec``.
    """
    return _opened(path, [(key, spec)], spec).arrays[0]


def open_numbered(path: Path) -> Answer:
    """Return the datasets called 0, 1, … in the root of a file, in the order of ``names``, and all names there.

    Raises:
        SourceError: as ``open_array``.
    """
    return _opened(path, None, str(path))


def root_names(path: Path) -> Sequence[str]:
    """Return the names in the root of a file.

    Raises:
        SourceError: it cannot be opened.
    """
    return _opened(path, [], str(path), root=True).names


def open_rows(path: Path) -> Answer:
    """Return all datasets of a file that may be layers, each with its path as its ``spec``, and the names of others.

    Raises:
        SourceError: as ``open_array``, or a file whose rows are laid out in a way that is not undone.
    """
    return _opened(path, None, str(path), rows=True)


def _opened(path: Path, keys: Sequence[tuple[str, str]] | None, spec: str, **asked: bool) -> Answer:
    stamp = stamp_of(existing(path))
    header, payload = ask({"path": str(path), "keys": keys, **asked}, spec)
    if "error" in header:
        raise SourceError(header["error"])
    names = header["names"]
    arrays, start = [], 0
    for (_, own), said in zip(header["keys"], header["arrays"], strict=True):
        data = payload[start : start + said["data"]]
        start += said["data"]
        arrays.append(_array(path, own, stamp, said, data))
    if stamp_of(path) != stamp:
        msg = f"{path} changed while it was opened; read it once it is whole"
        raise SourceError(msg)
    return Answer(names, arrays)


def _array(path: Path, spec: str, stamp: Stamp, said: dict[str, Any], data: bytes) -> ForeignArray | FileRows:
    try:
        place = place_of(said, data, stamp.nbytes)
    except ValueError as error:
        msg = f"{spec} {error}"
        raise SourceError(msg) from error
    told = Told(tuple(said["shape"]), np.dtype(said["dtype"]), said["how"], tuple(said["fills"]))
    found = ForeignArray(path.absolute(), spec, stamp, told, place)
    return _turned(found) if said["turned"] else found


def _turned(array: ForeignArray) -> FileRows:
    """An array whose axes lie in reverse, the right way round."""
    before = (slice(None),) * (array.ndim - 1)

    def read(start: int, stop: int) -> np.ndarray:
        return array[(*before, slice(start, stop))].transpose()

    return FileRows(array.spec, array.shape[::-1], array.dtype, read)


def ask(question: dict[str, Any], spec: str) -> tuple[dict[str, Any], bytes]:
    """Return what a child answers: what is said, and the bytes that follow.

    Raises:
        SourceError: it crashed, took too long, or could not be started.
    """
    command = [sys.executable or "python3", "-P", "-c", _PROGRAM, json.dumps(sys.path)]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(question).encode(),
            capture_output=True,
            timeout=_HUNG_S,
            check=False,
            env=_environment(),
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        msg = f"{spec} cannot be opened: the process that looks into HDF5 files gave no answer ({error})"
        raise SourceError(msg) from error
    return answered(done.returncode, done.stdout, done.stderr, spec)


def answered(code: int, output: bytes, told: bytes, spec: str) -> tuple[dict[str, Any], bytes]:
    """Return the answer in a child's output; SourceError where it ended in any other way than by itself."""
    head, _, payload = output.partition(b"\n")
    if code == 0 and head:
        header = json.loads(head)
        if len(payload) == header.get("bytes", 0):
            return header, payload
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        reason = "looking for its values took longer than they could take in a whole file"
    elif code < 0:
        reason = f"the HDF5 library crashed on it ({signal.Signals(-code).name})"
    else:
        lines = told.decode("utf-8", "replace").strip().splitlines()
        reason = (
            f"the process that looks into HDF5 files failed ({lines[-1] if lines else f'exit code {code}'})"
        )
    msg = (
        f"{spec} cannot be opened: {reason}. The file may be damaged: restore it from a copy, or write it again"
    )
    raise SourceError(msg)


def _environment() -> dict[str, str]:
    return {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
