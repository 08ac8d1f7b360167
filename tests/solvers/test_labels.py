import numpy as np
import pytest

from solvers.errors import ProblemError
from solvers.labels import UNSEEN, place_labels, plain_labels


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


def test_nan_under_a_mask_is_no_label():
    values, missing = plain_labels(np.ma.masked_invalid([1.0, np.nan]), "digit")
    assert missing.tolist() == [False, True]
    assert values[0] == 1


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
        ([1.0, np.nan], "1 labels of target 'digit' are NaN; mask them with numpy.ma.masked_invalid"),
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
