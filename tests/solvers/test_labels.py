import numpy as np
import pandas as pd
import pytest

import solvers
from solvers.errors import ProblemError
from solvers.labels import UNSEEN, encode, place_labels, plain_labels, read_labels


@pytest.mark.parametrize("labels", [[1, 2], [True, False], ["a", "bc"], [0.5, 1.5], [b"a", b"b"]], ids=str)
def test_plain_labels_are_left_as_they_are(labels):
    values, missing = plain_labels(labels, "digit")
    assert values.dtype == np.asarray(labels).dtype
    assert values.tolist() == labels
    assert not missing.any()


def test_objects_that_are_strings_become_strings():
    labels = np.ma.masked_array(np.array(["x", None, "yy"], dtype=object), mask=[False, True, False])
    values, missing = plain_labels(labels, "letter")
    assert values.tolist() == ["x", "", "yy"]
    assert values.dtype == np.dtype("<U2")
    assert missing.tolist() == [False, True, False]


NOTHING = {
    "masked": np.ma.masked_array([1, 2, 1, 2], [False, False, True, False]),
    "masked NaN": np.ma.masked_invalid([1.0, 2.0, np.nan, 2.0]),
    "NaN": np.array([1, 2, np.nan, 2]),
    "NaN in float32": np.array([1, 2, np.nan, 2], np.float32),
    "NaN beside the mask": np.ma.masked_array([1.0, 2.0, np.nan, 2.0], [False] * 4),
    "NaN in a list": [1, 2, float("nan"), 2],
    "NaN among objects": np.array([1, 2, np.nan, 2], dtype=object),
    "None": [1, 2, None, 2],
    "text and None": np.array(["1", "2", None, "2"], dtype=object),
    "text and NaN": np.array(["1", "2", np.nan, "2"], dtype=object),
    "bools and None": [True, False, None, False],
    "NaN of pandas": pd.Series([1, 2, None, 2]),
    "NA of pandas": pd.Series([1, 2, None, 2], dtype="Int64"),
    "text and NA of pandas": pd.Series(["1", "2", None, "2"], dtype="string"),
    "NaT": np.array(["2026-01-01", "2026-01-02", "NaT", "2026-01-02"], "M8[D]"),
    "a span of NaT": np.array([1, 2, "NaT", 2], "m8[s]"),
}


@pytest.mark.parametrize("kind", ["Int64", "Int8", "UInt64", "boolean", "category"])
def test_whole_numbers_beside_na_of_pandas_stay_whole(kind):
    values = pd.array([1, 0, None, 1], dtype="Int64" if kind == "category" else kind)
    for labels in (pd.Series(values, dtype=kind), pd.Index(pd.Series(values, dtype=kind)), values):
        for classes in (
            solvers.fit([[1.0], [2.0], [3.0], [1.5]], labels).classes,
            solvers.fit_layers({"h": [[1.0], [2.0], [3.0], [1.5]]}, labels, C=1.0)["h", "label", 0].classes,
        ):
            assert classes.tolist() == [0, 1]
            assert classes.dtype.kind in ("b" if kind == "boolean" else "iu")


def test_whole_numbers_of_64_bits_beside_na_do_not_run_together():
    values, missing = read_labels(pd.Series([2**53, 2**53 + 1, None], dtype="Int64"))
    assert values[~missing].tolist() == [2**53, 2**53 + 1]


@pytest.mark.parametrize("name", NOTHING)
def test_what_is_no_label_is_none_at_every_door(name):
    labels = NOTHING[name]
    values, missing = read_labels(labels)
    assert missing.tolist() == [False, False, True, False]
    assert len(np.unique(values[~missing])) == 2
    codes, classes = encode(labels, 4)
    assert np.bincount(codes + 1).tolist() == [1, *np.unique(codes[codes >= 0], return_counts=True)[1]]
    assert codes[2] == UNSEEN
    assert len(classes) == 2
    rows = np.array([[1.0], [2.0], [1e6], [2.5]])
    fit = solvers.fit(rows, labels)
    kept = solvers.fit(rows[[0, 1, 3]], np.asarray(values)[[0, 1, 3]])
    assert fit.unlabelled == 1
    np.testing.assert_array_equal(fit.weights, kept.weights)
    with pytest.raises(ValueError, match="1 rows have no label"):
        solvers.LogisticProbe().fit(rows, labels)
    if values.dtype.kind not in "mM":
        probes = solvers.fit_layers({"h": rows}, labels, C=1.0, scale=False)
        assert probes["h", "label", 0].unlabelled["train"] == 1
        np.testing.assert_array_equal(probes["h", "label", 0].weights, fit.weights)
    with pytest.raises(ProblemError, match="no validation row has a label that occurs in training"):
        solvers.fit(rows, labels, C=[0.1, 1.0], validation=(rows, [None] * 4))


@pytest.mark.parametrize(
    "labels", [[2**63, 2**63 + 1, 3], [-(2**63), 2**63 - 1, 3], np.array([2**63 + 1, 3], "u8")]
)
def test_whole_numbers_of_64_bits_are_told_apart(labels):
    values, _ = plain_labels(labels, "id")
    assert values.dtype.kind in "iu"
    assert values.tolist() == list(labels)
    codes, classes = encode(labels, len(labels))
    assert classes.tolist() == sorted(int(each) for each in labels)
    assert place_labels(values, classes).tolist() == codes.tolist()
    fit = solvers.fit(np.arange(float(len(labels)))[:, None], labels, C=1e4)
    assert set(fit.predict([[0.0], [1.0], [2.0]][: len(labels)]).tolist()) <= set(classes.tolist())


def test_64_bits_are_placed_exactly_whatever_the_sign_and_type():
    classes = np.array([3, 2**63, 2**63 + 1], np.uint64)
    assert place_labels(np.array([3, -1, 2**62]), classes).tolist() == [0, UNSEEN, UNSEEN]
    assert place_labels(np.array([2**63 + 1, 2**63], np.uint64), classes).tolist() == [2, 1]
    assert place_labels(np.array([2.0**53]), np.array([2**53, 2**53 + 1])).tolist() == [0]
    assert place_labels(np.array([2**53 + 1]), np.array([2.0**53])).tolist() == [UNSEEN]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            np.zeros((3, 2)),
            r"the labels of target 'digit' have the shape \(3, 2\) and the type float64; give one int",
        ),
        (
            np.array([object()] * 3),
            r"have the shape \(3,\) and the type object; give one int, string or bool per row",
        ),
        (np.array(["2026-01-01"], "M8[D]"), r"the type datetime64\[D\]; give one int, string or bool per row"),
        ([2**64, 1], "the type object; give one int, string or bool per row"),
    ],
)
def test_what_is_no_label(labels, message):
    with pytest.raises(ProblemError, match=message):
        plain_labels(labels, "digit")


def test_place_labels():
    classes = np.array(["ant", "bee", "cat"])
    assert place_labels(np.array(["cat", "dog", "ant", ""]), classes).tolist() == [2, UNSEEN, 0, UNSEEN]
    assert place_labels(np.array([3.0, 2.5, 7.0]), np.array([1, 3, 5])).tolist() == [1, UNSEEN, UNSEEN]
    assert place_labels(np.array([True, False]), np.array([False, True])).tolist() == [1, 0]
    assert place_labels(np.array([], dtype=int), np.array([1, 3])).tolist() == []


def test_place_labels_of_another_kind():
    with pytest.raises(
        ProblemError, match=r"labels are text \(<U1\) but the probe's classes are numbers \(int64\)"
    ):
        place_labels(np.array(["1"]), np.array([1, 2]))
