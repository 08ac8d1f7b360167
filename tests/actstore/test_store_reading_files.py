"""Files that change, end or grow under a reader; and what reading costs in memory and reads."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest

import actstore
from actstore import Captured, RowBatch, StoreError, Writer
from actstore.store.documents.catalog import Part, stamp
from actstore.store.documents.records import Extent
from actstore.store.reading import scattered_rows
from actstore.store.reading.open_files import OpenFile
from actstore.store.reading.scattered_rows import AHEAD_SPANS, GAP_BYTES, SEEK_BYTES, SPAN_BYTES

READS = {
    "read_into": lambda layer: layer.read_into(slice(None), np.empty(layer.shape, layer.dtype)),
    "take": lambda layer: layer.take(np.arange(len(layer))),
    "blocks": lambda layer: list(layer.blocks(5)),
    "slice": lambda layer: layer[:],
    "row": lambda layer: layer[len(layer) - 1],
}


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("how", READS)
@pytest.mark.parametrize("name", ["store.acts", "store.h5"])
def test_a_file_that_is_cut_off_after_opening_is_an_error(write_store, name, how, checked):
    """In a process of its own a read of a map would end it (SIGBUS)."""
    store = write_store(name)
    layer = store.layers["conv1"]
    if checked:
        list(layer.blocks(7))
    os.truncate(layer._contents.parts[-1].path, 100)
    with pytest.raises(StoreError, match=r"ends [\d,]+ bytes too early|has changed since the store was opened"):
        READS[how](layer)


def test_a_dataset_that_declares_more_than_its_file_has_is_not_made_room_for(tmp_path):
    path = tmp_path / "small"
    path.write_bytes(b"x" * 100)
    file = OpenFile(Part(path, 0, 0, {}, stamp(path)))
    with pytest.raises(
        StoreError, match=r"declares a dataset of 9,000,000,000,000,000 bytes at 64 but has 100 bytes"
    ):
        file.read(Extent("float64", (10**15 + 125 * 10**12,), 64))


READ = """
import sys
import numpy as np
import actstore
layer = actstore.open(sys.argv[1]).layers["a"]
rows = 64  # a MiB
out = np.empty((rows, 4096), sys.argv[3])
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
def read_into():
    for first in range(0, len(layer), rows):
        layer.read_into(slice(first, first + rows), out)
        yield
def again():
    for _ in range(2):
        yield from layer.blocks(rows)
next(read_into())
before = resident()
how = {"into": read_into, "blocks": lambda: layer.blocks(rows), "again": again}[sys.argv[2]]
print(max(resident() for _ in how()) - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="resident memory is read from /proc")
@pytest.mark.parametrize(
    ("how", "dtype", "budget"),
    [("into", "float32", 32), ("into", "float64", 32), ("blocks", "float32", 48), ("again", "float32", 80)],
)
def test_reading_does_not_grow_the_process(tmp_path, how, dtype, budget):
    """300 MiB; the budgets (MiB) are some blocks, and what stays mapped of the views (32 MiB) with its rounding."""
    array = np.zeros((64, 4096), np.float32)
    with Writer(tmp_path / "a.h5") as writer:
        for first in range(0, 64 * 300, 64):
            ids = [str(first + row) for row in range(64)]
            writer.append(RowBatch({"a": Captured(array, "float32", ("f",))}, ids, [""] * 64))
    command = [sys.executable, "-c", READ, str(tmp_path / "a.h5"), how, dtype]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert grown < budget * 2**20


@pytest.fixture
def reads(monkeypatch):
    """The length of every read."""
    lengths = []
    fill = OpenFile.fill

    def counted(self, buffer, offset):
        lengths.append(buffer.nbytes)
        fill(self, buffer, offset)

    monkeypatch.setattr(OpenFile, "fill", counted)
    return lengths


def _layer(path, array):
    with Writer(path, shard_bytes=2**30) as writer:
        ids = [str(row) for row in range(len(array))]
        writer.append(
            RowBatch({"a": Captured(array, array.dtype.name, ("f",)[: array.ndim - 1])}, ids, [""] * len(array))
        )
    return actstore.open(path).layers["a"]


def test_small_rows_are_read_in_spans(tmp_path, reads):
    array = np.random.default_rng(0).normal(size=(200_000, 4)).astype(np.float32)
    layer = _layer(tmp_path / "a.h5", array)
    reads.clear()
    rows = np.random.default_rng(1).permutation(len(array))[: len(array) // 100]
    np.testing.assert_array_equal(layer[rows], array[rows])
    assert len(reads) <= -(-array.nbytes // SPAN_BYTES)
    reads.clear()
    rows = np.random.default_rng(1).integers(0, len(array), 1_000_000)
    np.testing.assert_array_equal(layer[rows], array[rows])
    assert sum(reads) <= array.nbytes


@pytest.fixture
def cold(monkeypatch):
    """Nothing is in memory: rows are read, not copied out of a map."""
    monkeypatch.setattr(OpenFile, "is_in_memory", lambda *_: False)


@pytest.mark.usefixtures("cold")
def test_far_rows_are_read_alone_and_near_ones_together(tmp_path, reads):
    array = np.random.default_rng(0).integers(0, 255, (40_000, 1024), np.uint8)
    layer = _layer(tmp_path / "a.h5", array)
    far = np.arange(0, len(array), 1 + 2 * GAP_BYTES // 1024 * 8)
    assert len(far) > 2 * AHEAD_SPANS
    near = far[:50, None] + [0, 3]
    for rows, expected in (
        (far, [1024] * len(far)),
        (near.ravel(), [4096] * 50),
        (np.repeat(far[:9], 3), [1024] * 9),
    ):
        reads.clear()
        np.testing.assert_array_equal(layer.take(rows), array[rows])
        assert reads == expected


@pytest.mark.usefixtures("cold")
@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.3, 0.5, 0.8, 1.0])
def test_random_rows_never_cost_more_than_all_of_them(tmp_path, reads, fraction):
    """By bytes, and by calls, each as dear as SEEK_BYTES."""
    array = np.random.default_rng(0).integers(0, 255, (8_000, 4096), np.uint8)
    layer = _layer(tmp_path / "a.h5", array)
    reads.clear()
    rows = np.sort(np.random.default_rng(1).choice(len(array), int(fraction * len(array)), replace=False))
    np.testing.assert_array_equal(layer.take(rows), array[rows])
    assert sum(reads) + SEEK_BYTES * len(reads) <= array.nbytes + SEEK_BYTES * -(-array.nbytes // SPAN_BYTES)


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("width", [1, 100, 5000])
def test_rows_in_memory_and_rows_on_the_disk_are_the_same(tmp_path, monkeypatch, reads, warm, width):
    array = np.random.default_rng(0).integers(0, 2**15, (3000, width), np.uint16)
    layer = _layer(tmp_path / "a.h5", array)
    monkeypatch.setattr(OpenFile, "is_in_memory", lambda *_: warm)
    monkeypatch.setattr(scattered_rows, "MAPPED_BYTES", 4096)
    rows = np.sort(np.random.default_rng(1).integers(0, len(array), 500))
    reads.clear()
    np.testing.assert_array_equal(layer.take(rows), array[rows])
    np.testing.assert_array_equal(layer[rows[::-1]], array[rows[::-1]])
    assert bool(reads) != warm


def _read_all(path, start, counts):
    start.wait()
    expected = np.arange(4096, dtype=np.float32)
    for _ in range(20):
        layer = actstore.open(path).layers["a"]
        for first in range(0, len(layer), 100):
            block = layer[first : first + 100]
            if not np.array_equal(block, np.arange(first, first + len(block))[:, None] + expected):
                counts.put(-1)
                return
    counts.put(len(layer))


def test_processes_read_what_is_sealed_while_another_writes(tmp_path):
    context = multiprocessing.get_context("spawn")
    start, counts = context.Event(), context.Queue()
    path = tmp_path / "a.acts"
    with Writer(path, shard_bytes=2**22) as writer:

        def append(first):
            rows = np.arange(first, first + 100)
            values = rows[:, None] + np.arange(4096, dtype=np.float32)
            writer.append(
                RowBatch(
                    {"a": Captured(values.astype(np.float32), "float32", ("f",))},
                    [str(r) for r in rows],
                    [""] * 100,
                )
            )

        for first in range(0, 1000, 100):
            append(first)
        readers = [context.Process(target=_read_all, args=(path, start, counts)) for _ in range(3)]
        for reader in readers:
            reader.start()
        start.set()
        for first in range(1000, 4000, 100):
            append(first)
    found = [counts.get(timeout=120) for _ in readers]
    for reader in readers:
        reader.join()
    assert all(900 <= rows <= 4000 for rows in found)


def test_a_file_left_open_is_closed_though_modules_went_before_it(monkeypatch, tmp_path):
    """As an interpreter that ends may have it, with torch imported for one."""
    path = tmp_path / "small"
    path.write_bytes(b"x" * 100)
    file = OpenFile(Part(path, 0, 0, {}, stamp(path)))
    number = file._fd
    monkeypatch.setattr("actstore.store.reading.open_files.os", None)
    file.__del__()
    file._fd = -1  # so that it is not closed again
    monkeypatch.undo()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
