"""The chunk index of HDF5 files of others: what it says is believed only where it can be true, and nothing crashes."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from actstore.errors import SourceError
from actstore.exchange import import_files
from actstore.formats import foreign_array, foreign_hdf5
from actstore.formats.foreign_hdf5 import open_array
from actstore.formats.hdf5_filters import Pipeline, fletcher32
from actstore.sources import read_labels, split_data
from tests.actstore.mutation_checksums import seal, sealed_blocks
from tests.actstore.mutation_foreign import HDF5, ask_forked
from tests.actstore.mutation_pool import run

ROWS = np.arange(4000 * 8, dtype=np.float32).reshape(4000, 8)
PACKED = {
    "fletcher32": {"fletcher32": True},
    "shuffle": {"shuffle": True},
    "deflate": {"compression": "gzip"},
    "lzf": {"compression": "lzf"},
    "none": {},
    "all": {"compression": "gzip", "shuffle": True, "fletcher32": True},
}


@pytest.fixture
def quick(monkeypatch):
    """The question goes to a fork of this process, which has loaded everything."""
    monkeypatch.setattr(foreign_hdf5, "ask", ask_forked)


def written(path, libver="earliest", data=ROWS, **options):
    """A dataset /x; where its chunks lie."""
    with h5py.File(path, "w", libver=libver) as file:
        chunks = {"chunks": (1000, *data.shape[1:]), **options}
        dataset = file.create_dataset("x", data=data, **chunks).id
        return [dataset.get_chunk_info(number) for number in range(dataset.get_num_chunks())]


def patch(path, place, value, nbytes):
    """Change the file; a checksum that covers the place is made to fit."""
    data = bytearray(path.read_bytes())
    blocks = [block for block in sealed_blocks(bytes(data)) if block[0] <= place < sum(block)]
    data[place : place + nbytes] = value.to_bytes(nbytes, "little")
    for block in blocks:
        seal(data, *block)
    path.write_bytes(data)


def place_of(path, address):
    return path.read_bytes().index(address.to_bytes(8, "little"))


def refused(path):
    """The message, the same at every door."""
    told = set()
    for read in (
        lambda: split_data([f"{path}:/x"])[0].source.opened().__enter__()[:],
        lambda: read_labels(f"{path}:/x"),
        lambda: import_files([f"{path}:/x"], path.with_suffix(".acts")),
    ):
        with pytest.raises(SourceError) as caught:
            read()
        told.add(str(caught.value).split("\n")[0])
    (message,) = told
    return message


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("size", [0, 1, 3, 2**31, 2**32 - 1])
@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_a_stored_size_that_no_filter_gives_is_refused(tmp_path, packed, size, libver):
    """The library crashes, or hands out what lay in memory behind the chunk (FAULTS 2.2)."""
    path = tmp_path / "f.h5"
    chunk = written(path, libver, **PACKED[packed])[1]
    if libver == "earliest":
        patch(path, place_of(path, chunk.byte_offset) - 32, size, 4)
    elif packed == "none":
        pytest.skip("an index of chunks without filters has no sizes")
    else:
        patch(path, place_of(path, chunk.byte_offset) + 8, min(size, 2**24 - 1), 3)
    with pytest.raises(SourceError, match=r"f\.h5:/x (is damaged|cannot be (read|opened)): "):
        open_array(path, "/x", f"{path}:/x")[:]


def test_the_fault_as_it_was_found(tmp_path):
    path = tmp_path / "F.h5"
    chunk = written(path, data=np.ones((4000, 64), "f4"), fletcher32=True)[1]
    patch(path, place_of(path, chunk.byte_offset) - 32, 1, 4)
    assert refused(path) == f"{path}:/x is damaged: a chunk is stored in 1 bytes where its filters give 256,004"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize(
    ("move", "message"),
    [
        (lambda chunks, size: chunks[2].byte_offset, "two chunks lie over each other in its file"),
        (lambda chunks, size: chunks[2].byte_offset - 8, "two chunks lie over each other in its file"),
        (lambda chunks, size: size, "a chunk reaches out of its file of"),
        (lambda chunks, size: size - 100, "a chunk reaches out of its file of|two chunks lie over each other"),
        (lambda chunks, size: 2**62, "a chunk reaches out of its file of"),
        (
            lambda chunks, size: 2**64 - 1,
            "was written in part|a chunk reaches out|two chunks lie over|cannot be opened",
        ),
        (
            lambda chunks, size: 0,
            "two chunks lie over each other|its values lie over what the file itself needs",
        ),
        (
            lambda chunks, size: 40,
            "two chunks lie over each other|its values lie over what the file itself needs",
        ),
    ],
)
def test_an_address_that_can_not_be_is_refused(tmp_path, move, message, libver):
    path = tmp_path / "f.h5"
    chunks = written(path, libver)
    patch(path, place_of(path, chunks[1].byte_offset), move(chunks, path.stat().st_size), 8)
    with pytest.raises(SourceError, match=rf"f\.h5:/x (is damaged: )?({message})"):
        open_array(path, "/x", "f.h5:/x")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("packed", PACKED)
def test_what_was_written_in_part_is_refused_with_the_count(tmp_path, packed, libver):
    path = tmp_path / "f.h5"
    with h5py.File(path, "w", libver=libver) as file:
        options = {"chunks": (100, 8), "fillvalue": 3.0, **PACKED[packed]}
        file.create_dataset("x", (1000, 8), "f4", **options)[:300] = ROWS[:300]
    assert refused(path).startswith(
        f"{path}:/x was written in part: 3 of 10 chunks of (100, 8) are there for its shape"
    )


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("libver", ["earliest", "latest", ("v108", "v108"), ("v110", "v110")])
@pytest.mark.parametrize("block", [0, 512])
@pytest.mark.parametrize("options", HDF5.values(), ids=HDF5.keys())
def test_every_kind_of_index_and_filter_is_read_as_the_library_reads_it(tmp_path, options, block, libver):
    data = np.random.default_rng(3).normal(size=(61, 9)).astype(">f4")
    data[::3] = 0
    path = tmp_path / "f.h5"
    with h5py.File(path, "w", libver=libver, userblock_size=block) as file:
        file.create_dataset("g/x", data=data, **options)
    array = open_array(path, "g/x", "f.h5:/g/x")
    np.testing.assert_array_equal(array[:], data, strict=True)
    np.testing.assert_array_equal(array[7:40:3, 2:5], data[7:40:3, 2:5])
    np.testing.assert_array_equal(array.take(np.array([0, 13, 14, 60])), data[[0, 13, 14, 60]])
    out = np.empty((5, 9), ">f4")
    array.read_into(slice(11, 16), out)
    np.testing.assert_array_equal(out, data[11:16])


def test_an_array_is_shared_by_threads_and_pickled(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign_array, "KEPT_BYTES", 70_000)  # two chunks
    written(tmp_path / "f.h5", compression="gzip")
    array = pickle.loads(pickle.dumps(open_array(tmp_path / "f.h5", "x", "f.h5:/x")))
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda start: array[start : start + 37], range(0, 4000, 37))
    np.testing.assert_array_equal(np.concatenate(list(found)), ROWS)


def test_a_file_that_changes_between_two_slices_is_refused(tmp_path):
    written(tmp_path / "f.h5")
    array = open_array(tmp_path / "f.h5", "x", "f.h5:/x")
    array[:10]
    written(tmp_path / "f.h5", compression="gzip")
    with pytest.raises(
        SourceError, match=r"f\.h5:/x: the file changed since it was opened; read it once it is whole$"
    ):
        array[:10]


# -- the process of its own


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.abort()", r"the HDF5 library crashed on it \(SIGABRT\)"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
            r"the HDF5 library crashed on it \(SIGSEGV\)",
        ),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGXCPU)",
            "looking for its values took longer than they",
        ),
        ("raise KeyError('x')", r"the process that looks into HDF5 files failed \(KeyError: 'x'\)"),
        ("pass", r"the process that looks into HDF5 files failed \(exit code 0\)"),
        ("import time; time.sleep(60)", r"gave no answer \(.*timed out"),
    ],
)
def test_a_crash_or_a_hang_is_one_line(tmp_path, monkeypatch, code, reason):
    written(tmp_path / "f.h5")
    monkeypatch.setattr(foreign_hdf5, "_PROGRAM", code)
    monkeypatch.setattr(foreign_hdf5, "_HUNG_S", 1)
    with pytest.raises(SourceError, match=rf"^f\.h5:/x cannot be opened: .*{reason}[^\n]*$"):
        open_array(tmp_path / "f.h5", "x", "f.h5:/x")


def test_a_process_that_takes_too_long_is_ended(tmp_path):
    script = "from actstore.formats import hdf5_child as c; c.CPU_S = 1; c.limit(0)\nwhile True: pass"
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert done.returncode in (-signal.SIGXCPU, -signal.SIGKILL)


def test_the_parent_never_loads_the_library(tmp_path):
    written(tmp_path / "f.h5")
    script = (
        "import sys; from pathlib import Path; from actstore.formats.foreign_hdf5 import open_array;"
        "open_array(Path(sys.argv[1]), 'x', 's')[:]; print('h5py' in sys.modules)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "f.h5")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "False\n"


# -- filters


@pytest.mark.parametrize("nbytes", [0, 1, 2, 3, 719, 720, 721, 100_003])
def test_fletcher32_is_that_of_the_library(tmp_path, nbytes):
    """Its checksum is written behind every chunk."""
    data = np.random.default_rng(nbytes).integers(0, 256, nbytes).astype("u1")
    if not nbytes:
        assert fletcher32(b"") == 0
        return
    for values in (data, np.zeros_like(data), np.full_like(data, 255)):
        (chunk,) = written(tmp_path / "f.h5", data=values, chunks=(nbytes,), fletcher32=True)
        stored = (tmp_path / "f.h5").read_bytes()[chunk.byte_offset + nbytes :][:4]
        assert fletcher32(values.tobytes()) == int.from_bytes(stored, "little")


def test_what_comes_out_of_a_filter_is_counted():
    import zlib

    for code, data in {
        1: zlib.compress(bytes(99)),
        32000: b"\x00\x07",
        2: bytes(99),
        3: bytes(50),
    }.items():
        with pytest.raises(ValueError, match=r"where|end|checksum"):
            Pipeline((code,), 100, 4).undo(data, 0)
    with pytest.raises(ValueError, match="does not end where the chunk does"):
        Pipeline((1,), 100, 4).undo(zlib.compress(bytes(200)), 0)
    with pytest.raises(ValueError, match="does not end where the chunk does"):
        Pipeline((1,), 100, 4).undo(zlib.compress(bytes(100)) + b"x", 0)
    with pytest.raises(ValueError, match="copies what was not yet there"):
        Pipeline((32000,), 3, 1).undo(b"\x20\x05", 0)


@pytest.mark.usefixtures("quick")
def test_a_filter_that_some_chunks_lack_is_refused(tmp_path):
    """One bit of the mask, and shuffled bytes would be taken for numbers."""
    path = tmp_path / "f.h5"
    chunk = written(path, shuffle=True)[1]
    patch(path, place_of(path, chunk.byte_offset) - 28, 1, 4)
    with pytest.raises(
        SourceError, match="is damaged: shuffle is left out of some of its chunks and not of others"
    ):
        open_array(path, "x", "f.h5:/x")


@pytest.mark.usefixtures("quick")
def test_a_chunk_over_the_beginning_of_the_file_is_refused(tmp_path):
    path = tmp_path / "f.h5"
    (chunk,) = written(path, data=ROWS[:2], chunks=(2, 8))
    patch(path, place_of(path, chunk.byte_offset), 8, 8)
    with pytest.raises(
        SourceError, match=r"f\.h5:/x is damaged: its values lie over what the file itself needs"
    ):
        open_array(path, "x", "f.h5:/x")


# -- conventions


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "name", ["scale_factor", "add_offset", "valid_range", "valid_min", "valid_max", "_Unsigned"]
)
def test_numbers_that_stand_for_others_are_refused(tmp_path, name):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["x"] = ROWS[:4]
        file["x"].attrs[name] = 0.5
    assert f"/x has the attribute {name}, by which " in refused(tmp_path / "f.h5")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", ["_FillValue", "missing_value"])
@pytest.mark.parametrize(("fill", "row"), [(17.0, 2), (np.float32(17), 2), (5.5, None), (np.nan, None)])
def test_a_number_that_stands_for_nothing_is_refused_where_it_stands(tmp_path, name, fill, row):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["x"] = ROWS[:4, 1]
        file["x"].attrs[name] = fill
    if row is None:
        np.testing.assert_array_equal(open_array(tmp_path / "f.h5", "x", "f.h5:/x")[:], ROWS[:4, 1])
    else:
        assert f"/x has 17.0 in row {row}, which stands for no value" in refused(tmp_path / "f.h5")


@pytest.mark.usefixtures("quick")

# -- at random


def test_damage_at_random_is_refused_or_harmless():
    """`make fuzz` tries 5,000."""
    cases = run(150, 5, 2, "tests.actstore.mutation_foreign")
    assert [case for case in cases if case.outcome != "found"] == []
    assert sum("refused" in case.detail for case in cases) > 50
    assert sum("read" in case.detail for case in cases) > 20
