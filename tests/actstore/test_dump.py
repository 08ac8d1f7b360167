"""The one loop: what lands in the store, what is refused before it, and what is left after an accident."""

import tracemalloc

import numpy as np
import pytest

import actstore
from actstore.dumping.dump import DumpSettings, Progress, describe_layers, dump
from actstore.errors import AdapterError, DumpError, LayerError, SourceError, StoreError
from actstore.sources import SplitData, split_data
from actstore.sources.python import from_object

ROWS = {"train": 10, "test": 4}


def model(batch):
    return {"double": 2 * batch, "blocks.0": np.stack([batch, batch], axis=2), "sum": batch.sum(axis=1)}


@pytest.fixture
def inputs():
    generator = np.random.default_rng(0)
    return {split: generator.normal(size=(rows, 3)).astype(np.float32) for split, rows in ROWS.items()}


@pytest.fixture
def data(tmp_path, inputs, monkeypatch):
    """Two splits in files; only `train` has the target `letter`."""
    monkeypatch.chdir(tmp_path)
    for split, array in inputs.items():
        np.savez(
            f"{split}.npz", x=array, y=np.arange(len(array)), letters=np.array(list("abcdefghij"))[: len(array)]
        )
    return split_data(
        ["train=train.npz:x", "test=test.npz:x"],
        ["train:number=train.npz:y", "test:number=test.npz:y", "train:letter=train.npz:letters"],
    )


def left_in(folder):
    return {path.name for path in folder.iterdir()} - {"train.npz", "test.npz"}


@pytest.mark.parametrize("out", ["run.h5", "run.acts"])
@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_rows_labels_ids_and_splits_are_stored_in_order(data, inputs, out, batch_size):
    with dump(model, data, out, DumpSettings(("input", "**"), batch_size)) as store:
        whole = np.concatenate(list(inputs.values()))
        assert list(store.layers) == ["input", "double", "blocks.0", "sum"]
        np.testing.assert_array_equal(store.layers["input"][:], whole)
        np.testing.assert_array_equal(store.layers["double"][:], 2 * whole)
        np.testing.assert_array_equal(store.layers["blocks.0"][:], np.stack([whole, whole], axis=2))
        assert store.layers["sum"].shape == (14,)
        assert list(store.ids) == [f"{split}/{row}" for split, rows in ROWS.items() for row in range(rows)]
        assert list(store.splits) == ["train"] * 10 + ["test"] * 4
        assert list(store.targets["number"]) == [*range(10), *range(4)]
        assert store.targets["letter"].tolist() == [*"abcdefghij", None, None, None, None]
        assert store.complete


def test_rows_without_a_split_are_numbered(data):
    (item,) = split_data(["train.npz:x"])
    with dump(model, [item], "run.h5", DumpSettings(("sum",))) as store:
        assert list(store.ids) == [str(row) for row in range(10)]
        assert set(store.splits) == {""}


def test_several_sources_of_one_split_go_on_counting(data):
    with dump(model, [data[0], data[0]], "run.h5", DumpSettings(("sum",), limit=2)) as store:
        assert list(store.ids) == [f"train/{row}" for row in range(4)]


def test_a_limit_takes_the_first_rows_of_each_source(data):
    with dump(model, data, "run.h5", DumpSettings(("sum",), 2, limit=3)) as store:
        assert list(store.ids) == ["train/0", "train/1", "train/2", "test/0", "test/1", "test/2"]
        assert list(store.targets["number"]) == [0, 1, 2, 0, 1, 2]


def test_a_generator_is_read_once(tmp_path):
    batches = ((np.full((2, 1), index), [index, index]) for index in range(3))
    item = SplitData("", from_object(batches, "generator", "index"))
    with dump(lambda x: {"x": x}, [item], tmp_path / "run.h5", DumpSettings(("x",))) as store:
        assert store.layers["x"][:].ravel().tolist() == store.targets["index"].tolist() == [0, 0, 1, 1, 2, 2]


def test_progress_counts_rows_and_bytes(data):
    seen = []
    dump(model, data, "run.h5", DumpSettings(("double",), 4), seen.append).close()
    assert seen == [Progress(rows, 14, rows * 12) for rows in (4, 8, 10, 14)]
    unknown = SplitData("", from_object([np.zeros((2, 1))], "list"))
    dump(lambda x: {"x": x}, [unknown], "other.h5", DumpSettings(("x",)), seen.append).close()
    assert seen[-1] == Progress(2, None, 16)


def test_provenance_says_where_the_rows_come_from(data):
    settings = DumpSettings(("double",), 4, limit=7, command="actstore dump ...")
    with dump(model, data, "run.h5", settings) as store:
        provenance = store.provenance
    assert provenance["model"]["weights"] == "not seen"
    assert provenance["command"] == "actstore dump ..."
    assert provenance["options"] == {"batch_size": 4, "limit": 7, "sample": None, "seed": 0}
    assert {"actstore", "python", "numpy", "h5py"} <= set(provenance["versions"])
    train, test = provenance["data"]
    assert (train["split"], train["source"], train["rows"]) == ("train", "train.npz:x", 7)
    assert (test["split"], test["rows"]) == ("test", 4)
    assert train["inputs"] != test["inputs"]
    with dump(model, data, "again.h5", DumpSettings(("sum",), 3, limit=7)) as store:
        assert store.provenance["data"] == provenance["data"], "whatever the batches and the layers"


# Refused before anything is stored


@pytest.mark.parametrize(
    ("patterns", "error", "message"),
    [
        (("duoble",), LayerError, "no layer matches 'duoble'; the nearest: 'double'"),
        (("double", "conv*"), LayerError, "no layer matches 'conv.'"),
        ((), LayerError, "no layers were asked for; name some of 'input', 'double', 'blocks.0', 'sum'"),
    ],
)
def test_an_unknown_layer_leaves_nothing(data, tmp_path, patterns, error, message):
    with pytest.raises(error, match=message):
        dump(model, data, "run.acts", DumpSettings(patterns))
    assert not left_in(tmp_path)


def test_labels_of_another_length_leave_nothing(data, tmp_path):
    wrong = SplitData("test", data[1].source, {"number": np.arange(5)})
    with pytest.raises(SourceError, match=r"target 'number' has 5 labels but test\.npz:x has 4 rows"):
        dump(model, [data[0], wrong], "run.acts", DumpSettings(("sum",)))
    assert not left_in(tmp_path)


def test_no_data_leaves_nothing(data, tmp_path):
    with pytest.raises(SourceError, match="there is no data to dump"):
        dump(model, [], "run.acts", DumpSettings(("sum",)))
    assert not left_in(tmp_path)


def test_an_existing_store_is_refused_before_the_model_runs(data):
    dump(model, data, "run.h5", DumpSettings(("sum",))).close()
    with pytest.raises(StoreError, match=r"run\.h5"):
        dump(lambda _: pytest.fail("the model ran"), data, "run.h5", DumpSettings(("sum",)))


def test_a_model_that_fails_at_once_leaves_nothing(data, tmp_path):
    def broken(batch):
        raise TypeError("wrong shape")

    match = r"the model failed on the first batch: TypeError: wrong shape \(test_dump.py, line \d+\)"
    with pytest.raises(DumpError, match=match):
        dump(broken, data, "run.acts", DumpSettings(("sum",)))
    assert not left_in(tmp_path)


@pytest.mark.parametrize("settings", [{"batch_size": 0}, {"limit": 0}, {"limit": -3}])
def test_settings_that_ask_for_no_rows_are_refused(settings):
    with pytest.raises(DumpError, match=r"(batch_size|limit) is (0|-3); expected at least 1"):
        DumpSettings(("sum",), **settings)


# Accidents


def failing(error):
    """Raises on the tenth batch of the dump, after the two that describe the layers."""
    calls = []

    def run(batch):
        calls.append(batch)
        if len(calls) == 12:
            raise error()
        return {"x": batch}

    return run


MANY = SplitData("train", from_object(np.zeros((60, 1000), np.float32), "zeros"))


@pytest.mark.parametrize("out", ["run.h5", "run.acts"])
@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (
            lambda: ValueError("a bad\nimage"),
            DumpError,
            r"^the model failed on batch 10 \(rows 'train/36' to 'train/39'\): ValueError: a bad image \(test_dump.py, "
            r"line \d+\)",
        ),
        (KeyboardInterrupt, KeyboardInterrupt, "nothing is left in"),
    ],
)
def test_an_accident_before_anything_was_sealed_leaves_nothing(tmp_path, out, error, expected, message):
    with pytest.raises(expected, match=message) as caught:
        dump(failing(error), [MANY], tmp_path / out, DumpSettings(("x",), 4, selfcheck=False))
    assert any("nothing" in note for note in caught.value.__notes__)
    assert not left_in(tmp_path)


@pytest.mark.parametrize(("out", "left"), [("run.h5", "run.h5.partial"), ("run.acts", "run.acts")])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_accident_after_a_shard_leaves_a_store_that_says_it_is_unfinished(
    tmp_path, monkeypatch, out, left, error
):
    monkeypatch.setattr("actstore.store.writing.pending.SHARD_BYTES", (50_000, 50_000))
    with pytest.raises((DumpError, KeyboardInterrupt)) as caught:
        dump(failing(error), [MANY], tmp_path / out, DumpSettings(("x",), 4, selfcheck=False))
    (note,) = caught.value.__notes__
    assert "unfinished" in note
    assert left_in(tmp_path) == {left}
    with actstore.open(tmp_path / left) as store:
        assert not store.complete
        assert 0 < store.rows <= 36
        assert store.layers["x"].shape == (store.rows, 1000)
    with pytest.raises(StoreError, match="unfinished"):
        dump(failing(ValueError), [MANY], tmp_path / out, DumpSettings(("x",), 4, selfcheck=False))


def test_layers_that_change_their_shape_are_an_accident(tmp_path):
    batches = [np.zeros((2, 3)), np.zeros((2, 4))]
    with pytest.raises(LayerError, match="'x'"):
        dump(
            lambda x: {"x": x},
            [SplitData("", from_object(batches, "two"))],
            tmp_path / "run.h5",
            DumpSettings(("x",)),
        )
    assert not left_in(tmp_path)


def test_batch_sizes_that_disagree_are_named(tmp_path):
    def model(x):
        return {"a": x, "b": x[1:] if len(x) > 3 else x}

    with pytest.raises(AdapterError, match="batch sizes disagree: 'b' gave 3 rows for a batch of 4"):
        dump(model, [MANY], tmp_path / "run.h5", DumpSettings(("*",), 4))
    assert not left_in(tmp_path)


def test_memory_is_that_of_a_shard_and_a_batch(tmp_path, monkeypatch):
    """64 MB of inputs and 64 MB of activations pass through."""
    np.save(tmp_path / "x.npy", np.zeros((16_000, 1000), np.float32))
    monkeypatch.setattr("actstore.store.writing.pending.SHARD_BYTES", (2**20, 2**20))
    data = split_data([f"{tmp_path}/x.npy"])
    tracemalloc.start()
    try:
        dump(lambda x: {"x": x}, data, tmp_path / "run.acts", DumpSettings(("x",), 64)).close()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Two shards of 1 MB (one is written while the next gathers), a few copies of a batch of 256 kB, and about 100 bytes
    # a row for ids.
    assert peak < 8 * 2**20


# Descriptions


def test_layers_are_described_from_a_small_batch(data):
    calls = []

    def recorded(batch):
        calls.append(len(batch))
        return model(batch)

    described = describe_layers(recorded, data)
    assert calls == [2, 3, 2], "two rows, three, and two of half their length"
    assert [(layer.name, layer.type, layer.shape, layer.dtype, layer.bytes_per_row) for layer in described] == [
        ("input", "input", (3,), "float32", 12),
        ("double", "array", (3,), "float32", 12),
        ("blocks.0", "array", (3, 2), "float32", 24),
        ("sum", "array", (), "float32", 4),
    ]


def test_descriptions_without_data_are_what_is_known():
    with pytest.raises(AdapterError, match="give it --data"):
        describe_layers(model)


@pytest.mark.parametrize("number", [np.float32, np.float64, np.array], ids=lambda kind: kind.__name__)
def test_a_layer_that_is_a_number_is_passed_over_with_the_reason(tmp_path, number):
    data = [SplitData("", from_object(np.ones((4, 3), np.float32), "x"))]
    with dump(
        lambda x: {"h": 2 * x, "s": number(x.sum())}, data, tmp_path / "run.acts", DumpSettings(("**",))
    ) as store:
        assert list(store.layers) == ["h"]
        reason = store.provenance["passed_over"]["s"]
    assert reason.endswith("() has no rows")
    assert "float32 float32" not in reason
