"""Arrays of zarr, formats 2 and 3, in a folder or a zip file, through the package zarr.

A chunk that is not there stands for the fill value: whether somebody meant it or a writer did not finish, nobody can
tell, so it is refused. Codecs that could run Python are refused before anything is decoded.
"""

from __future__ import annotations

import json
import os
import zipfile
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore.errors import SourceError
from actstore.formats.containers.base import FileArray, FileRows
from actstore.formats.containers.extras import needed
from actstore.formats.conventions import FILLS, is_of_rows, number_of, refused_array, refused_group
from actstore.wording import hint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

LARGEST_RATIO = 1000
SMALL_BYTES = 64 * 2**20
_CODECS = {
    *("blosc", "zstd", "gzip", "zlib", "lz4", "lz4hc", "bz2", "lzma", "shuffle", "delta"),
    *("bytes", "transpose", "crc32c", "crc32", "adler32", "fletcher32", "jenkins_lookup3"),
}
_ADVICE = (
    "A chunk that is not there stands for its fill value, and nobody can tell whether that was meant. Write it whole; "
    "where chunks of the fill value alone are meant, write them too (write_empty_chunks=True)"
)


class _Tree:
    """The files below a folder or in a zip file: which arrays and groups there are, told without zarr.

    zarr looks at all of them at once, and where one is damaged it may wait for ever for the others.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._archive = None if path.is_dir() else zipfile.ZipFile(path)
        if self._archive is None:
            self._names = {one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file()}
        else:
            damaged = self._archive.testzip()
            if damaged is not None:
                msg = f"{damaged} in its archive is damaged; restore it from a copy"
                raise ValueError(msg)
            self._names = {*self._archive.namelist()}

    def arrays(self) -> list[str]:
        """The paths of all arrays; "" is the root."""
        return [path for path, node in self._nodes() if node.get("node_type", "array") == "array"]

    def attributes(self, path: str) -> dict[str, Any]:
        """The attributes of an array or group; none of what is not there."""
        of_path = f"{path}/" if path else ""
        told = self._json(f"{of_path}zarr.json").get("attributes", {}) | self._json(f"{of_path}.zattrs")
        return dict(told)

    def _nodes(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for name in sorted(self._names):
            folder, _, file = name.rpartition("/")
            if file in ("zarr.json", ".zarray"):
                yield folder, self._json(name)

    def _json(self, name: str) -> dict[str, Any]:
        if name not in self._names:
            return {}
        data = (self._path / name).read_bytes() if self._archive is None else self._archive.read(name)
        found = json.loads(data)
        if not isinstance(found, dict):
            msg = f"{name} is no JSON object"
            raise ValueError(msg)
        return found


def read_zarr(path: Path, key: str | None, shown: str) -> tuple[dict[str, FileArray], list[str]]:
    """Return the arrays by their paths, or the one called ``key``, and the paths of what else is there.

    Raises:
        SourceError: zarr is not installed, it is damaged or not all there, or means other numbers than it holds.
    """
    needed("zarr", "zarr", shown, "zarr")
    with _one_line(shown):
        tree = _Tree(path)
        names = tree.arrays()
        name = (key or "").strip("/")
        if names == [""]:
            if name:
                msg = f"{shown} is one array; write it without {key!r}"
                raise SourceError(msg)
            return {path.stem: _array(path, "", shown)}, []
        _check_groups(tree, name, shown)
        if name:
            if name not in names:
                msg = f"{shown} has no array {name!r}; {hint(name, names)}"
                raise SourceError(msg)
            return {name: _array(path, name, f"{shown}:/{name}")}, []
        root = tree.attributes("")
        rows = [one for one in names if is_of_rows(one, root) and _is_data(one, _opened(path, one, shown))]
        arrays = {one: _array(path, one, f"{shown}:/{one}") for one in rows}
    if not arrays:
        msg = f"{shown} holds no array of numbers"
        raise SourceError(msg)
    return arrays, [one for one in names if one not in arrays]


def _check_groups(tree: _Tree, name: str, shown: str) -> None:
    """Refuse what lies below a group that says that its parts are no rows; an AnnData's X may be such a group."""
    ways = [name] if name else ["X/data", "raw/X/data"] if "encoding-type" in tree.attributes("") else []
    if not name:
        ways += tree.arrays() if "encoding-type" not in tree.attributes("") else []
    for way in ways:
        parts = way.split("/")
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            why = refused_group(tree.attributes(above), f"{shown}:/{above}")
            if why:
                raise SourceError(why)


def _opened(path: Path, name: str, shown: str) -> Any:
    storage = needed("zarr.storage", "zarr", shown, "zarr")
    store = storage.LocalStore(path, read_only=True) if path.is_dir() else storage.ZipStore(path, mode="r")
    return needed("zarr", "zarr", shown, "zarr").open_array(store, path=name, mode="r")


def _is_data(name: str, array: Any) -> bool:
    """Whether an array is no text, no single value, and not what says where others are (a coordinate)."""
    own = name.rpartition("/")[2]
    axes = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS") or ()
    return bool(array.shape) and np.dtype(array.dtype).kind in "iufb" and list(axes) != [own]


def _array(path: Path, name: str, spec: str) -> FileArray:
    array = _opened(path, name, spec)
    dtype = np.dtype(array.dtype)
    if dtype.kind not in "iufbSU":
        msg = f"{spec} is of {dtype}; expected numbers or text of a fixed width"
        raise SourceError(msg)
    _check_codecs(array, spec)
    _check_whole(path, array, spec)
    why = refused_array(array.attrs, spec)
    if why:
        raise SourceError(why)
    fills = _fills(array.attrs, spec)

    def read(start: int, stop: int) -> np.ndarray:
        with _one_line(spec):
            found = np.asarray(array[start:stop])
        _check_fills(found, fills, start, spec)
        return found

    return FileArray.of(FileRows(spec, tuple(array.shape), dtype.newbyteorder("="), _native(read)), spec)


def _native(read: Callable[[int, int], np.ndarray]) -> Callable[[int, int], np.ndarray]:
    def native(start: int, stop: int) -> np.ndarray:
        found = read(start, stop)
        return found.astype(found.dtype.newbyteorder("="), copy=False)

    return native


def _check_fills(found: np.ndarray, fills: list[float], start: int, spec: str) -> None:
    for fill in fills:
        odd = found == fill
        if odd.any():
            row = int(np.argwhere(odd)[0, 0]) + start
            msg = f"{spec} has {fill} in row {row:,}, which stands for no value (_FillValue); leave it out"
            raise SourceError(msg)


def _fills(attributes: Mapping[str, Any], spec: str) -> list[float]:
    found = []
    for name in FILLS:
        if name in attributes:
            value = number_of(attributes[name])
            if value is None:
                msg = f"{spec} has an attribute {name} that is no number; write it without"
                raise SourceError(msg)
            found.append(value)
    return [value for value in found if value == value]


def _check_codecs(array: Any, spec: str) -> None:
    """Refuse what is not known to be numbers alone; a sharded array hides which of its chunks are there."""
    told = array.metadata.to_dict()
    given = [*(told.get("codecs") or ()), *(told.get("filters") or ()), told.get("compressor")]
    used = [one for one in given if one is not None]
    said = [one if isinstance(one, dict) else one.get_config() for one in used]  # objects until zarr 3.1
    names = [str(one.get("name", one.get("id"))).removeprefix("numcodecs.") for one in said]
    if told.get("storage_transformers"):
        names.append("storage transformer")
    odd = [name for name in names if name not in _CODECS]
    if odd:
        msg = f"{spec} is packed by {odd[0]!r}, which is not undone; write it with one of {', '.join(sorted(_CODECS))}"
        raise SourceError(msg)


def _check_whole(path: Path, array: Any, spec: str) -> None:
    if array.nchunks_initialized != array.nchunks:
        msg = (
            f"{spec} was written in part, or has chunks of nothing but its fill value: {array.nchunks_initialized:,} "
            f"of {array.nchunks:,} chunks are there. {_ADVICE}"
        )
        raise SourceError(msg)
    item_bytes = np.dtype(array.dtype).itemsize
    declared = max(prod(array.shape), prod(array.chunks) * max(1, array.nchunks)) * item_bytes
    stored = _stored_bytes(path)
    if declared > LARGEST_RATIO * stored + SMALL_BYTES:
        msg = f"{spec} declares {declared:,} bytes in files of {stored:,}; it is not read"
        raise SourceError(msg)


def _stored_bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    found = 0
    for folder, _, names in os.walk(path):
        found += sum(os.stat(os.path.join(folder, name)).st_size for name in names)
    return found


@contextmanager
def _one_line(spec: str) -> Iterator[None]:
    """Whatever zarr and its codecs say of a file, as one line: code of others, which raises what it likes."""
    try:
        yield
    except SourceError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        msg = f"{spec} cannot be read as zarr: {reason}"
        raise SourceError(msg) from error
