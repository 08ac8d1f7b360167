"""Splits and groups as people name them."""

import numpy as np
import pandas as pd
import pytest

import solvers
from solvers.errors import ProblemError
from solvers.fitting.splits import split_rows
from solvers.probing.task import RowRules, make_task

NAMES = ["train", "train", "dev", "test"]


def rows_of(splits, count=4, **split_as):
    found = split_rows(splits, count, split_as)
    return {split: rows.tolist() for split, rows in found.rows.items()}


@pytest.mark.parametrize("name", ["val", "validation", "valid", "dev", "Validation", "DEV"])
def test_what_people_call_val_is_val(name):
    expected = {"train": [0, 1], "val": [2], "test": [3]}
    names = [name if split == "dev" else split for split in NAMES]
    if name != "val":
        assert split_rows(names, 4, {}).named == {"val": name}
    for splits in (names, np.array(names), np.array(names, object), pd.Series(names)):
        assert rows_of(splits) == expected
    assert rows_of({"train": [0, 1], name: [2], "test": [3]}) == expected
    assert rows_of({"train": np.array([1, 1, 0, 0], bool), name: [2]}) == {"train": [0, 1], "val": [2]}


def test_a_split_is_meant_by_another_name():
    assert rows_of(NAMES, val="test") == {"train": [0, 1], "dev": [2], "val": [3]}
    assert rows_of(NAMES, val="test", test="dev") == {"train": [0, 1], "test": [2], "val": [3]}
    assert rows_of(["a", "a", "b", "c"], train="a", val="b") == {"train": [0, 1], "val": [2], "c": [3]}
    assert rows_of(NAMES, val="dev") == {"train": [0, 1], "val": [2], "test": [3]}


@pytest.mark.parametrize(
    ("names", "split_as", "message"),
    [
        (["train", "val", "dev", "x"], {}, r"the splits 'val', 'dev' all mean `val`.*say which it is"),
        (["train", "valid", "dev", "x"], {}, r"the splits 'dev', 'valid' all mean `val`"),
        (NAMES, {"val": "tst"}, r"split 'val' was to be 'tst', which no row is in; did you mean 'test'"),
        (NAMES, {"val": "zzzz"}, r"which no row is in; there are 'dev', 'test', 'train'"),
        (NAMES, {"val": "dev", "test": "dev"}, r"split 'dev' was named twice, as 'val' and as 'test'"),
        (
            ["train", "val", "x", "x"],
            {"val": "x"},
            r"'x' was to be 'val', but rows are in a split of that name",
        ),
    ],
)
def test_names_of_two_meanings_are_refused(names, split_as, message):
    with pytest.raises(ProblemError, match=message):
        rows_of(names, **split_as)


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NA, np.ma.masked])
def test_a_row_without_a_split_is_refused(nothing):
    if nothing is np.ma.masked:
        splits = np.ma.MaskedArray(NAMES, mask=[0, 1, 0, 0])
    else:
        splits = ["train", nothing, "", "test"]
        assert rows_of(["train", "train", "", "test"]) == {"train": [0, 1, 2], "test": [3]}
    for given in [splits] if nothing is np.ma.masked else [splits, np.array(splits, object), pd.Series(splits)]:
        with pytest.raises(ProblemError, match=r"1 rows have no split \(the first is row 1\)"):
            rows_of(given)


@pytest.mark.parametrize("nothing", [None, np.nan, ""])
def test_a_row_without_a_group_is_refused(nothing):
    for groups in (["a", nothing, "b", "b"], np.array(["a", nothing, "b", "b"], object)):
        with pytest.raises(ProblemError, match=r"1 rows have no group \(the first is row 1\)"):
            make_task([0, 1, 0, 1], RowRules(groups=groups), "y")
    with pytest.raises(ProblemError, match="1 rows have no group"):
        make_task([0, 1, 0, 1], RowRules(groups=[1.0, np.nan, 2.0, 2.0]), "y")


@pytest.mark.parametrize("what", ["labels", "splits", "groups"])
def test_a_series_in_another_order_is_refused(what):
    given = {"labels": [0, 1, 0, 1], "splits": ["train"] * 4, "groups": [0, 0, 1, 1]}
    fine = given | {what: pd.Series(given[what])}
    make_task(fine["labels"], RowRules(splits=fine["splits"], groups=fine["groups"]), "y")
    turned = given | {what: pd.Series(given[what], index=[3, 2, 1, 0])}
    with pytest.raises(ProblemError, match=rf"{what}.* are a pandas Series whose index .*begins with 3"):
        make_task(turned["labels"], RowRules(splits=turned["splits"], groups=turned["groups"]), "y")


def test_a_mask_in_another_order_is_refused():
    mask = pd.Series([True, True, False, False])
    assert rows_of({"train": mask, "test": ~mask}) == {"train": [0, 1], "test": [2, 3]}
    with pytest.raises(ProblemError, match="the rows of split 'train' are a pandas Series whose index"):
        rows_of({"train": mask[::-1]})


@pytest.mark.parametrize(
    ("labels", "ignore"),
    [
        ([0, 1, -100, 0, 1], "-100"),
        ([0, 1, -100, 0, 1], -100),
        (np.array([0, 1, 255, 0, 1], np.uint8), 255),
        (["a", "b", "NA", "a", "b"], "NA"),
        (["a", "b", "", "a", "b"], ()),
        (["a", "b", None, "a", "b"], ()),
        (["a", "b", float("nan"), "a", "b"], ()),
        ([0.0, 1.0, -1.0, 0.0, 1.0], [-1]),
    ],
)
def test_rows_whose_label_is_none(labels, ignore):
    rows = {"h": np.eye(5)}
    (probe,) = solvers.fit_layers(rows, labels, C=1.0, ignore_label=ignore).values()
    assert len(probe.classes) == 2
    assert (probe.rows["train"], probe.unlabelled["train"]) == (4, 1)


def test_groups_that_straddle_splits_are_warned_of():
    generator = np.random.default_rng(0)
    rows = {"h": generator.normal(size=(40, 3))}
    labels, splits = np.arange(40) % 2, np.array(["train", "train", "test", "dev"] * 10)
    said = []
    solvers.fit_layers(rows, labels, splits=splits, groups=np.arange(40) // 4, C=1.0, notice=said.append)
    assert said == [
        "groups of training rows have rows in other splits, too (10 in `val`, 10 in `test`), so what is scored there "
        "is not new to the probe; divide the rows by whole groups"
    ]
    said.clear()
    solvers.fit_layers(rows, labels, splits=splits, groups=splits, C=1.0, notice=said.append)
    assert not said


def test_rows_that_are_in_no_split_are_counted():
    rows = {"h": np.random.default_rng(0).normal(size=(20, 3))}
    splits = {"train": range(10), "test": range(12, 18)}
    (probe,) = solvers.fit_layers(rows, np.arange(20) % 2, splits=splits, C=1.0).values()
    assert probe.proof.chosen == {"how": "given", "in_no_split": 4}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 1, -100, 0, 1, -100], "the class -100 \\(2 rows\\)"),
        ([0, 1, 2, 0, 1, -1], "the class -1 \\(1 rows\\)"),
        (["a", "b", "NA", "a", "b", "nan"], "'NA' \\(1 rows\\) and 'nan' \\(1 rows\\)"),
        (np.array([0, 1, 255, 0, 1, 0], np.uint8), "the class 255 \\(1 rows\\)"),
    ],
)
def test_what_looks_like_no_label_is_warned_of(labels, said):
    rows = {"h": np.eye(6)}
    with pytest.warns(UserWarning, match=f"target 'label' has .*{said}.*ignore_label="):
        solvers.fit_layers(rows, labels, C=1.0)


@pytest.mark.parametrize(
    "labels", [[1, -1] * 3, [0, 1, 2] * 2, [-2, -1, 0] * 2, [250, 255] * 3, [True, False] * 3]
)
def test_classes_are_not_warned_of(labels):
    """A warning would be an error here."""
    (probe,) = solvers.fit_layers({"h": np.eye(6)}, labels, C=1.0).values()
    assert probe.classes.tolist() == sorted(set(labels))


def test_folds_of_nothing_to_choose_are_refused():
    with pytest.raises(ProblemError, match="a single C was given"):
        solvers.fit_layers({"h": np.eye(6)}, [0, 1] * 3, C=1.0, folds=3)
