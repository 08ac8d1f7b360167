"""Row weights: scikit-learn's class weights, times sample weights, in one line refused where they make no sense."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

import solvers
from solvers.errors import ProblemError
from solvers.problem.weights import row_weights

LABELS = np.array(["b", "a", "b", "b", "c", "b", "a"])
SAMPLE = np.array([1.0, 2.0, 0.5, 0.0, 3.0, 1.5, 0.25])


def test_nothing_asked_is_nothing_given():
    assert row_weights(LABELS, None, None) is None


def test_sample_weights_alone_come_through():
    np.testing.assert_array_equal(row_weights(LABELS, None, SAMPLE.astype(np.float32)), SAMPLE)


@pytest.mark.parametrize("class_weight", ["balanced", {"a": 2.0, "b": 0.5, "c": 1.0}, {}])
def test_class_weights_are_scikit_learns(class_weight):
    classes = np.unique(LABELS)
    expected = compute_class_weight(class_weight or None, classes=classes, y=LABELS)
    found = row_weights(LABELS, class_weight, None)
    np.testing.assert_allclose(found, expected[np.searchsorted(classes, LABELS)], rtol=1e-15)
    assert found.dtype == np.float64


def test_balanced_classes_weigh_the_same_by_sample_weight():
    """scikit-learn 1.9's formula, by what it is for: equal shares, and the total as it was."""
    weights = row_weights(LABELS, "balanced", SAMPLE)
    shares = [weights[label == LABELS].sum() for label in "abc"]
    np.testing.assert_allclose(shares, SAMPLE.sum() / 3, rtol=1e-15)
    heavy = LABELS == "b"
    np.testing.assert_allclose(weights[heavy] / weights[heavy].sum(), SAMPLE[heavy] / 3.0, rtol=1e-15)


def test_balanced_counts_a_row_of_weight_two_twice():
    weights = np.array([2, 1, 1, 1, 1, 1, 1])
    once = row_weights(LABELS, "balanced", weights)
    twice = row_weights(np.append(LABELS, LABELS[0]), "balanced", None)
    np.testing.assert_allclose(once / weights, twice[:-1], rtol=1e-15)


def test_balanced_counts_no_class_whose_rows_weigh_nothing():
    weights = row_weights(LABELS, "balanced", np.where(LABELS == "c", 0.0, 1.0))
    np.testing.assert_allclose(
        weights[LABELS != "c"], row_weights(LABELS[LABELS != "c"], "balanced", None), rtol=1e-15
    )
    assert weights[LABELS == "c"].tolist() == [0.0]


def test_class_that_is_not_named_weighs_one():
    np.testing.assert_array_equal(row_weights([1, 2, 3], {2: 5.0}, None), [1, 5, 1])


def test_masked_rows_weigh_nothing_and_do_not_count():
    mask = np.array([1, 0, 0, 0, 0, 1, 0], dtype=bool)
    weights = row_weights(np.ma.masked_array(LABELS, mask), "balanced", None)
    assert weights[mask].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(weights[~mask], row_weights(LABELS[~mask], "balanced", None), rtol=1e-15)


BAD = [
    ("even", None, "class_weight is 'even'; expected None, 'balanced' or a dict from label to weight"),
    (2.0, None, "class_weight is 2.0; expected None, 'balanced'"),
    (
        {"x": 1.0},
        None,
        "class_weight names 'x', which no row has as its label; expected some of 'a', 'b', 'c'$",
    ),
    ({"a": -1.0}, None, "class 'a' has the weight -1.0; expected a finite number of 0 or more"),
    ({"a": np.nan}, None, "class 'a' has the weight nan"),
    ({"a": "much"}, None, "class 'a' has the weight much; expected a finite number"),
    ({"a": np.inf}, None, "class 'a' has the weight inf"),
    ("balanced", [1.0], r"sample weights have shape \(1,\) for 7 rows; expected one weight per row"),
]


@pytest.mark.parametrize(("class_weight", "sample_weight", "message"), BAD)
def test_weights_that_make_no_sense_are_refused(class_weight, sample_weight, message):
    with pytest.raises(ProblemError, match=message):
        row_weights(LABELS, class_weight, sample_weight)


def test_message_names_a_few_of_many_classes():
    with pytest.raises(ProblemError, match=r"expected some of 0, 1, 2, 3, 4 and 995 more$"):
        row_weights(np.arange(1000), {-1: 2.0}, None)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_bad_sample_weights_are_counted_by_the_problem_as_without_class_weights(make_rows, bad):
    activations, labels = make_rows(20, 3, 2)
    weights = np.ones(20)
    weights[:3] = bad
    with pytest.raises(ProblemError, match="3 of 20 sample weights are negative or not finite"):
        solvers.fit(activations, labels, class_weight="balanced", sample_weight=weights)


@pytest.mark.parametrize("sample_weight", [None, np.linspace(0.5, 2.0, 90)], ids=["plain", "weighted"])
def test_fit_weighs_its_classes(make_rows, sample_weight):
    activations, labels = make_rows(90, 4, 3)
    fit = solvers.fit(activations, labels, class_weight="balanced", sample_weight=sample_weight, gap_nats=1e-10)
    weights = row_weights(labels, "balanced", sample_weight)
    certificate = solvers.certify(activations, labels, fit.weights, fit.bias, sample_weight=weights)
    # Optimal for the rows weighed by hand, and not for the rows as they are.
    assert certificate.gap_nats <= 1.01e-10
    assert solvers.certify(activations, labels, fit.weights, fit.bias).gap_nats > 1e-6
