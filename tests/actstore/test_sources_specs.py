"""`--data [SPLIT=]SPEC` and `--target [SPLIT:]NAME=SPEC`: what belongs to what, and lengths checked at once."""

import numpy as np
import pytest

from actstore.errors import SourceError
from actstore.sources import RowChoice, split_data


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Inputs x3 and x5 with labels y3 and y5, of so many rows, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for rows in (3, 5):
        np.save(f"x{rows}.npy", np.zeros((rows, 2), np.float32))
        np.save(f"y{rows}.npy", np.arange(rows))
    return tmp_path


def test_splits_and_their_targets(folder):
    train, test = split_data(
        ["train=x5.npy", "test=x3.npy"], ["train:digit=y5.npy", "test:digit=y3.npy", "train:other=y5.npy"]
    )
    assert (train.split, train.source.rows, list(train.targets)) == ("train", 5, ["digit", "other"])
    assert (test.split, test.source.rows, list(test.targets)) == ("test", 3, ["digit"])
    assert test.targets["digit"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("data", ["x5.npy", "train=x5.npy"])
def test_a_target_without_a_split_is_for_the_only_data(folder, data):
    (item,) = split_data([data], ["digit=y5.npy"])
    assert list(item.targets) == ["digit"]


def test_a_file_name_with_an_equals_sign_is_written_with_a_folder(folder):
    np.save("a=b.npy", np.zeros((2, 1)))
    (item,) = split_data(["./a=b.npy"])
    assert (item.split, item.source.rows) == ("", 2)
    (item,) = split_data(["val=a=b.npy"])
    assert (item.split, item.source.rows) == ("val", 2)


def test_several_files_of_one_split_have_their_targets_in_order(folder):
    first, second = split_data(["train=x5.npy", "train=x3.npy"], ["train:digit=y5.npy", "train:digit=y3.npy"])
    assert [len(item.targets["digit"]) for item in (first, second)] == [5, 3]


@pytest.mark.parametrize(
    ("data", "targets", "message"),
    [
        (
            ["train=x5.npy"],
            ["train:digit=y3.npy"],
            "'digit' has 3 labels but x5.npy has 5 rows; one label per row",
        ),
        (["x5.npy", "test=x3.npy"], ["digit=y3.npy"], "target 'digit' has 3 labels but x5.npy has 5 rows"),
        (
            ["train=x5.npy"],
            ["test:digit=y5.npy"],
            "is for split 'test', but the data has 'train'; say which: SPLIT:dig",
        ),
        (
            ["train=x5.npy", "test=x3.npy"],
            ["digit=y5.npy"],
            "is for split '', but the data has 'test', 'train'",
        ),
        (
            ["x=x5.npy", "x=x3.npy"],
            ["x:digit=y5.npy"],
            "target 'digit' of split 'x' was given 1 times for 2 data",
        ),
        (
            ["train=x5.npy"],
            ["digit"],
            "target 'digit' was given without =SPEC, and x5.npy offers none by name alone",
        ),
        (["train=x5.npy"], ["a/b=y5.npy"], r"target 'a/b=y5.npy' is not of the form \[SPLIT:\]NAME=SPEC"),
        (
            ["train=x5.npy"],
            ["digit=y5.tsv"],
            "there is no file y5.tsv",
        ),
        (
            ["train=x5.npy"],
            ["digit=y5.dat"],
            "labels 'y5.dat' are not understood; expected FILE.npy, .*, file.py:name",
        ),
        ([""], [], "--data was given nothing"),
    ],
)
def test_what_does_not_fit_together_is_refused(folder, data, targets, message):
    with pytest.raises(SourceError, match=message):
        split_data(data, targets)


def test_the_first_rows_of_each_source_with_their_labels(folder):
    (item,) = split_data(["x5.npy"], ["digit=y5.npy"])
    batches = list(item.batches(2, RowChoice(limit=3)))
    assert [batch.rows for batch in batches] == [2, 1]
    assert np.concatenate([batch.targets["digit"] for batch in batches]).tolist() == [0, 1, 2]
    assert item.expected_rows(RowChoice(3)) == 3
    assert item.expected_rows(RowChoice()) == item.expected_rows(RowChoice(99)) == 5


def test_a_file_with_an_equals_sign_in_its_name_is_told_how_to_be_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=0.1").mkdir()
    np.savez("lr=0.1/x.npz", x=np.ones((3, 2)))
    with pytest.raises(
        SourceError, match=r"'lr' was taken for a split: for the file of that name write \./lr=0\.1/x"
    ):
        split_data(["lr=0.1/x.npz:x"])
    (found,) = split_data(["./lr=0.1/x.npz:x"])
    assert (found.split, found.source.rows) == ("", 3)
    with pytest.raises(SourceError) as caught:
        split_data(["lr=0.1/none.npz"])
    assert "taken for a split" not in str(caught.value)
