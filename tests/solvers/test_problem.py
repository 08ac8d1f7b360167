"""Posing a problem: what is left out, what is scaled, what is refused and how."""

import numpy as np
import pytest

from solvers.errors import ProblemError
from solvers.labels import encode
from solvers.problem.problem import check_strength, pose, pose_together

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
    monkeypatch.setattr("solvers.problem.moments.BLOCK_ELEMENTS", 3 * rows)
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


def test_without_a_limit_there_is_no_penalty():
    assert check_strength(np.inf) == np.inf
    assert pose(ROWS, LABELS).penalty(np.inf) == 0
    assert pose(ROWS, LABELS == "a").penalty(np.inf) == 0


OTHERS = np.ma.masked_array([0, 1, 0, 1, 1, 0], [True, False, False, True, False, False])


@pytest.mark.parametrize("scale", [False, True])
def test_problems_posed_together_are_what_each_is_alone(scale):
    weights = [1, 2, 3, 4, 0, 0]
    together = pose_together(ROWS, [LABELS, OTHERS, LABELS == "a"], [weights, None, [1.0] * 6], scale=scale)
    alone = [pose(ROWS, *each, scale=scale) for each in [(LABELS, weights), (OTHERS,), (LABELS == "a",)]]
    for one, other in zip(together, alone, strict=True):
        assert one.source is together[0].source
        np.testing.assert_array_equal(one.classes, other.classes)
        assert (one.rows, one.unlabelled, one.total_weight) == (
            other.rows,
            other.unlabelled,
            other.total_weight,
        )
        np.testing.assert_allclose(
            one.mean, other.mean, atol=1e-15
        )  # rows of weight 0 add nothing but rounding
        np.testing.assert_allclose(one.scale, other.scale, rtol=1e-14)
        assert one.penalty(3.0) == other.penalty(3.0)
        used = slice(None) if one.weights is None else one.weights > 0
        np.testing.assert_array_equal(one.source[:][used], other.source[:])
        np.testing.assert_array_equal(one.codes[used], other.codes)


def test_rows_of_others_weigh_nothing_and_rows_of_no_one_are_left_out():
    labels = np.ma.masked_array(LABELS, LABELS == "c")
    first, second = pose_together(ROWS, [labels, OTHERS], [[1, 1, 1, 1, 1, 0], None])
    np.testing.assert_array_equal(first.source[:], ROWS[[0, 1, 2, 4, 5]])
    np.testing.assert_array_equal(first.weights > 0, [True, True, True, True, False])
    np.testing.assert_array_equal(second.weights > 0, [False, True, True, True, True])
    assert first.weights.mean() == second.weights.mean() == pytest.approx(1)
    assert (first.codes.min(), second.codes.min()) == (0, 0)  # no code is -1, for any index of classes


def test_center_and_divisor_keep_the_rows_in_range_for_every_problem():
    rows = ROWS * [1e-20, 1.0, 1e25] + [0, 1e3, 0]
    first, second = pose_together(rows, [LABELS, OTHERS], [None, None], scale=True)
    np.testing.assert_array_equal(first.center, second.center)
    np.testing.assert_array_equal(first.divisor, second.divisor)
    x = (rows - first.center) / first.divisor
    assert x.std(axis=0).min() > 0.3
    assert x.std(axis=0).max() < 3
    np.testing.assert_array_equal(np.exp2(np.log2(first.divisor).round()), first.divisor)
    assert pose(rows.astype(np.float32), LABELS).center.astype(np.float32).tolist() == pytest.approx(
        pose(rows.astype(np.float32), LABELS).center.tolist(), rel=0, abs=0
    )  # a center that float32 holds, so that taking it off float32 rows rounds once


@pytest.mark.parametrize(
    ("dtype", "small", "large", "expected"),
    [
        (np.float32, 1e-36, 1e36, [2.0**-100, 2.0**100, 1.0]),
        # Activations beyond 1e100 are refused, so nothing is too large for a divisor in float64.
        (np.float64, 1e-150, 1e30, [2.0**-340, 2.0**99, 1.0]),
    ],
)
def test_a_column_that_does_not_vary_or_varies_wildly_has_a_divisor_in_range(dtype, small, large, expected):
    rows = np.column_stack([ROWS[:, 0] * small, ROWS[:, 1] * large, np.full(6, 7.0)]).astype(dtype)
    assert pose(rows, LABELS).divisor.tolist() == expected


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
        (ROWS, [1, "a", None, 2, 3, 4], None, "labels cannot be sorted .*; give labels of one type"),
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
    monkeypatch.setattr("solvers.problem.moments.BLOCK_ELEMENTS", 3)
    with pytest.raises(ProblemError, match="2 of 6 rows hold NaN"):
        pose(NAN_ROWS, LABELS)


@pytest.mark.parametrize("C", [0, -1, -np.inf, np.nan])
def test_strength_that_is_not_positive_is_refused(C):
    with pytest.raises(ProblemError, match=f"C is {C:g}; expected a positive number .*, or inf for none"):
        check_strength(C)
