import numpy as np
import pytest

from solvers.errors import ProblemError
from solvers.labels import UNSEEN
from solvers.probing.task import RowRules, make_task


def task_of(labels, splits, groups, seed, target, **rules):
    """A task; a seed where there is a C to choose, by a tenth unless said otherwise."""
    if seed is not None:
        rules = {"choose": True, "seed": seed, **({} if "folds" in rules else {"holdout": 0.1}), **rules}
        if splits is not None and not isinstance(splits, dict) and "val" in list(splits):
            rules["holdout"] = None
    return make_task(labels, RowRules(splits=splits, groups=groups, **rules), target)


def test_without_splits_every_row_is_trained_on():
    task = task_of([0, 1, 0, 1], None, None, None, "digit")
    assert list(task.rows) == ["train"]
    assert task.rows["train"].tolist() == [0, 1, 2, 3]
    assert task.classes.tolist() == [0, 1]


def test_split_names_in_the_usual_order_and_no_name_means_train():
    splits = np.array(["test", "val", "odd", "", "train", ""])
    task = task_of(np.array(["a", "b", "a", "b", "a", "b"]), splits, None, None, "letter")
    assert list(task.rows) == ["train", "val", "test", "odd"]
    assert task.rows["train"].tolist() == [3, 4, 5]


@pytest.mark.parametrize(
    "train",
    [[3, 0, 1], np.array([0, 1, 3]), np.array([True, True, False, True, False])],
    ids=["list", "array", "mask"],
)
def test_split_rows_by_name(train):
    task = task_of([0, 1, 0, 1, 0], {"test": [2], "train": train}, None, None, "digit")
    assert {split: rows.tolist() for split, rows in task.rows.items()} == {"train": [0, 1, 3], "test": [2]}


def test_rows_without_a_label_are_left_out_and_counted():
    labels = np.ma.masked_array([5, 6, 5, 6, 5, 0], mask=[0, 0, 1, 0, 0, 1])
    task = task_of(labels, ["train"] * 3 + ["test"] * 3, None, None, "digit")
    assert {split: rows.tolist() for split, rows in task.rows.items()} == {"train": [0, 1], "test": [3, 4]}
    assert task.unlabelled == {"train": 1, "test": 1}


def test_classes_are_those_of_training_and_others_are_unseen():
    task = task_of(["b", "a", "c", "a"], ["train", "train", "test", "test"], None, None, "letter")
    assert task.classes.tolist() == ["a", "b"]
    assert task.codes.tolist() == [1, 0, UNSEEN, 0]


def test_a_tenth_of_train_becomes_val_where_c_is_to_be_chosen():
    labels = np.arange(100) % 2
    splits = np.array(["train"] * 60 + ["test"] * 40)
    task = task_of(labels, splits, None, 0, "digit")
    assert {split: len(rows) for split, rows in task.rows.items()} == {"train": 54, "val": 6, "test": 40}
    assert sorted([*task.rows["train"], *task.rows["val"]]) == list(range(60))
    assert task_of(labels, splits, None, None, "digit").rows["train"].tolist() == list(range(60))


def test_a_named_val_split_is_kept():
    task = task_of(np.arange(10) % 2, ["train"] * 8 + ["val"] * 2, None, 0, "digit")
    assert task.rows["val"].tolist() == [8, 9]


def test_groups_are_set_aside_whole():
    groups = np.repeat(np.arange(30), 4)
    task = task_of(np.arange(120) % 2, None, groups, 3, "digit")
    assert not set(groups[task.rows["train"]]) & set(groups[task.rows["val"]])


def test_chance_is_the_commonest_training_class():
    task = task_of([1, 1, 0, 0, 0, 1], ["train"] * 3 + ["test"] * 3, None, None, "digit")
    assert task.chance("train") == pytest.approx(1 / 3)
    assert task.chance("test") == pytest.approx(2 / 3)
    assert np.isnan(task_of([0, 1], {"train": [0, 1], "test": []}, None, None, "digit").chance("test"))


def test_fingerprint_tells_rows_apart():
    labels, splits = np.arange(40) % 2, ["train"] * 30 + ["test"] * 10
    first = task_of(labels, splits, None, 0, "digit").fingerprint
    assert task_of(labels, splits, None, 0, "other name").fingerprint == first
    assert task_of(labels, splits, None, 1, "digit").fingerprint != first
    assert task_of(1 - labels, splits, None, 0, "digit").fingerprint != first
    assert task_of(labels + 5, splits, None, 0, "digit").fingerprint != first


@pytest.mark.parametrize(
    ("labels", "splits", "groups", "message"),
    [
        ([0, 1], ["a", "b"], None, "no rows to train on: the splits are a, b; name one of them `train`"),
        ([0, 1], {}, None, "no rows to train on: the splits are empty"),
        (
            [4, 4, 5],
            ["train", "train", "test"],
            None,
            "target 'digit' has only the class 4 in its 2 labelled training",
        ),
        (
            np.ma.masked_all(3, int),
            None,
            None,
            "target 'digit' has no label in its 0 labelled training rows; a probe",
        ),
        (
            [0, 1, 0],
            ["train"],
            None,
            r"there are 3 labels but splits of shape \(1,\); give one split name per row",
        ),
        ([0, 1] * 20, None, [1, 2], r"there are 40 labels but groups of shape \(2,\); give one group per row"),
        (
            [0, 1],
            {"train": [0, 2]},
            None,
            "split 'train' must be numbers of rows from 0 to 1, or a mask of 2 rows",
        ),
        (
            [0, 1],
            {"train": [0, -1]},
            None,
            "split 'train' must be numbers of rows from 0 to 1, or a mask of 2 rows",
        ),
        (
            [0, 1],
            {"train": [True]},
            None,
            "split 'train' must be numbers of rows from 0 to 1, or a mask of 2 rows",
        ),
        (
            [0, 1],
            {"train": [0, 1], "test": [1]},
            None,
            "row 1 is in two splits, 'train' and 'test'; put it in one",
        ),
        ([0, 1, 2], None, None, "no row of the 3 training rows can be set aside"),
    ],
)
def test_what_does_not_fit_together(labels, splits, groups, message):
    with pytest.raises(ProblemError, match=message):
        task_of(labels, splits, groups, 0, "digit")
