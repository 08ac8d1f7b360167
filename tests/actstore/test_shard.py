"""One HDF5 file of rows: the same bytes and hashes however its rows come."""

from __future__ import annotations

import errno
import itertools
import os

import h5py
import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from actstore.store.disk import durable
from actstore.store.disk.output import WholeFile
from actstore.store.documents import records, shard
from actstore.store.documents.shard import NewFile, ShardColumn, write_columns


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 64 bytes and gathering of up to 40, so that a few rows already cross every boundary."""
    monkeypatch.setattr(records, "HASH_BLOCK_BYTES", 64)
    monkeypatch.setattr(shard, "SMALL_BYTES", 24)
    monkeypatch.setattr(shard, "GATHERED_BYTES", 40)


def write(folder, pieces, dtype, shape):
    """A file of one layer between two other datasets. Returns its bytes, its records and the stream's hash."""
    stream = xxhash.xxh3_128()
    columns = {
        "rows/id": ShardColumn.of("S3", np.array([b"a", b"bc", b"def"])),
        "layers/x": ShardColumn(dtype, shape, pieces),
        "rows/position": ShardColumn.of("int64", np.arange(5)),
    }
    file_bytes, gaps, extents = write_columns(
        WholeFile(folder / "t.h5", replace=True), columns, {"layers/x": stream}
    )
    data = (folder / "t.h5").read_bytes()
    assert len(data) == file_bytes
    return data, gaps, extents, stream.hexdigest()


def cut(rows, places):
    bounds = [0, *sorted(places), len(rows)]
    return [rows[start:stop] for start, stop in itertools.pairwise(bounds)]


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_split_of_the_rows_makes_the_same_file(data, tmp_path_factory):
    """Rows of 0 to 160 bytes, blocks of 64: several rows a block, one, and rows larger than a block."""
    folder = tmp_path_factory.getbasetemp()
    features = data.draw(st.sampled_from([(), (0,), (1,), (3, 2), (7,), (16,), (40,)]))
    dtype = data.draw(st.sampled_from(["float32", "int8", "bfloat16", "float64"]))
    count = data.draw(st.integers(0, 40))
    values = np.random.default_rng(count).integers(0, 100, (count, *features))
    rows = values.astype("uint16" if dtype == "bfloat16" else dtype)
    places = data.draw(st.lists(st.integers(0, count), max_size=12))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "HASH_BLOCK_BYTES", 64)
        patch.setattr(shard, "SMALL_BYTES", 24)
        patch.setattr(shard, "GATHERED_BYTES", 40)
        whole = write(folder, [rows], dtype, rows.shape)
        split = write(folder, cut(rows, places), dtype, rows.shape)
        extent = whole[2]["layers/x"]
        block_bytes, blocks = extent.block_rows * extent.row_bytes, extent.blocks
    assert split == whole
    stored = rows.tobytes()
    assert whole[0][extent.offset : extent.offset + extent.nbytes] == stored
    expected = [stored[i * block_bytes : (i + 1) * block_bytes] for i in range(blocks)]
    assert list(extent.hashes) == [xxhash.xxh3_64_hexdigest(block) for block in expected]
    assert whole[3] == xxhash.xxh3_128_hexdigest(stored)


@pytest.mark.parametrize("order", ["F", ">"])
def test_pieces_that_are_not_stored_as_they_lie(tmp_path, small_blocks, order):
    rows = np.arange(60, dtype=np.float32).reshape(12, 5)
    odd = np.asfortranarray(rows) if order == "F" else rows.astype(">f4")
    assert write(tmp_path, cut(odd, [1, 7]), "float32", rows.shape) == write(
        tmp_path, [rows], "float32", rows.shape
    )


def test_a_piece_may_change_once_the_next_is_asked_for(tmp_path, small_blocks):
    """One buffer for every piece, short ones and long ones, as packing and reading batches do."""
    rows = np.arange(60, dtype=np.int8).reshape(30, 2)
    buffer = np.empty((14, 2), np.int8)

    def reused():
        start = 0
        for length in (1, 2, 1, 14, 12):
            buffer[:length] = rows[start : start + length]
            yield buffer[:length]
            start += length

    with NewFile(WholeFile(tmp_path / "t.h5"), {"x": ("int8", rows.shape)}) as file:
        file.fill("x", reused())
        file.commit()
    with h5py.File(tmp_path / "t.h5") as opened:
        np.testing.assert_array_equal(opened["x"][:], rows)


def test_long_pieces_are_written_without_a_copy(tmp_path, monkeypatch):
    rows = np.zeros((3 * 2**20, 1), np.int8)
    written = []
    write_at = durable.write_at

    def spying(fd, data, offset):
        written.append(np.frombuffer(data, np.uint8) if len(data) else np.empty(0, np.uint8))
        write_at(fd, data, offset)

    monkeypatch.setattr(durable, "write_at", spying)
    with NewFile(WholeFile(tmp_path / "t.h5"), {"x": ("int8", rows.shape)}) as file:
        file.fill("x", cut(rows, [2**20, 2**20 + 5]))
    assert [len(data) for data in written] == [2**20, 5, 2**21 - 5]
    assert [np.shares_memory(data, rows) for data in written] == [True, False, True]


@pytest.mark.parametrize("count", [4, 6])
def test_more_or_fewer_rows_than_were_planned_are_refused(tmp_path, count):
    message = f"x: {count * 8} bytes for a dataset of 40"
    with (
        NewFile(WholeFile(tmp_path / "t.h5"), {"x": ("int32", (5, 2))}) as file,
        pytest.raises(ValueError, match=message),
    ):
        file.fill("x", [np.zeros((count, 2), np.int32)])
    assert not list(tmp_path.iterdir())


def test_bytes_for_a_dataset_without_any_are_refused(tmp_path):
    message = "x: 20 bytes for a dataset of 0"
    with (
        NewFile(WholeFile(tmp_path / "t.h5"), {"x": ("int32", (5, 0))}) as file,
        pytest.raises(ValueError, match=message),
    ):
        file.fill("x", [np.zeros((5, 1), np.int32)])


def test_a_dataset_is_added_behind_filled_ones(tmp_path):
    """Also to a file whose root group has many members, and the file is the one that a plan of all would be."""
    kinds = {f"layers/{name}": ("float32", (50, 3)) for name in range(100)} | {
        f"d{i}": ("int8", (9,)) for i in range(12)
    }
    rows = np.ones((50, 3), np.float32)
    with NewFile(WholeFile(tmp_path / "t.h5"), kinds) as file:
        extents = {name: file.fill(name, [rows if "/" in name else np.full(9, 7, np.int8)]) for name in kinds}
        file.add("late", "S100000", ())
        file.fill("late", [np.array(b"x" * 100_000)])
        file.commit(b"tail")
        size, gaps = file.file_bytes, file.gaps
    data = (tmp_path / "t.h5").read_bytes()
    assert data[size:] == b"tail"
    with h5py.File(tmp_path / "t.h5") as opened:
        assert opened["late"][()] == b"x" * 100_000
        covered = np.zeros(size, bool)
        for name in [*kinds, "late"]:
            start, nbytes = opened[name].id.get_offset(), opened[name].id.get_storage_size()
            assert name == "late" or start == extents[name].offset
            covered[start : start + nbytes] = True
        assert (opened["layers/99"][:] == 1).all()
        assert (opened["d11"][:] == 7).all()
    assert gaps == xxhash.xxh3_64_hexdigest(np.frombuffer(data, np.uint8)[:size][~covered].tobytes())


def test_a_library_that_moves_datasets_is_noticed(tmp_path, monkeypatch):
    with NewFile(WholeFile(tmp_path / "t.h5"), {"x": ("int8", (5,))}) as file:
        plan = shard.lay_out({"first": ("int8", (500,)), "x": ("int8", (5,))})
        monkeypatch.setattr(shard, "lay_out", lambda datasets: plan)
        with pytest.raises(RuntimeError, match="HDF5 moved the dataset 'x' when 'late' was added behind it"):
            file.add("late", "int8", (3,))


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left on device"):
        write(tmp_path, [np.zeros((3, 4))], "float64", (3, 4))
    assert not list(tmp_path.iterdir())
