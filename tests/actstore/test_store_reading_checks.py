"""The first pass over a layer finds what is damaged; reading here and there pays for nothing."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from types import SimpleNamespace

import numpy as np
import pytest
import xxhash

import actstore
from actstore import Captured, RowBatch, StoreError, Writer
from actstore.store.reading.read_hashes import BEGUN_BLOCKS

ROWS, WIDTH = 10_000, 512  # 2 KiB a row: blocks of 2,048 rows are hashed, the last of a shard shorter
SHARD_ROWS = 5_000
PASSES = {
    "blocks": lambda layer, step: [block.copy() for block in layer.blocks(step)],
    "slices": lambda layer, step: [np.array(layer[row : row + step]) for row in range(0, ROWS, step)],
    "into": lambda layer, step: [_into(layer, row, step) for row in range(0, ROWS, step)],
    "backwards": lambda layer, step: [layer[row : row + step] for row in reversed(range(0, ROWS, step))],
}


def _into(layer, row, step):
    out = np.empty((min(step, ROWS - row), WIDTH), layer.dtype)
    layer.read_into(slice(row, row + step), out)
    return out


def _with_workers(layer, step):
    """Each over a range of its own, as the solvers read: the ranges meet in the middle of a block."""
    cuts = np.linspace(0, ROWS, 5).astype(int)

    def work(first, last):
        return [layer[row : min(row + step, last)] for row in range(first, last, step)]

    with ThreadPoolExecutor(4) as pool:
        return [block for blocks in pool.map(work, cuts[:-1], cuts[1:]) for block in blocks]


PASSES["workers"] = _with_workers


def _expected(kind):
    values = np.random.default_rng(0).integers(0, 2**15, (ROWS, WIDTH), np.uint16)
    return values if kind == "bfloat16" else np.concatenate([values, values], 1).view(np.float32)


def _write(path, kind="float32"):
    array = _expected(kind)
    row_bytes = array[0].nbytes
    with Writer(path, shard_bytes=SHARD_ROWS * row_bytes) as writer:
        ids = [str(row) for row in range(ROWS)]
        for first in range(0, ROWS, SHARD_ROWS):
            rows = slice(first, first + SHARD_ROWS)
            writer.append(RowBatch({"a": Captured(array[rows], kind, ("f",))}, ids[rows], [""] * SHARD_ROWS))
    return path


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return _write(tmp_path_factory.mktemp("sound") / "a.acts")


@pytest.fixture
def damage(written):
    """``damage(place)``: flip a bit, and set the file's time back, as a disk does that fails silently.

    Returns the row, and the message to expect.
    """
    undo = []

    def flip(place):
        parts = actstore.open(written)._contents.parts
        number, row = {"first": (0, 0), "last of a file": (0, -1), "first of a file": (1, 0), "last": (-1, -1)}[
            place
        ]
        part = parts[number]
        row %= part.rows
        extent = part.extents["layers/a"]
        undo.append((part.path, extent.offset + row * extent.row_bytes + 17))
        _flip(*undo[-1])
        first = row - row % extent.block_rows
        last = min(first + extent.block_rows, part.rows) - 1
        rows = f"{part.first_row + first:,} to {part.first_row + last:,}"
        return (
            part.first_row + row,
            rf"{part.path.name} is damaged: rows {rows} of layer 'a' are not what was written",
        )

    yield flip
    for path, offset in undo:
        _flip(path, offset)


def _flip(path, offset):
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 4]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.fixture
def hashed(monkeypatch):
    """How many bytes were hashed."""
    count = [0]
    lock = Lock()

    def counted(data):
        with lock:
            count[0] += len(data)
        return data

    class Stream:
        def __init__(self):
            self._state = xxhash.xxh3_64()

        def update(self, data):
            self._state.update(counted(data))

        def hexdigest(self):
            return self._state.hexdigest()

    def digest(data):
        return xxhash.xxh3_64_hexdigest(counted(data))

    counting = SimpleNamespace(xxh3_64=Stream, xxh3_64_hexdigest=digest)
    monkeypatch.setattr("actstore.store.reading.read_hashes.xxhash", counting)
    return count


@pytest.mark.parametrize("step", [97, 2048, 3000, ROWS])
@pytest.mark.parametrize("how", PASSES)
def test_a_full_pass_hashes_every_byte_once(written, hashed, how, step):
    layer = actstore.open(written).layers["a"]
    blocks = PASSES[how](layer, step)
    assert hashed[0] == layer.nbytes
    ordered = blocks[::-1] if how == "backwards" else blocks
    np.testing.assert_array_equal(np.concatenate(ordered), _expected("float32"))
    PASSES[how](layer, step)
    assert hashed[0] == layer.nbytes


@pytest.mark.parametrize("step", [97, 2048, 3000, ROWS])
@pytest.mark.parametrize("how", PASSES)
@pytest.mark.parametrize("place", ["first", "last of a file", "first of a file", "last"])
def test_a_full_pass_finds_a_flipped_bit(written, damage, how, step, place):
    _, message = damage(place)
    layer = actstore.open(written).layers["a"]
    for _ in range(2):  # and again: damage is not forgotten
        with pytest.raises(StoreError, match=message):
            PASSES[how](layer, step)


def test_sound_blocks_before_the_damage_are_delivered(written, damage):
    row, message = damage("last of a file")
    sound = row // 1000
    blocks = actstore.open(written).layers["a"].blocks(1000)
    delivered = np.concatenate([next(blocks) for _ in range(sound)])
    np.testing.assert_array_equal(delivered, _expected("float32")[: sound * 1000])
    with pytest.raises(StoreError, match=message):
        next(blocks)


def test_reading_here_and_there_hashes_nothing(written, hashed):
    layer = actstore.open(written).layers["a"]
    rng = np.random.default_rng(0)
    layer.take(np.arange(ROWS))
    layer[::-1], layer[::7], layer[rng.permutation(ROWS)]
    for row in rng.integers(1, 2000, 50).tolist():
        layer[row], layer[row : row + 10]
    assert hashed[0] == 0


def test_what_was_begun_and_left_is_bounded(tmp_path):
    array = np.zeros((3 * BEGUN_BLOCKS, 2**20), np.uint8)  # four rows a block
    with Writer(tmp_path / "a.h5", shard_bytes=2**28) as writer:
        writer.append(
            RowBatch(
                {"a": Captured(array, "uint8", ("f",))}, [str(i) for i in range(len(array))], [""] * len(array)
            )
        )
    layer = actstore.open(tmp_path / "a.h5").layers["a"]
    for row in range(0, len(array), 4):
        layer[row]
    (checked,) = layer._checked.values()
    assert len(checked._begun) <= BEGUN_BLOCKS


def test_what_was_checked_is_known_to_the_raw_layer(tmp_path, hashed):
    layer = actstore.open(_write(tmp_path / "b.acts", "bfloat16")).layers["a"]
    for _ in layer.blocks(999):
        pass
    assert hashed[0] == layer.nbytes
    np.testing.assert_array_equal(np.concatenate(list(layer.raw.blocks(1234))), _expected("bfloat16"))
    assert hashed[0] == layer.nbytes
    list(pickle.loads(pickle.dumps(layer)).raw.blocks(3000))  # opened again, checked again
    assert hashed[0] == 2 * layer.nbytes


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bfloat16_is_checked_on_its_way_to_floats(tmp_path, dtype):
    path = _write(tmp_path / "b.acts", "bfloat16")
    layer = actstore.open(path).layers["a"]
    out = np.empty((ROWS, WIDTH), dtype)
    layer.read_into(slice(None), out)
    np.testing.assert_array_equal(out, (_expected("bfloat16").astype(np.uint32) << 16).view(np.float32))
    part = layer._contents.parts[1]
    _flip(part.path, part.extents["layers/a"].offset)
    last = min(part.rows, 4096) + part.first_row - 1
    with pytest.raises(StoreError, match=rf"rows {part.first_row:,} to {last:,} of layer 'a' are not what was"):
        actstore.open(path).layers["a"].read_into(slice(None), out)
