"""Running hashes do not depend on how their rows were cut, and are taken up again where they stopped."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from actstore import Captured, RowBatch, Writer
from actstore import open as open_store
from actstore.store.documents.records import Seen
from actstore.store.documents.row_table import TableRows
from actstore.store.documents.running_hashes import LayerHash, RowTableHash, fingerprint
from actstore.store.format import StoredLayer
from actstore.store.writing.batch_checks import describe_layers

ROWS = 40
SEGMENT_BYTES = 64


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch):
    """Segments as short as a test can afford."""
    monkeypatch.setattr("actstore.store.documents.records.HASH_BLOCK_BYTES", SEGMENT_BYTES)


INFOS = {
    "some rows a segment": StoredLayer("a", "float32", (3,), ("f",), 0),
    "one row a segment": StoredLayer("b", "int64", (9,), ("f",), 0),
    "whole segments": StoredLayer("c", "uint8", (4, 2), ("f", "g"), 0),
    "no bytes": StoredLayer("d", "int16", (0,), ("f",), 0),
}


def rows_of(info):
    return np.random.default_rng(7).bytes(ROWS * info.row_bytes)


def updated(hashed, data):
    for start, stop in data:
        hashed.update(
            memoryview(rows_of(hashed.info))[start * hashed.info.row_bytes : stop * hashed.info.row_bytes]
        )
    return hashed


def by_formula(info, rows):
    """The document's words."""
    size = info.row_bytes
    segment = max(1, SEGMENT_BYTES // max(1, size)) * size
    state = ""
    for start in range(0, rows * size, segment or 1):
        piece = rows_of(info)[: rows * size][start : start + segment]
        state = xxhash.xxh3_128_hexdigest(f"{state} {xxhash.xxh3_128_hexdigest(piece)}".encode())
    return state


@pytest.mark.parametrize("info", INFOS.values(), ids=INFOS.keys())
@settings(max_examples=60, deadline=None, derandomize=True)
@given(cuts=st.lists(st.integers(0, ROWS)), last=st.integers(0, ROWS))
def test_a_layers_hash_does_not_depend_on_the_cuts(info, cuts, last):
    bounds = sorted({0, *(cut for cut in cuts if cut < last), last})
    assert updated(LayerHash(info), itertools.pairwise(bounds)).hexdigest() == by_formula(info, last)


@pytest.mark.parametrize("info", INFOS.values(), ids=INFOS.keys())
@settings(max_examples=60, deadline=None, derandomize=True)
@given(stop=st.integers(0, ROWS), more=st.lists(st.integers(0, ROWS), max_size=3))
def test_a_layers_hash_goes_on_from_its_state(info, stop, more):
    """All there is of the first is its state, and the rows that came after its last whole segment."""
    first = updated(LayerHash(info), [(0, stop)])
    again = LayerHash(info, first.state)
    assert again.segment_rows == first.segment_rows
    bounds = sorted({stop, *(place for place in more if place > stop), ROWS})
    updated(again, [(stop - stop % again.segment_rows, stop), *itertools.pairwise(bounds)])
    assert again.hexdigest() == by_formula(info, ROWS)


def test_a_layers_hash_sees_every_byte_and_their_order():
    info = INFOS["some rows a segment"]
    data = bytearray(rows_of(info))
    hashes = {by_formula(info, ROWS)}
    for place in range(len(data)):
        changed = bytes(data[:place]) + bytes([data[place] ^ 1]) + bytes(data[place + 1 :])
        hashed = LayerHash(info)
        hashed.update(memoryview(changed))
        hashes.add(hashed.hexdigest())
    assert len(hashes) == 1 + len(data)
    hashed = LayerHash(info)
    segment = hashed.segment_rows * info.row_bytes
    hashed.update(memoryview(data[segment : 2 * segment] + data[:segment] + data[2 * segment :]))
    assert hashed.hexdigest() not in hashes


TABLE = TableRows(
    ids=[b"a", b"", "é".encode(), b"ab"],
    splits=["train", "", "val", "é"],
    groups=["g", "g", "", "h"],
    positions=np.array([0, 1, -1, 2**62]),
    targets={},
)


def table_hash(*tables):
    hashed = RowTableHash()
    for rows in tables:
        hashed.update(rows)
    return hashed.hexdigest()


def part(rows, start, stop):
    place = slice(start, stop)
    groups = None if rows.groups is None else rows.groups[place]
    positions = None if rows.positions is None else rows.positions[place]
    return TableRows(rows.ids[place], rows.splits[place], groups, positions, {})


def changed(**fields):
    return TableRows(**{**vars(TABLE), **fields})


def test_the_row_tables_hash_does_not_depend_on_the_cuts():
    whole = table_hash(TABLE)
    for cuts in itertools.product([0, 1], repeat=3):
        bounds = [0, *(place for place, cut in enumerate(cuts, 1) if cut), 4]
        assert table_hash(*(part(TABLE, *ends) for ends in itertools.pairwise(bounds))) == whole


def test_the_row_tables_hash_sees_every_column_but_labels():
    variants = [
        TABLE,
        changed(ids=[b"a", b"", b"e", b"ab"]),
        changed(ids=[b"", b"a", "é".encode(), b"ab"]),
        changed(splits=["train", "", "val", "e"]),
        changed(splits=["traine", "", "val", ""]),
        changed(groups=["g", "g", "h", ""]),
        changed(groups=None),
        changed(positions=np.array([0, 1, -1, 2**61])),
        changed(positions=None),
        changed(groups=None, positions=None),
        changed(splits=TABLE.groups, groups=TABLE.splits),
    ]
    assert len({table_hash(rows) for rows in variants}) == len(variants)
    assert table_hash(changed(targets={"t": np.arange(4)})) == table_hash(TABLE)


def test_the_fingerprint_sees_the_layers_the_rows_and_their_shares():
    variants = [
        ("i", [(3, {"": "0", "a": "1"})]),
        ("j", [(3, {"": "0", "a": "1"})]),
        ("i", [(4, {"": "0", "a": "1"})]),
        ("i", [(3, {"": "0", "b": "1"})]),
        ("i", [(3, {"": "1", "a": "0"})]),
        ("i", [(2, {"": "0", "a": "1"}), (1, {"": "0", "a": "1"})]),
        ("i", [(1, {"": "0", "a": "1"}), (2, {"": "0", "a": "1"})]),
    ]
    assert len({fingerprint(identity, ranks) for identity, ranks in variants}) == len(variants)
    assert fingerprint("i", [(3, {"a": "1", "": "0"})]) == fingerprint(*variants[0])


# -- of whole stores


def layers_of(rows):
    rng = np.random.default_rng(1)
    return {
        "wide": Captured(rng.normal(size=(rows, 33)).astype(np.float32), "float32", ("f",)),
        "bits": Captured(rng.integers(0, 2**16, (rows, 5)).astype(np.uint16), "bfloat16", ("f",)),
        "scalar": Captured(rng.normal(size=rows), "float64", ()),
        "empty": Captured(np.empty((rows, 0), np.int8), "int8", ("f",)),
    }


def batches(rows, size):
    layers = layers_of(rows)
    for start in range(0, rows, size):
        place = slice(start, min(start + size, rows))
        numbers = range(rows)[place]
        yield RowBatch(
            {name: Captured(one.array[place], one.dtype, one.axes) for name, one in layers.items()},
            [str(number) for number in numbers],
            ["train" if number % 4 else "val" for number in numbers],
            groups=[f"g{number // 3}" for number in numbers],
            positions=[number % 3 for number in numbers],
        )


def written(path, size, shard_bytes, stop):
    """A store of all rows; interrupted after ``stop`` batches, and resumed."""
    writer = Writer(path, shard_bytes=shard_bytes)
    known = list(enumerate(batches(ROWS, size), start=1))
    for number, batch in known[:stop]:
        writer.append(batch, Seen(number))
    writer.abandon()
    writer = Writer(path, shard_bytes=shard_bytes, resume=True)
    there = writer.begin(describe_layers(known[0][1].activations)).batches
    assert there <= stop
    for number, batch in known[there:]:
        writer.append(batch, Seen(number))
    return writer.finish()


@pytest.fixture
def expected(tmp_path):
    """The fingerprint of a store that was written in one go."""
    with Writer(tmp_path / "whole.acts") as writer:
        writer.append(next(batches(ROWS, ROWS)))
    return open_store(tmp_path / "whole.acts").fingerprint


@pytest.mark.parametrize("name", ["out.acts", "out.h5"])
@pytest.mark.parametrize(("size", "shard_bytes"), [(1, 1), (3, 700), (7, 3000), (7, 1), (11, 10**9)])
@pytest.mark.parametrize("stop", [0, 1, 2, 3])
def test_a_fingerprint_does_not_depend_on_shards_files_or_interruptions(
    tmp_path, expected, name, size, shard_bytes, stop
):
    store = written(tmp_path / name, size, shard_bytes, stop)
    assert store.fingerprint == expected
    assert len(store.layers["wide"]) == ROWS
