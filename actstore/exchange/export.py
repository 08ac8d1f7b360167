"""Layers of a store as .npy, .npz or .safetensors: streamed, and there under its name only once it is whole."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from actstore.errors import StoreError
from actstore.formats import safetensors
from actstore.store.disk.output import check_room, whole_file
from actstore.store.documents.bfloat16 import widened
from actstore.store.documents.shard import block_bytes
from actstore.store.format import BFLOAT16, numpy_dtype
from actstore.store.writing.pack import layer_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from os import PathLike

    from actstore.store.disk.output import WholeFile
    from actstore.store.reading.layer import Layer
    from actstore.store.reading.reader import Store

SUFFIXES = (".npy", ".npz", ".safetensors")
ROW_NAMES = ("ids", "splits", "groups", "positions", "row_unit", "layer")
ONE_LAYER = "activations"
HEADER_BYTES = 100 * 10**6  # the longest header that a .safetensors file may have
TARGET, MISSING = "target:", ":missing"


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        rows: how many of each layer.
        file_bytes: the size of the file.
        widened: layers of bfloat16, which NumPy lacks, that went out as the same values in float32.
    """

    rows: int
    file_bytes: int
    widened: tuple[str, ...]


def export(
    store: Store, layers: Sequence[str], path: str | PathLike[str], *, overwrite: bool = False
) -> Exported:
    """Write layers of a complete store to a file; its suffix says how.

    ``.npy`` takes one layer. ``.npz`` has ``activations`` (or several layers by their names), ``ids``, ``splits``,
    ``groups`` and ``positions`` where there are any, ``target:NAME`` for each target, with ``target:NAME:missing``
    where rows have no label, and ``row_unit``, and ``layer`` where it is one. ``.safetensors`` has the layers by
    their names; bfloat16 stays what it is.

    Raises:
        LayerError: no layer of that name.
        StoreError: the store is unfinished, ``path`` cannot be written, or a name would stand for two things.
    """
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        msg = f"{path} is not the name of an export; expected NAME{', NAME'.join(SUFFIXES)}"
        raise StoreError(msg)
    if not store.complete:
        msg = f"{store.path} is unfinished; only a complete store is exported. Finish the dump first"
        raise StoreError(msg)
    chosen = {name: store.layers[name] for name in layers}
    if not chosen or (suffix == ".npy" and len(chosen) > 1):
        msg = f"{path}: {len(chosen)} layers were asked for; expected one, or several for .npz and .safetensors"
        raise StoreError(msg)
    write = {".npy": _write_npy, ".npz": _write_npz, ".safetensors": _write_safetensors}[suffix]
    same_kind = {".npy": _is_npy, ".npz": _is_npz, ".safetensors": _is_safetensors}[suffix]
    with whole_file(path, overwrite=overwrite, inputs=[store.path], same_kind=same_kind) as file:
        check_room(file.path, sum(_nbytes(layer, suffix) for layer in chosen.values()))
        output = Output(file)
        write(output, store, chosen)
        file.publish()
    wide = [name for name, layer in chosen.items() if _is_widened(layer, suffix)]
    return Exported(store.rows, output.size, tuple(wide))


def _is_npy(path: Path) -> bool:
    """Whether a file is what ``.npy`` exports are: these say nothing of who wrote them."""
    with path.open("rb") as file:
        return file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX


def _is_npz(path: Path) -> bool:
    """Whether an archive has what every export has."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "row_unit.npy" in archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins with the header that every export has."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            metadata = json.loads(file.read(min(length, HEADER_BYTES)))[safetensors.METADATA]
            return {"row_unit", "fingerprint"} <= set(metadata)
        except (ValueError, LookupError, TypeError):
            return False


class Output(io.RawIOBase):
    """A new file as a stream that takes every byte it is given, or raises; ``zipfile`` can write to it."""

    def __init__(self, file: WholeFile) -> None:
        """Write to ``file``, from its beginning on."""
        self._file = file
        self._position = 0
        self.size = 0

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        """Write all of ``data``."""
        view = memoryview(data).cast("B") if len(data) else memoryview(b"")
        self._file.write(view, self._position)
        self.seek(view.nbytes, io.SEEK_CUR)
        self.size = max(self.size, self._position)
        return view.nbytes

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go on writing from another place."""
        self._position = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence] + offset
        return self._position

    def tell(self) -> int:
        """Where the next byte goes."""
        return self._position

    def seekable(self) -> bool:
        """Whether ``seek`` works."""
        return True

    def writable(self) -> bool:
        """Whether ``write`` works."""
        return True


def _is_widened(layer: Layer, suffix: str) -> bool:
    return layer.stored_dtype == BFLOAT16 and suffix != ".safetensors"


def _nbytes(layer: Layer, suffix: str) -> int:
    return layer.nbytes * (2 if _is_widened(layer, suffix) else 1)


def _write_npy(output: Output, store: Store, layers: Mapping[str, Layer]) -> None:
    for layer in layers.values():
        _write_layer(output.write, layer)


def _write_npz(output: Output, store: Store, layers: Mapping[str, Layer]) -> None:
    if len(layers) == 1:
        layers = dict(zip([ONE_LAYER], layers.values(), strict=True))
    known = dict(_row_arrays(store, layers))
    clashes = [name for name in layers if name in ROW_NAMES or name.startswith(TARGET)]
    if clashes:
        msg = f"layer {clashes[0]!r} has a name that an .npz keeps for the rows; export it by itself"
        raise StoreError(msg)
    with zipfile.ZipFile(output, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, layer in layers.items():
            with _member(archive, name) as file:
                _write_layer(file.write, layer)
        for name, array in known.items():
            with _member(archive, name) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)


def _member(archive: zipfile.ZipFile, name: str) -> zipfile._ZipWriteHandle:  # type: ignore[name-defined]
    return archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)


def _row_arrays(store: Store, layers: Mapping[str, Layer]) -> Iterator[tuple[str, object]]:
    """Yield what is known of the rows, as arrays by name."""
    yield from (("ids", store.ids), ("splits", store.splits))
    yield from (
        (name, getattr(store, name)) for name in ("groups", "positions") if getattr(store, name) is not None
    )
    for name, labels in store.targets.items():
        yield f"{TARGET}{name}", np.ma.getdata(labels)
        if np.ma.isMaskedArray(labels):
            if f"{name}{MISSING}" in store.targets:
                msg = f"target {name!r} lacks labels, and {name + MISSING!r} is a target too; rename that one"
                raise StoreError(msg)
            yield f"{TARGET}{name}{MISSING}", np.ma.getmaskarray(labels)
    yield "row_unit", store.row_unit
    if ONE_LAYER in layers:
        yield "layer", layers[ONE_LAYER].name


def _write_layer(write: Callable[[bytes | memoryview], object], layer: Layer) -> None:
    """A layer in the .npy format: header, then rows in C order."""
    wide = layer.stored_dtype == BFLOAT16
    dtype = "float32" if wide else layer.stored_dtype
    header = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(numpy_dtype(dtype))
    np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": layer.shape})
    write(header.getvalue())
    _write_blocks(write, map(widened, layer_blocks(layer)) if wide else layer_blocks(layer), dtype)


def _write_blocks(
    write: Callable[[bytes | memoryview], object], blocks: Iterable[np.ndarray], dtype: str
) -> None:
    for block in blocks:
        data = block_bytes(block, dtype)
        if data.nbytes:
            write(data)


def _write_safetensors(output: Output, store: Store, layers: Mapping[str, Layer]) -> None:
    if safetensors.METADATA in layers:
        msg = f"layer {safetensors.METADATA!r} has a name that a .safetensors file keeps for itself; take .npz"
        raise StoreError(msg)
    # The widest first: every tensor is aligned to its own items then.
    ordered = sorted(layers.values(), key=lambda layer: -numpy_dtype(layer.stored_dtype).itemsize)
    names, counts = np.unique(store.splits, return_counts=True)
    metadata = {
        "rows": str(store.rows),
        "row_unit": store.row_unit,
        "splits": json.dumps(dict(zip(names.tolist(), counts.tolist(), strict=True))),
        "targets": str(len(store.targets)),
        "fingerprint": store.fingerprint,
    }
    output.write(
        safetensors.write_header({one.name: (one.stored_dtype, one.shape) for one in ordered}, metadata)
    )
    for layer in ordered:
        _write_blocks(output.write, layer_blocks(layer), layer.stored_dtype)
