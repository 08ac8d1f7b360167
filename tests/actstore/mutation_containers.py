"""Files of others, damaged: torch, Parquet, Feather, zarr, tables of numbers, a request's hidden states, gzip of some.

A worker of ``mutation_pool``. It reads each file through every door. Where all bytes of a kind have a checksum, a value
that is not the one that was written is a miss; of every kind, anything but one line is a failure.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import tempfile
import traceback
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import zarr
from pyarrow import feather, parquet

from actstore.errors import ActstoreError, SourceError
from actstore.exchange import specs
from actstore.formats import safetensors
from actstore.formats.containers import arrow
from actstore.rows.choice import RowChoice
from actstore.sources import read_labels, split_data
from tests.actstore import mutation_bytes
from tests.actstore.torch_files import torch_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS, WIDTH = 40, 5
VALUES = (np.random.default_rng(7).normal(size=(ROWS, WIDTH)) + np.arange(ROWS)[:, None]).astype("f4")


@dataclass(frozen=True)
class Patient:
    """A file as it was.

    Args:
        name: of the file.
        data: its bytes.
        array: behind its name, an array in it; a column of labels.
        labels: behind its name, labels in it.
        is_summed: whether all of it has checksums.
        packed: how damaged members are packed into an archive whose own checksums fit; None where bytes are damaged as
            they lie.
    """

    name: str
    data: bytes
    array: str = ""
    labels: str = ""
    is_summed: bool = False
    packed: bool = False


def patients() -> list[Patient]:
    """Every kind of file."""
    array = io.BytesIO()
    np.save(array, VALUES)
    lines = [",".join([*(f"f{place}" for place in range(WIDTH)), "label"])]
    lines += [",".join([*map(str, row), str(number % 3)]) for number, row in enumerate(VALUES.tolist())]
    csv = "\n".join(lines).encode()
    request = safetensors.write_header(
        {"hidden_states": ("float32", (ROWS, 1, WIDTH)), "token_ids": ("int64", (ROWS,))}, {}
    )
    request += VALUES.tobytes() + np.arange(ROWS).tobytes()
    return [
        Patient("a.pt", torch_bytes({"x": VALUES, "y": np.arange(ROWS) % 3}), ":x", ":y", is_summed=True),
        Patient("a.npy.gz", gzip.compress(array.getvalue(), mtime=0), is_summed=True),
        Patient("a.csv", csv, ":f*", ":label"),
        Patient("a.csv.gz", gzip.compress(csv, mtime=0), ":f*", ":label", is_summed=True),
        Patient("r.safetensors", request, ":hidden_states", ":token_ids"),
        *_arrow(),
        Patient("a.zarr", _zarr(3), ":x", ":y", packed=True),
        Patient("b.zarr", _zarr(2), ":x", ":y", packed=True),
        Patient("zip.zarr", _zarr(3), ":x", ":y"),
    ]


def _arrow() -> Iterator[Patient]:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(VALUES.reshape(-1)), WIDTH)
    lists = pa.array(VALUES.tolist(), pa.list_(pa.float32()))
    labels = pa.array([None, "ab", "cde", "f"] * (ROWS // 4)).dictionary_encode()
    table = pa.table({"x": vectors, "l": lists, "y": labels, "n": pa.array(np.arange(ROWS))})
    for name, options in {
        "plain": {"compression": "none", "use_dictionary": False},
        "snappy": {"compression": "snappy"},
        "zstd": {"compression": "zstd", "write_page_checksum": True, "row_group_size": 13},
    }.items():
        file = io.BytesIO()
        parquet.write_table(table, file, **options)
        yield Patient(f"{name}.parquet", file.getvalue(), ":x", ":y")
    for compression in ("uncompressed", "lz4"):
        file = io.BytesIO()
        feather.write_feather(table, file, compression=compression)
        yield Patient(f"{compression}.feather", file.getvalue(), ":x", ":y")


def _zarr(zarr_format: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        group = zarr.open_group(f"{folder}/a.zarr", mode="w", zarr_format=zarr_format)
        group.create_array("x", shape=VALUES.shape, chunks=(13, WIDTH), dtype="f4")[:] = VALUES
        group.create_array("y", shape=(ROWS,), chunks=(ROWS,), dtype="i8")[:] = np.arange(ROWS) + 1
        root = Path(folder) / "a.zarr"
        return _zipped(
            {str(one.relative_to(root)): one.read_bytes() for one in root.rglob("*") if one.is_file()}
        )


def _zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in sorted(members.items()):
            archive.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue()


def damage(patient: Patient, rng: np.random.Generator) -> tuple[str, bytes]:
    """A kind of damage, and the file with it."""
    while True:
        kind = str(rng.choice(["flip a bit", "flip a byte", "zero bytes", "truncate", "swap blocks", "append"]))
        if not patient.packed:
            changed = mutation_bytes.KINDS[kind]({"": patient.data}, rng).get("", patient.data)
        else:
            with zipfile.ZipFile(io.BytesIO(patient.data)) as archive:
                members = {name: archive.read(name) for name in archive.namelist()}
            name = str(rng.choice(sorted(members)))
            damaged = mutation_bytes.KINDS[kind]({"": members[name]}, rng).get("")
            members[name] = members[name] if damaged is None else damaged
            if rng.random() < 0.1:
                del members[name]
            changed = _zipped(members)
        if changed != patient.data:
            return kind, changed


def examine(path: Path, patient: Patient) -> tuple[str, str]:
    """Read the file through every door: "found" where each refuses it in a line, or gives what is in it."""
    told = []
    for door, spec in {
        _imported: f"{path}",
        _imported_one: f"{path}{patient.array}",
        _as_data: f"{path}{patient.array}",
        _as_features: f"{path}{patient.array}",
        _as_labels: f"{path}{patient.labels}",
    }.items():
        try:
            with warnings.catch_warnings(action="ignore"):
                found = list(door(spec))
            if patient.is_summed and found and not np.array_equal(np.concatenate(found), VALUES):
                return "missed", f"{door.__name__}: {found[0][0]}"
            told.append("read")
        except (ActstoreError, OSError) as error:
            if "\n" in str(error):
                return "raised", f"{door.__name__}: more than a line: {error}"
            told.append("refused")
        except BaseException:  # noqa: BLE001 - whatever it is, it is the finding
            return "raised", f"{door.__name__}: {traceback.format_exc()}"
    return "found", ", ".join(told)


def _imported(spec: str) -> Iterator[np.ndarray]:
    for block in specs.blocks([specs.parse(spec, "")], None, None):
        for batch, _ in block.batches(1000):
            yield next(iter(batch.values())).array


def _imported_one(spec: str) -> Iterator[np.ndarray]:
    yield from _imported(spec)


def _as_data(spec: str, *, as_features: bool = False) -> Iterator[np.ndarray]:
    for item in split_data([spec], as_features=as_features):
        for batch in item.batches(11, RowChoice()):
            if isinstance(batch.inputs, np.ndarray):
                yield batch.inputs


def _as_features(spec: str) -> Iterator[np.ndarray]:
    yield from _as_data(spec, as_features=True)


def _as_labels(spec: str) -> Iterator[np.ndarray]:
    read_labels(spec)
    return iter(())


def look_forked(path: Path, kind: str, shown: str) -> None:
    """As ``looked_at.look_at``, by a fork of this process, which has loaded everything."""
    with warnings.catch_warnings(action="ignore"):  # of forking where there are threads: the child only reads
        child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            arrow.read_whole(path, kind)
        finally:
            os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        msg = f"{shown}: the library crashed"
        raise SourceError(msg)


def serve(folder: Path, seed: int) -> None:
    """Take case numbers from standard input until it ends."""
    arrow.look_at = look_forked
    tempfile.tempdir = str(folder)  # of what is unpacked: a worker may be killed
    ill = patients()
    for line in sys.stdin:
        number = int(line)
        rng = np.random.default_rng([seed, number])
        patient = ill[number % len(ill)]
        kind, changed = damage(patient, rng)
        print(json.dumps({"kind": kind, "what": patient.name}), flush=True)  # noqa: T201
        path = folder / patient.name
        path.write_bytes(changed)
        outcome, detail = examine(path, patient)
        path.unlink()
        print(json.dumps({"outcome": outcome, "detail": detail}), flush=True)  # noqa: T201


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
