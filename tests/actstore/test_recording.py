"""Stores written from Python without a framework: `actstore.create`, `dump`, `append`."""

import numpy as np
import pytest

import actstore
from actstore.errors import AdapterError, DumpError, LayerError, SourceError, StoreError

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


def model(batch):
    return {"double": 2 * batch, "half": batch / 2}


@pytest.mark.parametrize("name", ["run.acts", "run.h5"])
def test_dump_and_append_fill_one_store(tmp_path, name):
    with actstore.create(tmp_path / name, layers=["double", "half"]) as recording:
        recording.dump(model, [(X[:2], [0, 1]), (X[2:4], [2, 3])], split="train", target="digit")
        recording.dump(model, {"val": X[4:], "test": [X[:1]]})
        recording.append(model(X[:2]), targets={"digit": [7, 8]}, splits="train")
        recording.append(model(X[:2]), ids=["a", "b"], splits=["", "val"])
    with actstore.open(tmp_path / name) as store:
        assert list(store.ids) == [
            "train/0", "train/1", "train/2", "train/3", "val/0", "val/1", "test/0", "train/4", "train/5", "a", "b",
        ]  # fmt: skip
        assert store.targets["digit"].tolist() == [0, 1, 2, 3, None, None, None, 7, 8, None, None]
        np.testing.assert_array_equal(store.layers["double"][:6], 2 * X)
        np.testing.assert_array_equal(store.layers["half"][-2:], X[:2] / 2)
        assert [item["split"] for item in store.provenance["data"]] == ["train", "val", "test"]


def test_close_gives_the_store(tmp_path):
    recording = actstore.create(tmp_path / "run.h5")
    recording.append({"x": X})
    with recording.close() as store:
        assert store.rows == 6
    with pytest.raises(StoreError, match="has ended"):
        recording.append({"x": X})


def test_an_error_in_the_block_leaves_nothing_where_nothing_was_sealed(tmp_path):
    def record():
        with actstore.create(tmp_path / "run.h5") as recording:
            recording.append({"x": X})
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        record()
    assert any("nothing" in note for note in caught.value.__notes__)
    assert not list(tmp_path.iterdir())


def test_nothing_is_created_before_the_first_rows(tmp_path):
    recording = actstore.create(tmp_path / "run.acts", layers=["none"])
    with pytest.raises(LayerError, match="no layer matches 'none'; there are: 'input', 'double', 'half'"):
        recording.dump(model, X)
    assert not list(tmp_path.iterdir())


def test_an_existing_store_is_refused(tmp_path):
    with actstore.create(tmp_path / "run.h5") as recording:
        recording.append({"x": X})
    with pytest.raises(StoreError, match=r"run\.h5"):
        actstore.create(tmp_path / "run.h5")
    with actstore.create(tmp_path / "run.h5", overwrite=True) as recording:
        recording.append({"y": X})
    with actstore.open(tmp_path / "run.h5") as store:
        assert list(store.layers) == ["y"]


@pytest.mark.parametrize(
    ("activations", "more", "error", "message"),
    [
        ({}, {}, DumpError, "there are no activations to append"),
        ({"x": X[:0]}, {}, DumpError, "there are no activations to append"),
        ({"x": "text"}, {}, AdapterError, "layer 'x' cannot be stored: str is no array"),
        ({"x": X, "y": X[:2]}, {}, StoreError, "'y'"),
        ({"x": X}, {"targets": {"digit": [1, 2]}}, StoreError, "'digit'"),
        ({"x": X}, {"targets": {"digit": [0.5] * 6}}, SourceError, "target 'digit' has dtype float64"),
        ({"x": X}, {"ids": ["a"]}, StoreError, "id"),
        ({"x": X}, {"ids": ["a"] * 6}, StoreError, "'a' appears twice"),
        (
            {"x": X},
            {"splits": ["train"]},
            DumpError,
            "6 rows of activations come with 1 splits; expected one for all",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, activations, more, error, message):
    with pytest.raises(error, match=message), actstore.create(tmp_path / "run.h5") as recording:
        recording.append(activations, **more)
    assert not list(tmp_path.iterdir())


def test_another_model_does_not_continue_a_store(tmp_path):
    recording = actstore.create(tmp_path / "run.h5", layers=["double"])
    recording.dump(model, X, split="train")
    with pytest.raises(
        DumpError, match=r"the model is not the one this store was begun with \(its weights changed\)"
    ):
        recording.dump(lambda batch: {"double": batch}, X, split="test")


def test_loaders_that_are_none_are_refused(tmp_path):
    recording = actstore.create(tmp_path / "run.h5", layers=["double"])
    with pytest.raises(SourceError, match="loader int is no data but int; an array, or an iterable of batches"):
        recording.dump(model, 3)


def test_only_a_model_with_hooks_can_be_captured():
    with (
        pytest.raises(
            AdapterError, match=r"a function model has no hooks to watch; use actstore.create\(...\).dump"
        ),
        actstore.capture(model, ["double"]),
    ):
        pytest.fail("should not get here")
