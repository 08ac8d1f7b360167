"""Files of others, damaged: HDF5 (its chunk indexes by aim, with checksums that fit), .npz, .npy and .safetensors.

A worker of ``mutation_pool``. It reads each file through every door; a value that is neither in the file nor in what
the file was made of is a miss.
"""

from __future__ import annotations

import io
import json
import os
import sys
import traceback
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from actstore.errors import ActstoreError
from actstore.exchange import specs
from actstore.formats import foreign_hdf5, hdf5_child, safetensors
from actstore.formats.hdf5_filters import LZF, Pipeline
from actstore.rows.choice import RowChoice
from actstore.sources import read_labels, split_data
from tests.actstore import mutation_bytes
from tests.actstore.mutation_checksums import seal, sealed_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS, WIDTH = 60, 9
_CHUNKS = (13, WIDTH)
HDF5 = {
    "contiguous": {},
    "chunks": {"chunks": _CHUNKS},
    "one chunk": {"chunks": (ROWS, WIDTH)},
    "growing": {"chunks": _CHUNKS, "maxshape": (None, WIDTH)},
    "growing twice": {"chunks": _CHUNKS, "maxshape": (None, None)},
    "deflate": {"chunks": _CHUNKS, "compression": "gzip"},
    "deflate growing": {"chunks": _CHUNKS, "compression": "gzip", "maxshape": (None, WIDTH)},
    "shuffle": {"chunks": _CHUNKS, "shuffle": True},
    "fletcher32": {"chunks": _CHUNKS, "fletcher32": True},
    "lzf": {"chunks": _CHUNKS, "compression": "lzf"},
    "all": {
        "chunks": _CHUNKS,
        "compression": "gzip",
        "shuffle": True,
        "fletcher32": True,
        "maxshape": (None, None),
    },
    "many": {"chunks": (1, WIDTH), "maxshape": (None, WIDTH)},
}
HOSTILE = (0, 1, 2, 7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)


def rows() -> np.ndarray:
    """Numbers that are all different and that nothing else in a file is."""
    return (np.random.default_rng(7).normal(size=(ROWS, WIDTH)) * 1e-3 + np.arange(ROWS)[:, None]).astype("f4")


@dataclass(frozen=True)
class Patient:
    """A file as it was.

    Args:
        name: of the file.
        spec: of an array in it, behind the file's name.
        known: bytes that may come out of it, besides those that are in it.
        unsummed: (address, bytes) of chunks packed by lzf, which has no checksum: their damage cannot be told.
        places: of addresses and sizes in its index, to be aimed at.
        blocks: (start, length) of what ends with a checksum.
    """

    name: str
    spec: str
    data: bytes
    known: bytes
    unsummed: tuple[tuple[int, int], ...] = ()
    places: tuple[int, ...] = ()
    blocks: tuple[tuple[int, int], ...] = ()


def patients() -> list[Patient]:
    """Every kind of file."""
    return [*_hdf5(), *_sentences(), *_others()]


def _hdf5() -> Iterator[Patient]:
    values = rows()
    planes = [
        np.ascontiguousarray(part.reshape(-1).view("u1").reshape(-1, 4).T)
        for part in np.split(values, [13, 26, 39, 52])
    ]
    for libver in ("earliest", "latest"):
        for name, options in HDF5.items():
            image = io.BytesIO()
            with h5py.File(image, "w", libver=libver) as file:
                dataset = file.create_dataset("g/x", data=values, **options)
                found = (
                    [dataset.id.get_chunk_info(n) for n in range(dataset.id.get_num_chunks())]
                    if options
                    else []
                )
                flat = dataset.id.get_offset() if not options else None
            data = image.getvalue()
            places = _places(data, [one.byte_offset for one in found] or [flat])
            known = values.tobytes() + b"".join(plane.tobytes() for plane in planes)
            unsummed = tuple((one.byte_offset, one.size) for one in found) if name == "lzf" else ()
            yield Patient(
                f"{name} {libver}.h5", ":/g/x", data, known, unsummed, places, tuple(sealed_blocks(data))
            )


def _places(data: bytes, addresses: list[int]) -> tuple[int, ...]:
    found = []
    for address in addresses:
        place = data.find(address.to_bytes(8, "little"))
        if place >= 0:
            found.append(place)
    return tuple(found)


def _sentences() -> Iterator[Patient]:
    image = io.BytesIO()
    values = np.random.default_rng(8).normal(size=(3, 12, WIDTH)).astype("f4")
    with h5py.File(image, "w") as file:
        for number, tokens in enumerate((4, 6, 12, 5)):
            file.create_dataset(
                str(number), data=values[:, :tokens], compression="gzip" if number % 2 else None
            )
    yield Patient(
        "sentences.h5", "", image.getvalue(), values.tobytes(), (), (), tuple(sealed_blocks(image.getvalue()))
    )


def _others() -> Iterator[Patient]:
    values, text = rows(), np.array(["ab", "cde", ""] * 20)
    for name, array in {
        "c.npy": values,
        "f.npy": np.asfortranarray(values),
        "text.npy": text,
        "big.npy": values.astype(">f4"),
    }.items():
        file = io.BytesIO()
        np.save(file, array)
        yield Patient(name, "", file.getvalue(), b"")
    for name, save in {"stored.npz": np.savez, "deflated.npz": np.savez_compressed}.items():
        file = io.BytesIO()
        save(file, x=values, **{"target:y": text, "ids": np.arange(ROWS).astype("U4")})
        yield Patient(name, ":x", file.getvalue(), values.tobytes())
    header = safetensors.write_header(
        {"x": ("float32", values.shape), "y": ("int64", (ROWS,))}, {"by": "a test"}
    )
    yield Patient("a.safetensors", "", header + values.tobytes() + np.arange(ROWS).tobytes(), b"")


def damage(patient: Patient, rng: np.random.Generator) -> tuple[str, bytes]:
    """A kind of damage, and the file with it."""
    while True:
        draw = rng.random()
        if patient.places and draw < 0.4:
            kind, changed = "chunk index", _aimed(patient, rng)
        elif patient.blocks and draw < 0.7:
            kind, changed = "sealed metadata", _sealed(patient, rng)
        else:
            kind = str(
                rng.choice(["flip a bit", "flip a byte", "zero bytes", "truncate", "swap blocks", "append"])
            )
            found = mutation_bytes.KINDS[kind]({"": patient.data}, rng)
            changed = found.get("", patient.data)
        if changed != patient.data:
            return kind, changed


def _hostile(patient: Patient, size: int, rng: np.random.Generator) -> bytes:
    """A number that means harm; or another address of the file; or a random one."""
    values = [*HOSTILE, len(patient.data), len(patient.data) - 1, *(patient.places[:3])]
    addresses = [int.from_bytes(patient.data[place : place + 8], "little") for place in patient.places]
    value = int(rng.choice(np.array([*values, *addresses, *addresses, int(rng.integers(2**32))], np.uint64)))
    return (value % 2 ** (8 * size)).to_bytes(size, "little")


def _aimed(patient: Patient, rng: np.random.Generator) -> bytes:
    """Something near the address of a chunk; if it lies in a block with a checksum, that is made to fit."""
    size = int(rng.choice([1, 2, 4, 8]))
    place = int(rng.choice(patient.places)) + int(
        rng.choice([0, 0, 8, -8, -16, -24, -32, -40, *range(-48, 24)])
    )
    place = min(max(place, 0), len(patient.data) - size)
    return _resealed(patient, place, _hostile(patient, size, rng))


def _sealed(patient: Patient, rng: np.random.Generator) -> bytes:
    start, length = patient.blocks[int(rng.integers(len(patient.blocks)))]
    size = int(rng.choice([1, 2, 4, 8]))
    place = start + 4 + int(rng.integers(max(1, length - 4 - size)))
    patch = _hostile(patient, size, rng) if rng.random() < 0.7 else rng.bytes(size)
    return _resealed(patient, place, patch)


def _resealed(patient: Patient, place: int, patch: bytes) -> bytes:
    data = bytearray(patient.data)
    data[place : place + len(patch)] = patch
    for start, length in patient.blocks:
        if start <= place < start + length:
            seal(data, start, length)
    return bytes(data)


# -- reading


def examine(path: Path, patient: Patient, damaged: bytes) -> tuple[str, str]:
    """Read the file through every door: "found" where each refuses it or gives what is in it."""
    spec = f"{path}{patient.spec}"
    pool = damaged + b"\0" + patient.known
    for address, size in patient.unsummed:
        with suppress(ValueError):
            pool += Pipeline((LZF,), 4 * WIDTH * _CHUNKS[0], 4).undo(damaged[address : address + size], 0)
    told = []
    for door in (_imported, _as_data, _as_labels):
        try:
            found = list(door(spec))
            alike = {(values.dtype, values.shape[1:]) for values in found}
            for values in [np.concatenate(found)] if len(alike) == 1 else found:
                fault = missing(values, pool)
                if fault:
                    return "missed", f"{door.__name__}: {fault}"
            told.append("read")
        except (ActstoreError, OSError) as error:
            if "\n" in str(error):
                return "raised", f"{door.__name__}: more than a line: {error}"
            told.append("refused")
        except BaseException:  # noqa: BLE001 - whatever it is, it is the finding
            return "raised", f"{door.__name__}: {traceback.format_exc()}"
    return "found", ", ".join(told)


def _imported(spec: str) -> Iterator[np.ndarray]:
    for block in specs.blocks([specs.parse(spec, "")], None, "token" if "sentences" in spec else None):
        for batch, _ in block.batches(1000):
            yield from (one.array for one in batch.values())


def _as_data(spec: str) -> Iterator[np.ndarray]:
    if "sentences" in spec or spec.endswith("safetensors"):
        return
    for item in split_data([spec]):
        for batch in item.batches(11, RowChoice()):
            if isinstance(batch.inputs, np.ndarray):
                yield batch.inputs


def _as_labels(spec: str) -> Iterator[np.ndarray]:
    if not spec.endswith("safetensors") and "sentences" not in spec:
        read_labels(spec)
    return iter(())


def missing(values: np.ndarray, pool: bytes) -> str:
    """What of the values is not in the pool of bytes; "" where all is."""
    if values.dtype.kind in "US":
        return ""  # text is cut at its end, and widened
    for order in (values.dtype, values.dtype.newbyteorder()):
        stored = values.astype(order)
        by_row = [np.ascontiguousarray(row).tobytes() for row in stored]
        if all(row in pool for row in by_row):
            return ""
        by_column = [np.ascontiguousarray(column).tobytes() for column in stored.reshape(len(stored), -1).T]
        if all(column in pool for column in by_column):
            return ""
        planes = [
            np.ascontiguousarray(band.reshape(-1).view("u1").reshape(-1, values.itemsize).T)
            for band in (stored[start : start + _CHUNKS[0]] for start in range(0, len(stored), _CHUNKS[0]))
        ]
        if all(plane.tobytes() in pool for band in planes for plane in band):
            return ""
    odd = next(number for number, row in enumerate(values) if np.ascontiguousarray(row).tobytes() not in pool)
    return f"{values.dtype} {values.shape}, row {odd}: {values[odd]}"


def ask_forked(question: dict[str, Any], spec: str) -> tuple[dict[str, Any], bytes]:
    """As ``foreign_hdf5.ask``, by a fork of this process, which has loaded everything: 50 times as fast."""
    reading, writing = os.pipe()
    with warnings.catch_warnings(
        action="ignore"
    ):  # of forking where there are threads: the child only computes
        child = os.fork()
    if not child:
        os.close(reading)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            hdf5_child.limit(os.stat(question["path"]).st_size)
            header, payload = hdf5_child.answer(question)
            with os.fdopen(writing, "wb") as file:
                file.write(json.dumps(header).encode() + b"\n" + payload)
            os._exit(0)
        except BaseException:  # noqa: BLE001 - a fork must not go on as its parent
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        output = file.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    COUNTS["library crashed"] += code < 0
    COUNTS["child failed"] += code > 0
    return foreign_hdf5.answered(code, output, b"", spec)


COUNTS = {"library crashed": 0, "child failed": 0}


def serve(folder: Path, seed: int) -> None:
    """Take case numbers from standard input until it ends."""
    foreign_hdf5.ask = ask_forked
    hdf5_child.CPU_S = 1  # it is loaded already, and three doors ask
    ill = patients()
    for line in sys.stdin:
        number = int(line)
        rng = np.random.default_rng([seed, number])
        patient = ill[number % len(ill)]
        kind, changed = damage(patient, rng)
        print(json.dumps({"kind": kind, "what": patient.name}), flush=True)  # noqa: T201
        path = folder / patient.name
        path.write_bytes(changed)
        before = dict(COUNTS)
        outcome, detail = examine(path, patient, changed)
        path.unlink()
        detail += "".join(f"; {name}" for name, count in COUNTS.items() if count > before[name])
        print(json.dumps({"outcome": outcome, "detail": detail}), flush=True)  # noqa: T201


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
