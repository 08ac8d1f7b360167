"""What was written comes back, however it is asked for."""

from __future__ import annotations

import errno
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

import actstore
from actstore import Captured, LayerError, RowBatch, StoreError, Writer
from actstore.store.reading import open_files
from actstore.store.reading.open_files import OPEN_FILES

INDEXES = {
    "all": slice(None),
    "ellipsis": ...,
    "inside one shard": slice(1, 3),
    "across shards": slice(3, 37),
    "past the end": slice(30, 1000),
    "empty": slice(9, 4),
    "step": slice(2, 40, 3),
    "backwards": slice(None, None, -1),
    "backwards from the end": slice(-1, 4, -7),
    "negative": slice(-9, -2),
    "int": 17,
    "last": -1,
    "numpy int": np.uint8(39),
    "sorted rows": np.array([0, 1, 2, 9, 30, 39]),
    "unsorted rows, repeats": [39, 0, -40, 5, 5, 4, 39],
    "no rows": [],
    "mask": np.arange(40) % 3 == 0,
    "mask of all": np.ones(40, bool),
    "unsigned rows": np.array([39, 2], np.uint64),
}
INDEXES |= {
    f"{name}, ...": (index, ...) for name, index in INDEXES.items() if name not in ("ellipsis", "no rows")
}
INDEXES["no rows, ..."] = (np.array([], np.int64), ...)


@pytest.fixture(params=["store.acts", "store.h5"])
def store(request, write_store):
    """Forty rows, in shards or in one file."""
    return write_store(request.param)


@pytest.mark.parametrize("index", INDEXES.values(), ids=INDEXES.keys())
def test_rows_are_indexed_as_numpy_indexes_them(store, arrays, index):
    for name, expected in arrays(40).items():
        rows = np.asarray(index, np.int64) if isinstance(index, list) else index
        np.testing.assert_array_equal(store.layers[name].raw[index], expected[rows], strict=True)


def test_bfloat16_arrives_as_its_values_in_float32(store, arrays):
    layer = store.layers["fc"]
    exact = (arrays(40)["fc"].astype(np.uint32) << 16).view(np.float32)
    assert (layer.dtype, layer.raw.dtype, layer.stored_dtype) == (np.float32, np.uint16, "bfloat16")
    for index in INDEXES.values():
        rows = np.asarray(index, np.int64) if isinstance(index, list) else index
        np.testing.assert_array_equal(layer[index].view(np.uint32), exact[rows].view(np.uint32), strict=True)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (40, "row 40 is out of range: there are 40 rows"),
        (-41, "row -41 is out of range"),
        ([0, 40], "row 40 is out of range"),
        (np.array([2**64 - 1], np.uint64), "row 18446744073709551615 is out of range"),
        (np.ones(39, bool), r"\(40,\) bools or a list of ints, not by bool \(39,\)"),
        (True, r"rows are indexed by an int, a slice, .*, not by bool \(\)"),
        (1.0, "float64"),
        ("fc", "<U2"),
        (np.zeros((2, 2), int), r"int64 \(2, 2\)"),
        ((slice(None), 0), "rows are indexed by one index, not 2"),
        ((..., 0), "rows are indexed by one index, not 2"),
        ((..., ...), "rows are indexed by one index, not 2"),
        ((0, ..., 0), "rows are indexed by one index, not 3"),
        (((0, 1), ...), "rows are indexed by one index, not 2"),
        (([0, 40], ...), "row 40 is out of range"),
        ((np.ones(39, bool), ...), r"bool \(39,\)"),
    ],
)
def test_what_is_no_index_of_rows_is_refused(store, index, message):
    with pytest.raises(IndexError, match=message):
        store.layers["conv1"][index]


def test_scikit_learn_divides_the_rows_of_a_layer(store):
    layer = store.layers["conv1"]
    rows, labels = layer[:], np.arange(40)
    kept, held, kept_labels, held_labels = train_test_split(layer, labels, random_state=0)
    np.testing.assert_array_equal(kept, rows[kept_labels], strict=True)
    np.testing.assert_array_equal(held, rows[held_labels], strict=True)


def test_a_layer_describes_itself(store):
    layer = store.layers["conv1"]
    assert (layer.name, layer.shape, layer.ndim, len(layer)) == ("conv1", (40, 3, 4), 3, 40)
    assert (layer.axes, layer.nbytes, layer.dtype) == (("a", "b"), 40 * 48, np.dtype("float32"))
    assert repr(layer) == "<Layer 'conv1' (40, 3, 4) float32>"
    assert list(store.layers) == ["conv1", "act/1", "fc", "norm"]
    assert [row.item() for row in store.layers["norm"]] == store.layers["norm"][:].tolist()


def test_blocks_come_in_order_and_cover_every_row(store, arrays):
    for block_rows in (1, 7, 40, 1000):
        blocks = list(store.layers["act/1"].blocks(block_rows))
        assert {len(block) for block in blocks[:-1]} <= {block_rows}
        np.testing.assert_array_equal(np.concatenate(blocks), arrays(40)["act/1"], strict=True)
    with pytest.raises(ValueError, match="blocks of 0 rows were asked for; expected 1 or more"):
        list(store.layers["act/1"].blocks(0))


@pytest.mark.parametrize("name", ["conv1", "fc"])
def test_rows_are_read_into_an_array_of_the_callers(store, name):
    layer = store.layers[name]
    for rows in (slice(None), slice(3, 31), slice(30, 2, -4), slice(5, 5)):
        out = np.empty(layer[rows].shape, layer.dtype)
        layer.read_into(rows, out)
        np.testing.assert_array_equal(out, layer[rows])
        wide = np.empty((*out.shape[:-1], 2 * out.shape[-1]), np.float64)[
            ..., ::2
        ]  # neither dtype nor order agree
        layer.read_into(rows, wide)
        np.testing.assert_array_equal(wide, layer[rows])
    with pytest.raises(ValueError, match=r"\(2, 3\) was given for slice\(0, 5, None\) of layer"):
        layer.read_into(slice(0, 5), np.empty((2, 3), layer.dtype))


def test_take_reads_neighbours_together_and_far_rows_apart(tmp_path):
    rng = np.random.default_rng(0)
    array = rng.normal(size=(5000, 1024)).astype(
        np.float32
    )  # 4 KiB a row, so that gaps and spans are both crossed
    ids = [str(row) for row in range(len(array))]
    with Writer(tmp_path / "wide.acts", shard_bytes=9 * 2**20) as writer:
        writer.append(RowBatch({"a": Captured(array, "float32", ("f",))}, ids, [""] * len(array)))
    layer = actstore.open(tmp_path / "wide.acts").layers["a"]
    for fraction in (0.001, 0.05, 0.5, 1.0):
        rows = np.sort(rng.choice(len(array), int(fraction * len(array)), replace=False))
        np.testing.assert_array_equal(layer.take(rows), array[rows])
    rows = np.sort(rng.integers(0, len(array), 900))  # with repeats
    np.testing.assert_array_equal(layer.take(rows), array[rows])
    for wrong in ([3, 2], [-1, 2], [4999, 5000]):
        with pytest.raises(IndexError, match=r"rows go from -?\d+ to \d+; expected ascending ones below 5,000"):
            layer.take(np.array(wrong))


def test_numpy_takes_a_layer_for_an_array(store, arrays):
    expected = arrays(40)["conv1"]
    layer = store.layers["conv1"]
    np.testing.assert_array_equal(np.asarray(layer), expected, strict=True)
    np.testing.assert_array_equal(np.asarray(layer, np.float64), expected.astype(np.float64), strict=True)
    np.array(layer)[0] = 1.0  # a copy, so it can be written to
    with pytest.raises(ValueError, match="cannot be had as float64 without a copy"):
        layer.__array__(np.dtype(np.float64), copy=False)


@pytest.mark.parametrize("name", ["one.h5", "one.acts"])
@pytest.mark.parametrize("copied_bytes", [0, 2**25], ids=["mapped", "copied"])
def test_what_is_read_is_the_reader_s_own(write_store, arrays, monkeypatch, name, copied_bytes):
    monkeypatch.setattr(open_files, "COPIED_BYTES", copied_bytes)
    layer, expected = write_store(name).layers["conv1"], arrays(40)["conv1"]
    for rows in (slice(3, 30), slice(None), 7, [5, 3], slice(0, 0), slice(0, 40, 3)):
        mine = layer[rows]
        assert mine.flags.writeable
        assert mine.flags.aligned
        mine[...] = 7
        np.testing.assert_array_equal(layer[rows], expected[rows], strict=True)
        np.testing.assert_array_equal(np.concatenate(list(layer.blocks(9))), expected, strict=True)
    np.testing.assert_array_equal(actstore.open(layer._contents.path).layers["conv1"][:], expected, strict=True)
    assert not actstore.verify(layer._contents.path).damages


def test_rows_that_cannot_be_mapped_are_copied(write_store, arrays, monkeypatch):
    def full(*_given, **_named):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    layer = write_store("one.h5").layers["conv1"]
    monkeypatch.setattr(open_files, "COPIED_BYTES", 0)
    monkeypatch.setattr(open_files.mmap, "mmap", full)
    np.testing.assert_array_equal(layer[3:30], arrays(40)["conv1"][3:30], strict=True)


def test_many_rows_at_once_are_a_map_that_takes_no_memory(write_store, monkeypatch):
    monkeypatch.setattr(open_files, "COPIED_BYTES", 0)
    layer = write_store("one.h5").layers["conv1"]
    assert not layer[3:30].flags.owndata
    assert np.shares_memory(*2 * [np.array(layer, copy=False)])
    monkeypatch.setattr(open_files, "COPIED_BYTES", 2**25)
    with pytest.raises(ValueError, match="without a copy"):
        np.array(layer, copy=False)


def test_views_outlive_the_store(store, arrays):
    view = store.layers["conv1"][0:2]
    with store:
        pass
    np.testing.assert_array_equal(view, arrays(40)["conv1"][0:2])
    with pytest.raises(StoreError, match="belongs to a store that was closed; open the store again"):
        store.layers["conv1"][0:2]


def test_a_pickled_layer_reads_the_same_rows(store):
    for layer in (store.layers["conv1"], store.layers["fc"], store.layers["fc"].raw):
        copy = pickle.loads(pickle.dumps(layer))
        np.testing.assert_array_equal(copy[:], layer[:], strict=True)
    assert pickle.loads(pickle.dumps(store)).fingerprint == store.fingerprint


def test_a_pickled_layer_of_a_store_that_was_replaced_is_refused(store, write_store):
    pickled = pickle.dumps(store.layers["conv1"])
    write_store(store.path.name, 39, overwrite=True)
    with pytest.raises(StoreError, match="holds other rows than when it was pickled; pickle it again"):
        pickle.loads(pickled)


def test_an_open_store_notices_that_it_was_replaced(store, write_store):
    write_store(store.path.name, 39, overwrite=True)
    with pytest.raises(StoreError, match=r"has changed since the store was opened|cannot be read"):
        store.layers["conv1"][0:2]


def test_threads_read_at_the_same_time(write_store, arrays):
    store = write_store("many.acts", 400, batch_rows=4, shard_bytes=300)
    expected = arrays(400)["conv1"]
    assert (
        len(list((store.path / "steps/0/rank-0000").glob("shard-*.h5"))) > 2 * OPEN_FILES
    )  # files are closed meanwhile

    def read(seed):
        rows = np.random.default_rng(seed).integers(0, 400, 50)
        return np.array_equal(store.layers["conv1"][rows], expected[rows])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(64)))


def test_the_number_of_open_files_is_bounded(write_store):
    store = write_store("many.acts", 400, batch_rows=4, shard_bytes=300)
    store.layers["conv1"][:]
    assert len(store._files._files) == OPEN_FILES


def test_an_unknown_layer_names_the_nearest(store):
    with pytest.raises(LayerError, match=r"there is no layer 'conv2' in this store; nearest of 4: 'conv1'$"):
        store.layers["conv2"]
    assert store.layers.get("conv2") is None
    assert "conv2" not in store.layers
    assert repr(store.layers) == "<layers 'conv1', 'act/1', 'fc', 'norm'>"
