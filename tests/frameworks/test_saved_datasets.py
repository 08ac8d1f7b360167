"""Datasets that Hugging Face datasets saved: columns as inputs and as labels."""

import numpy as np
import pytest

from actstore.errors import SourceError
from actstore.sources import RowChoice, RowColumns, read_labels, split_data

datasets = pytest.importorskip("datasets", reason="datasets is not installed: make test-frameworks")

VECTORS = np.random.default_rng(0).normal(size=(4, 3, 2))
COLUMNS = {
    "text": ["a b", "", "c", "d"],
    "words": [["a", "b"], ["c"], [], ["d"]],
    "label": [0, 1, -1, None],
    "stars": [3, None, 5, 1],
    "colour": ["red", None, "", "blue"],
    "good": [True, False, True, False],
    "vector": VECTORS.tolist(),
    "ragged": [[1], [1, 2], [3], [4]],
    "half": [0.5, 1.0, 1.0, 1.0],
    "mapped": [{"a": 1}] * 4,
    "nothing": ["", None, "", ""],
}


@pytest.fixture(scope="module", autouse=True)
def _quiet():
    datasets.disable_progress_bars()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """``one`` has all columns, ``several`` two splits."""
    place = tmp_path_factory.mktemp("datasets")
    one = datasets.Dataset.from_dict(COLUMNS).cast_column("label", datasets.ClassLabel(names=["no", "yes"]))
    one = one.cast_column("vector", datasets.List(datasets.List(datasets.Value("float64"))))
    one.save_to_disk(place / "one")
    small = one.select_columns(["words", "label"])
    datasets.DatasetDict({"train": small, "val": small.select([1, 0])}).save_to_disk(place / "several")
    return place


def read(spec, batch_rows=3, **choice):
    (item,) = split_data([str(spec)])
    return list(item.batches(batch_rows, RowChoice(**choice)))


def test_texts_with_the_classes_that_come_along(folder):
    first, second = read(folder / "one")
    assert (first.inputs, second.inputs) == (COLUMNS["text"][:3], COLUMNS["text"][3:])
    assert first.targets["label"].tolist() == ["no", "yes", None]
    assert second.targets["label"].tolist() == [None]
    assert list(first.targets) == ["label"]


def test_words_and_any_rows(folder):
    (batch,) = read(f"{folder}/one:words", 10)
    assert batch.inputs == COLUMNS["words"]
    (item,) = split_data([f"{folder}/one:words"])
    with item.source.slicing() as take:
        assert take(np.array([0, 3])).inputs == [["a", "b"], ["d"]]
    assert read(f"{folder}/one:words", limit=2)[0].inputs == COLUMNS["words"][:2]


def test_numbers_keep_their_bits(folder):
    found = np.concatenate([batch.inputs for batch in read(f"{folder}/one:vector")])
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, VECTORS)


@pytest.mark.parametrize(
    ("column", "labels"),
    [
        ("stars", COLUMNS["stars"]),
        ("colour", ["red", None, None, "blue"]),
        ("good", COLUMNS["good"]),
        ("label", ["no", "yes", None, None]),
        ("nothing", [None] * 4),
    ],
)
def test_columns_are_labels(folder, column, labels):
    (item,) = split_data([f"{folder}/one"], [f"mine={folder}/one:{column}"])
    assert item.targets["mine"].tolist() == labels


def test_splits_are_those_of_the_dataset_or_the_one_that_is_named(folder):
    items = split_data([f"{folder}/several"])
    assert [(item.split, item.source.rows) for item in items] == [("train", 4), ("val", 2)]
    (val,) = split_data([f"val={folder}/several"])
    (batch,) = val.batches(9, RowChoice())
    assert (val.split, batch.inputs, batch.targets["label"].tolist()) == (
        "val",
        [["c"], ["a", "b"]],
        ["yes", "no"],
    )
    (mine,) = split_data([f"mine={folder}/several/val"])
    assert (mine.split, mine.source.rows) == ("mine", 2)
    with pytest.raises(
        SourceError, match=r"several has no split 'test' but 'train', 'val'; name the folder of one, "
    ):
        split_data([f"test={folder}/several"])
    with pytest.raises(
        SourceError, match=r"several:label has the splits 'train', 'val'; name the folder of one, "
    ):
        read_labels(f"{folder}/several:label")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("texts", r"one:texts has no column 'texts'; the nearest: 'text'"),
        ("mapped", r"column 'mapped' of .*one holds .*; expected text, words or numbers"),
        ("ragged", r"one:ragged, rows 0 to 2: column 'ragged' has rows of several shapes"),
        ("colour", r"one:colour, row 1: column 'colour' lacks its text; the inputs are texts"),
    ],
)
def test_columns_that_are_no_inputs_are_refused(folder, column, message):
    with pytest.raises(SourceError, match=message):
        read(f"{folder}/one:{column}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("one:texts", r"one:texts has no column 'texts'; the nearest: 'text'"),
        (
            "one",
            r"one does not say which column has the labels: .*one:COLUMN; there are: 'text', 'words'",
        ),
        (
            "one:vector",
            r"column 'vector' of .*one has list in its rows; expected a label; labels of words come with",
        ),
        ("one:half", r"one:half has dtype float64; labels are whole numbers, booleans or text"),
    ],
)
def test_columns_that_are_no_labels_are_refused(folder, spec, message):
    with pytest.raises(SourceError, match=message):
        read_labels(f"{folder}/{spec}")


def test_which_of_several_columns_is_asked_for(tmp_path):
    datasets.Dataset.from_dict({"a": ["x"], "b": ["y"]}).save_to_disk(tmp_path / "two")
    with pytest.raises(SourceError, match=r"two does not say which column is the input: .*there are: 'a', 'b'"):
        split_data([f"{tmp_path}/two"])


def test_folders_that_can_not_be_read_are_named(folder, tmp_path):
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(SourceError, match=r"cannot be read as a saved dataset: FileNotFoundError: "):
        split_data([str(tmp_path)])
    (item,) = split_data([str(folder / "one")])
    with pytest.raises(SourceError, match=r"one is a saved dataset; expected an array"):
        item.source.opened()


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """A data set that names its rows, and labels for them in another order."""
    place = tmp_path_factory.mktemp("named")
    folds = datasets.ClassLabel(names=["train", "dev"])
    data = {
        "id": ["c", "a", "b"],
        "text": ["x", "y", "z"],
        "pair": [1, 1, 2],
        "fold": [0, 1, 0],
        "gap": [1, None, 2],
    }
    datasets.Dataset.from_dict(data).cast_column("fold", folds).save_to_disk(place / "data")
    labels = {"id": ["a", "b", "c"], "y": [10, 11, 12]}
    datasets.Dataset.from_dict(labels).save_to_disk(place / "labels")
    return place


def test_labels_of_another_dataset_are_joined_by_its_ids(named):
    (item,) = split_data([f"train={named}/data:text"], [f"y={named}/labels:y", f"own={named}/data:pair"])
    assert item.targets["y"].tolist() == [12, 10, 11]
    assert item.targets["own"].tolist() == [1, 1, 2]
    assert item.row_ids == ["c", "a", "b"]


def test_splits_and_groups_are_columns_of_a_dataset(named):
    (item,) = split_data([f"{named}/data:text"], (), RowColumns("fold", "pair"))
    (batch,) = item.batches(3, RowChoice())
    assert batch.splits.tolist() == ["train", "dev", "train"]
    assert batch.groups.tolist() == ["1", "1", "2"]
    with pytest.raises(SourceError, match="row 1 has no group"):
        split_data([f"{named}/data:text"], (), RowColumns(None, "gap"))
