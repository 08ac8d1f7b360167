"""What a Python user says of each row, as they have it: labels alone, a table's columns, splits and groups."""

import numpy as np
import pytest

import actstore
from actstore.errors import SourceError

TEXTS = ["the dog sat", "a cat", "three little words now", "dogs"]
X = np.arange(8.0).reshape(4, 2)
FOLDS = ["train", "test", "train", "test"]


def net(batch):
    if isinstance(batch, list):
        batch = np.array([[len(text)] for text in batch], np.float32)
    return {"double": 2 * np.asarray(batch)}


def frame(index=None):
    pandas = pytest.importorskip("pandas")
    columns = {"text": TEXTS, "label": ["a", "b", "b", "a"], "split": FOLDS, "pair": [7, 7, 8, 8]}
    return pandas.DataFrame(columns, index=index)


def dump(path, data, **words):
    return actstore.dump(net, data, path / "a.h5", "*", overwrite=True, batch_size=3, **words)


@pytest.mark.parametrize("index", [None, [4, 9, 2, 7], list("wxyz")])
@pytest.mark.parametrize("door", ["dump", "create"])
def test_columns_of_one_table_are_data_and_what_is_said_of_them(tmp_path, index, door):
    table = frame(index)
    words = {"targets": {"kind": table["label"]}, "split": table["split"], "group_by": table["pair"]}
    if door == "dump":
        store = dump(tmp_path, table["text"], **words)
    else:
        with actstore.create(tmp_path / "a.h5", layers="*") as writing:
            writing.dump(net, table["text"], **words)
        store = actstore.open(tmp_path / "a.h5")
    with store:
        assert store.targets["kind"].tolist() == ["a", "b", "b", "a"]
        assert store.rows_of("test").tolist() == [1, 3]
        assert store.groups.tolist() == ["7", "7", "8", "8"]
        assert list(store.targets) == ["kind"]


@pytest.mark.parametrize(
    "labels",
    [
        ["a", "b", "b", "a"],
        ("a", "b", "b", "a"),
        np.array(["a", "b", "b", "a"]),
        {"kind": ["a", "b", "b", "a"]},
    ],
)
@pytest.mark.parametrize("data", [X, TEXTS])
def test_labels_alone_are_called_as_target_says(tmp_path, labels, data):
    with dump(tmp_path, data, targets=labels, target="kind") as store:
        assert store.targets["kind"].tolist() == ["a", "b", "b", "a"]


def test_a_table_of_labels_names_them(tmp_path):
    table = frame([4, 9, 2, 7])
    with dump(tmp_path, table["text"], targets=table[["label", "pair"]]) as store:
        assert {name: values.tolist() for name, values in store.targets.items()} == {
            "label": ["a", "b", "b", "a"],
            "pair": [7, 7, 8, 8],
        }


def test_groups_by_split_and_splits_of_sampled_rows(tmp_path):
    with dump(tmp_path, {"a": X, "b": X[:2]}, group_by={"a": [1, 1, 2, 2], "b": [3, 4]}) as store:
        assert store.groups.tolist() == ["1", "1", "2", "2", "3", "4"]
    many = np.arange(400).reshape(200, 2)
    with dump(tmp_path, many, split=[f"s{row % 3}" for row in range(200)], sample_rows=0.3) as store:
        rows = store.layers["double"][:][:, 0] // 4
        for split in ("s0", "s1", "s2"):
            assert set(rows[store.rows_of(split)] % 3) == {int(split[1])}


@pytest.mark.parametrize("index", [None, "turned"])
def test_rows_of_a_table_are_taken_by_their_place(tmp_path, index):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(np.arange(400).reshape(200, 2), index=range(199, -1, -1) if index else None)
    with dump(tmp_path, table, sample_rows=0.3) as store:
        assert 20 < len(store.ids) < 100
        np.testing.assert_array_equal(
            store.layers["double"][:][:, 0], 4 * np.array([int(one) for one in store.ids])
        )


@pytest.mark.parametrize(
    ("data", "words", "message"),
    [
        (X, {"split": FOLDS[:3]}, "split has 3 entries but loader ndarray has 4 rows"),
        (X, {"group_by": [1, None, 2, 2]}, "row 1 has no group"),
        (X, {"split": FOLDS, "split_by": "fold"}, "split has one per row, and split_by is 'fold'"),
        (
            [X],
            {"split": FOLDS},
            "split has one per row, and loader list is batches; give the rows as one array",
        ),
        (
            {"a": X, "b": X},
            {"split": FOLDS},
            "split is 'given by row', but the data say theirs, 'a', 'b'",
        ),
        ({"a": X, "b": X}, {"group_by": {"a": [1, 1, 2, 2]}}, "group is None for the rows of loader ndarray"),
        (X, {"split": 3}, "split is 3 for the rows of loader ndarray; expected one per row"),
        ("digits", {"split": FOLDS}, "split has one per row, but the data have their own"),
        (X, {"targets": ["train:digit=y.npy"]}, "targets is list .*; expected labels by name"),
        (X, {"targets": [1, 2, 3]}, "target 'label' has 3 labels but"),
        ({"a": X, "b": X}, {"targets": [1, 2, 3, 4]}, "target 'label' has one array for the splits 'a', 'b'"),
    ],
)
def test_what_is_not_said_of_each_row_is_refused_beforehand(tmp_path, data, words, message):
    with pytest.raises(SourceError, match=message):
        dump(tmp_path, data, **words)
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.parametrize("word", ["targets", "split", "group_by"])
def test_an_index_that_is_not_that_of_the_data_is_refused(tmp_path, word):
    table = frame([4, 9, 2, 7])
    column = {"targets": "label", "split": "split", "group_by": "pair"}[word]
    with pytest.raises(
        SourceError, match=r"the index of .* is not that of the data: row 0 is 2 there and 4 here"
    ):
        dump(tmp_path, table["text"], **{word: table[column].sort_index()})
    with pytest.raises(SourceError, match="row 0 is 0 there and 4 here"):
        dump(tmp_path, table["text"], **{word: table[column].reset_index(drop=True)})
