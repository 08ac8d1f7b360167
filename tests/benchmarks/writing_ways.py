"""Ways to write the same batches of several layers to the disk, for good: actstore's, and what people do without it.

Each gets a folder that is there and empty, and returns once all of it is synced. Only actstore's keep ids and hashes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, TypeAlias

import h5py
import numpy as np

import actstore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

Batch: TypeAlias = "dict[str, np.ndarray]"
"""By layer, (rows, width) float32."""

SHARD_BYTES = 128 * 2**20
CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class Way:
    """A way to write.

    Args:
        what: as the table calls it.
        write: writes batches into a folder.
        package: what it takes, beside what actstore needs itself; "" for nothing.
    """

    what: str
    write: Callable[[Path, Sequence[Batch]], None]
    package: str = ""

    @property
    def missing(self) -> bool:
        """Whether its package is not installed."""
        return bool(self.package) and installed(self.package) is None


def installed(package: str) -> str | None:
    """The version of a package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def raw(folder: Path, batches: Sequence[Batch]) -> None:
    """One file, one write after another, one fsync: nothing can be quicker by much, and nobody could read it."""
    fd = os.open(folder / "raw", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        for batch in batches:
            for array in batch.values():
                rest = memoryview(array.reshape(-1).view(np.uint8))
                while rest.nbytes:
                    rest = rest[os.write(fd, rest) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def _writer(name: str, batches: Sequence[Batch], folder: Path) -> None:
    with actstore.Writer(folder / name) as writer:
        rows = 0
        for batch in batches:
            captured = {
                layer: actstore.Captured(array, "float32", ("features",)) for layer, array in batch.items()
            }
            count = rows_of(batch)
            ids = [f"/{index}" for index in range(rows, rows + count)]
            writer.append(actstore.RowBatch(captured, ids, [""] * count))
            rows += count


def _recording(name: str, batches: Sequence[Batch], folder: Path) -> None:
    with actstore.create(folder / name) as store:
        for batch in batches:
            store.append(batch)


def writer_folder(folder: Path, batches: Sequence[Batch]) -> None:
    _writer("store.acts", batches, folder)


def writer_file(folder: Path, batches: Sequence[Batch]) -> None:
    _writer("store.h5", batches, folder)


def create_folder(folder: Path, batches: Sequence[Batch]) -> None:
    _recording("store.acts", batches, folder)


def create_file(folder: Path, batches: Sequence[Batch]) -> None:
    _recording("store.h5", batches, folder)


def npy_files(folder: Path, batches: Sequence[Batch]) -> None:
    for number, batch in enumerate(batches):
        for layer, array in batch.items():
            np.save(folder / f"{layer}.{number}.npy", array)
    sync(folder)


def npy_maps(folder: Path, batches: Sequence[Batch]) -> None:
    rows = sum(map(rows_of, batches))
    maps = {
        layer: np.lib.format.open_memmap(folder / f"{layer}.npy", "w+", np.float32, (rows, array.shape[1]))
        for layer, array in batches[0].items()
    }
    first = 0
    for batch in batches:
        for layer, array in batch.items():
            maps[layer][first : first + len(array)] = array
        first += rows_of(batch)
    for one in maps.values():
        one.flush()
    sync(folder)


def safetensors(folder: Path, batches: Sequence[Batch]) -> None:
    """A tensor per layer and batch: joining them to one per layer would cost another copy."""
    from safetensors.numpy import save_file

    per_file = max(1, SHARD_BYTES // sum(array.nbytes for array in batches[0].values()))
    for first in range(0, len(batches), per_file):
        tensors = {
            f"{layer}.{number}": array
            for number, batch in enumerate(batches[first : first + per_file], first)
            for layer, array in batch.items()
        }
        save_file(tensors, folder / f"{first}.safetensors")
    sync(folder)


def zarr_default(folder: Path, batches: Sequence[Batch]) -> None:
    _zarr(folder, batches, "auto")


def zarr_uncompressed(folder: Path, batches: Sequence[Batch]) -> None:
    _zarr(folder, batches, None)


def _zarr(folder: Path, batches: Sequence[Batch], compressors: str | None) -> None:
    """Chunks of whole batches in arrays of known length: growing them, or splitting batches, would be slower."""
    import zarr

    rows = sum(map(rows_of, batches))
    group = zarr.create_group(store=folder / "store.zarr")
    arrays = {
        layer: group.create_array(
            layer, shape=(rows, array.shape[1]), chunks=array.shape, dtype="float32", compressors=compressors
        )
        for layer, array in batches[0].items()
    }
    first = 0
    for batch in batches:
        for layer, array in batch.items():
            arrays[layer][first : first + len(array)] = array
        first += rows_of(batch)
    sync(folder)


def h5py_guessed(folder: Path, batches: Sequence[Batch]) -> None:
    _h5py(folder, batches, None)


def h5py_chunked(folder: Path, batches: Sequence[Batch]) -> None:
    _h5py(folder, batches, CHUNK_BYTES)


def h5py_flushed(folder: Path, batches: Sequence[Batch]) -> None:
    _h5py(folder, batches, CHUNK_BYTES, flush=True)


def _h5py(folder: Path, batches: Sequence[Batch], chunk_bytes: int | None, *, flush: bool = False) -> None:
    """One file of resizable datasets. Killed halfway, it cannot be opened again."""
    with h5py.File(folder / "plain.h5", "w") as file:
        for layer, array in batches[0].items():
            width = array.shape[1]
            chunks = True if chunk_bytes is None else (max(1, chunk_bytes // (4 * width)), width)
            file.create_dataset(layer, (0, width), "f4", maxshape=(None, width), chunks=chunks)
        for batch in batches:
            for layer, array in batch.items():
                dataset = file[layer]
                dataset.resize(len(dataset) + len(array), axis=0)
                dataset[-len(array) :] = array
            if flush:
                file.flush()
    sync(folder)


def rows_of(batch: Batch) -> int:
    """Rows of a batch."""
    return len(next(iter(batch.values())))


def sync(folder: Path) -> None:
    """Wait until all files under a folder, and their names, are on the disk."""
    for path in [*folder.rglob("*"), folder]:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


WAYS = (
    Way("actstore NAME.acts, Writer.append (keeps the arrays)", writer_folder),
    Way("actstore NAME.acts, create().append (copies them)", create_folder),
    Way("actstore NAME.h5, Writer.append (written twice: packed)", writer_file),
    Way("actstore NAME.h5, create().append (written twice: packed)", create_file),
    Way("np.save, a file per layer and batch", npy_files),
    Way("np.lib.format.open_memmap, a file per layer", npy_maps),
    Way("safetensors, files of 128 MiB", safetensors, "safetensors"),
    Way("zarr, uncompressed", zarr_uncompressed, "zarr"),
    Way("zarr, its default codecs", zarr_default, "zarr"),
    Way("h5py, appended, chunks=True", h5py_guessed),
    Way("h5py, appended, chunks of 1 MiB", h5py_chunked),
    Way("h5py, appended, chunks of 1 MiB, flushed per batch", h5py_flushed),
)
