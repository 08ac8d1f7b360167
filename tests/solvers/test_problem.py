"""Posing a problem: what is left out, what is scaled, what is refused and how."""

import numpy as np
import pytest

from solvers.errors import ProblemError
from solvers.problem import check_strength, encode, pose

ROWS = np.random.default_rng(0).standard_normal((6, 3))
LABELS = np.array(["a", "b", "a", "c", "b", "a"])


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        LABELS.tolist(),
        LABELS.astype(object),
        np.array([3, 7, 3, 9, 7, 3]),
        np.array([0.5, 1, 0.5, 2, 1, 0.5]),
    ],
    ids=["strings", "list", "objects", "integers", "floats"],
)
def test_labels_of_any_type_become_codes(labels):
    codes, classes = encode(labels, 6)
    assert codes.tolist() == [0, 1, 0, 2, 1, 0]
    assert codes.dtype == np.int64
    assert [type(value) for value in classes.tolist()] == [type(np.asarray(labels)[0:1].tolist()[0])] * 3


def test_masked_rows_are_left_out_and_counted():
    labels = np.ma.masked_array(LABELS, [False, True, False, False, False, True])
    problem = pose(ROWS, labels)
    assert problem.rows == 4
    assert problem.unlabelled == 2
    np.testing.assert_array_equal(problem.source[:], ROWS[[0, 2, 3, 4]])
    np.testing.assert_array_equal(problem.classes[problem.codes], ["a", "a", "c", "b"])


def test_class_that_only_masked_or_weightless_rows_have_is_no_class():
    labels = np.ma.masked_array(LABELS, LABELS == "c")
    assert pose(ROWS, labels).classes.tolist() == ["a", "b"]
    assert pose(ROWS, LABELS, LABELS != "c").classes.tolist() == ["a", "b"]


def test_weights_have_mean_one_and_keep_their_sum():
    problem = pose(ROWS, LABELS, [1, 2, 3, 4, 5, 0])
    assert problem.rows == 5
    assert problem.unlabelled == 0
    assert problem.weights.mean() == pytest.approx(1)
    assert problem.total_weight == 15
    assert pose(ROWS, LABELS, np.full(6, 2.0)).weights is None


def test_mean_and_scale_are_weighted_and_population():
    weights = np.array([1, 2, 3, 4, 5, 6.0])
    problem = pose(ROWS + 100, LABELS, weights, scale=True)
    mean = np.average(ROWS + 100, axis=0, weights=weights)
    np.testing.assert_allclose(problem.mean, mean, rtol=1e-14)
    variance = np.average((ROWS + 100 - mean) ** 2, axis=0, weights=weights)
    np.testing.assert_allclose(problem.scale, np.sqrt(variance), rtol=1e-12)
    np.testing.assert_array_equal(pose(ROWS, LABELS).scale, 1.0)


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_moments_do_not_depend_on_blocks(monkeypatch, rows):
    whole = pose(ROWS + 1e6, LABELS, scale=True)
    monkeypatch.setattr("solvers.moments._BLOCK_ELEMENTS", 3 * rows)
    blocked = pose(ROWS + 1e6, LABELS, scale=True)
    np.testing.assert_allclose(blocked.scale, whole.scale, rtol=1e-9)  # 1e6 + x holds x to 1e-10
    np.testing.assert_allclose(blocked.mean, whole.mean, rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_column_constant_to_the_rounding_of_its_dtype_has_infinite_scale(dtype):
    rows = ROWS.astype(dtype)
    rows[:, 0] = 0.1
    rows[0, 0] = np.nextafter(dtype(0.1), dtype(1))
    rows[:, 1] = 0
    scale = pose(rows, LABELS, scale=True).scale
    assert np.isinf(scale[:2]).all()
    assert np.isfinite(scale[2])


def test_penalty_for_two_classes_is_that_of_half_the_strength():
    assert pose(ROWS, LABELS).penalty(3.0) == pytest.approx(1 / (3 * 6))
    assert pose(ROWS, LABELS == "a").penalty(3.0) == pytest.approx(1 / (1.5 * 6))


def test_features_are_flattened_in_c_order():
    problem = pose(np.arange(48.0).reshape(6, 2, 4), LABELS)
    assert problem.width == 8
    np.testing.assert_allclose(problem.mean, np.arange(48.0).reshape(6, 8).mean(axis=0))


NAN_ROWS = ROWS.copy()
NAN_ROWS[[1, 4], 0] = np.nan, np.inf


@pytest.mark.parametrize(
    ("activations", "labels", "weights", "message"),
    [
        (ROWS[:, 0], LABELS, None, r"shape \(6,\); expected \(rows, features\), at least one feature"),
        (ROWS[:, :0], LABELS, None, r"shape \(6, 0\); expected \(rows, features\), at least one feature"),
        (ROWS.astype(complex), LABELS, None, "dtype complex128; expected real numbers"),
        (
            ROWS,
            LABELS[:5],
            None,
            r"labels have shape \(5,\) for 6 rows of activations; expected one label per row",
        ),
        (ROWS, ROWS, None, r"labels have shape \(6, 3\) for 6 rows"),
        (ROWS, ["a"] * 6, None, "all labels are 'a'; a probe needs rows of at least two classes"),
        (ROWS, np.ma.masked_all(6, dtype=int), None, "no labelled rows to train on"),
        (ROWS[:0], LABELS[:0], None, "no labelled rows to train on"),
        (ROWS, [1, "a", None, 2, 3, 4], None, "labels can not be sorted .*; give labels of one type"),
        (ROWS, [0, 1, np.nan, 1, 0, 1], None, "labels hold NaN; mask the rows"),
        (NAN_ROWS, LABELS, None, "2 of 6 rows hold NaN or infinite activations; expected finite numbers"),
        (ROWS, LABELS, [1, 1], r"sample weights have shape \(2,\) for 6 rows; expected one weight per row"),
        (ROWS, LABELS, [1, -1, np.nan, 1, 1, np.inf], "3 of 6 sample weights are negative or not finite"),
        (ROWS, LABELS, np.zeros(6), "all sample weights are zero"),
        (ROWS, LABELS, LABELS == "a", "all labels are 'a'"),
    ],
)
def test_what_is_no_problem_is_refused_in_one_line(activations, labels, weights, message):
    with pytest.raises(ProblemError, match=message) as caught:
        pose(activations, labels, weights)
    assert "\n" not in str(caught.value)


def test_every_bad_row_of_every_block_is_counted(monkeypatch):
    monkeypatch.setattr("solvers.moments._BLOCK_ELEMENTS", 3)
    with pytest.raises(ProblemError, match="2 of 6 rows hold NaN"):
        pose(NAN_ROWS, LABELS)


@pytest.mark.parametrize("C", [0, -1, np.inf, np.nan])
def test_strength_that_is_not_positive_and_finite_is_refused(C):
    with pytest.raises(ProblemError, match=f"C is {C:g}; expected a positive finite number"):
        check_strength(C)
