"""When rows are sealed, and whether there is room for them."""

from __future__ import annotations

from collections import namedtuple

import pytest

import actstore
from actstore import StoreError, Writer

ROWS = 40
SMALL = 1500  # bytes: two batches a shard
NOTED = {"options": {"batch_size": 6}, "model": {"weights": "abc"}}
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is told otherwise: ``clock[0] = seconds``."""
    now = [1000.0]
    monkeypatch.setattr("actstore.store.writing.writer.time.monotonic", lambda: now[0])
    return now


def test_a_slow_dump_is_sealed_by_the_clock(out, batches, layers, partial, sealed, clock):
    """After 30 s; once it has taken longer than 300 s, after a tenth of the time taken."""

    def rows_after(seconds, batch):
        clock[0] = 1000 + seconds
        writer.append(batch)
        sealed(writer)
        return actstore.open(partial(out)).rows if (partial(out) / "journal").exists() else 0

    writer = Writer(out, provenance=NOTED)
    writer.begin(layers)
    seconds = [0, 30, 31, 60, 1031, 1131, 1135]
    assert [rows_after(*pair) for pair in zip(seconds, batches, strict=True)] == [0, 0, 18, 18, 30, 30, 40]
    assert writer.finish().rows == ROWS


def free(monkeypatch, free_bytes):
    monkeypatch.setattr("actstore.store.disk.output.shutil.disk_usage", lambda _: Usage(10**12, 0, free_bytes))


def row_bytes(layers):
    return sum(layer.row_bytes for layer in layers) + 64


def test_a_disk_that_is_too_small_is_seen_in_advance(out, layers, monkeypatch):
    copies = 2 if out.suffix == ".h5" else 1
    free(monkeypatch, 1000 * row_bytes(layers) * copies)
    writer = Writer(out)
    writer.begin(layers)
    writer.expect(1000)
    with pytest.raises(
        StoreError, match=r"needs [0-9,]+ bytes.*, and [0-9,]+ are free there\. Make room, name fewer"
    ):
        writer.expect(1001)
    writer.abandon()
    assert not list(out.parent.iterdir())


def test_what_is_there_needs_no_more_room(out, batches, layers, monkeypatch, write):
    write(out, batches, layers, stop=4)  # 24 rows are sealed
    missing = ROWS - 24 + (ROWS if out.suffix == ".h5" else 0)
    writer = Writer(out, shard_bytes=SMALL, provenance=NOTED, resume=True)
    writer.begin(layers)
    free(monkeypatch, missing * row_bytes(layers))
    writer.expect(ROWS)
    writer.abandon()
    writer = Writer(out, shard_bytes=SMALL, provenance=NOTED, resume=True)
    writer.begin(layers)
    free(monkeypatch, missing * row_bytes(layers) - 1)
    with pytest.raises(StoreError, match=r"needs [0-9,]+ bytes.*, and [0-9,]+ are free there"):
        writer.expect(ROWS)
    writer.abandon()


@pytest.mark.parametrize(("rows", "shard_bytes"), [(10**3, 128 * 2**20), (10**10, None), (10**11, 2 * 2**30)])
def test_shards_are_a_thousandth_of_the_dump_within_limits(tmp_path, layers, monkeypatch, rows, shard_bytes):
    free(monkeypatch, 10**18)
    writer = Writer(tmp_path / "out.acts")
    writer.begin(layers)
    writer.expect(rows)
    assert writer.shard_bytes == (shard_bytes or rows * row_bytes(layers) // 1000)
    writer.abandon()
