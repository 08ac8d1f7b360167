import numpy as np
import pytest

from solvers.errors import ProblemError
from solvers.linear_map import LinearMap, output_blocks
from solvers.problem.problem import pose


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def test_a_map_acts_on_raw_rows_as_its_formula_says(generator):
    rows = generator.normal(size=(20, 2, 3)).astype(np.float32)
    weights, intercept, mean = generator.normal(size=(6, 4)), generator.normal(size=4), generator.normal(size=6)
    expected = (rows.reshape(20, 6).astype(np.float64) - mean) @ weights + intercept
    assert np.array_equal(LinearMap(weights, intercept, mean).logits(rows), expected)
    # The same map with its intercept folded: two ways of summing six numbers of order one.
    folded = LinearMap.raw(weights, LinearMap(weights, intercept, mean).bias)
    assert folded.logits(rows) == pytest.approx(expected, abs=1e-13)


def test_maps_of_several_means_are_applied_in_one_reading(generator):
    rows, means = generator.normal(size=(50, 5)), generator.normal(size=(2, 5))
    maps = [
        LinearMap(generator.normal(size=(5, outputs)), generator.normal(size=outputs), means[which])
        for outputs, which in ((3, 0), (2, 1), (4, 0))
    ]
    read = []

    class Counted:
        shape, dtype = rows.shape, rows.dtype

        def __getitem__(self, wanted):
            read.append(wanted)
            return rows[wanted]

    for part, block, outputs in output_blocks(Counted(), maps, block_rows=20):
        assert np.array_equal(block, rows[part])
        for one, found in zip(maps, outputs, strict=True):
            # A product over more columns at once may sum five numbers of order one in another order.
            assert found == pytest.approx((rows[part] - one.mean) @ one.weights + one.intercept, abs=1e-13)
    assert read == [slice(0, 20), slice(20, 40), slice(40, 50)]


def test_a_column_far_from_zero_loses_nothing(generator):
    """Its folded intercept is rounded to 1e5 times the spread of what it is to tell apart."""
    offsets = generator.integers(-120, 120, 200) * 2.0**-22  # exact beside 1.7e9 in float64
    rows = (1.7e9 + offsets)[:, None]
    weights, mean = np.array([[1e6, -1e6]]), np.array([1.7e9])
    centred = LinearMap(weights, np.array([0.5, -0.5]), mean)
    exact = offsets[:, None] * weights + [0.5, -0.5]
    assert np.array_equal(centred.logits(rows), exact)
    assert np.abs(LinearMap.raw(weights, centred.bias).logits(rows) - exact).max() > 0.1


def test_columns_that_are_not_looked_at(generator):
    whole = LinearMap(generator.normal(size=(5, 2)), np.zeros(2), generator.normal(size=5))
    part = whole.of_columns(np.array([1, 3]))
    assert np.array_equal(part.mean, whole.mean[[1, 3]])
    assert np.array_equal(part.weights, whole.weights[[1, 3]])
    assert whole.of_columns(None) is whole


def test_a_map_without_classes_gives_values_and_no_probabilities(generator):
    found = LinearMap.raw(np.eye(3), np.ones(3))
    assert np.array_equal(found.predict(np.eye(3)), np.eye(3) + 1)
    with pytest.raises(ProblemError, match="a regression has no classes, so no probabilities; use predict"):
        found.predict_proba(np.eye(3))
    with pytest.raises(ProblemError, match="activations have 4 features, but the probe was fitted on 3"):
        found.predict(np.eye(4))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_have_no_likeliest_class(generator, value):
    rows = generator.normal(size=(4, 2))
    rows[2, 1] = value
    probe = LinearMap(generator.normal(size=(2, 3)), np.zeros(3), np.zeros(2), np.arange(3))
    for ask in (probe.predict, probe.predict_proba, probe.predict_log_proba):
        with pytest.raises(ProblemError, match=r"1 of 4 rows hold NaN or infinite .* \(first: row 2\)"):
            ask(rows)
        assert len(ask(rows[:2])) == 2


def test_how_weights_lie_in_memory_changes_no_bit(make_rows, generator):
    """A probe that was fitted and the same one read from its file go on alike."""
    activations, labels = make_rows(301, 37, 3)
    weights, intercept, mean = (
        generator.normal(size=(37, 3)),
        generator.normal(size=3),
        generator.normal(size=37),
    )
    lying = [LinearMap(each, intercept, mean) for each in (weights, np.asfortranarray(weights))]
    np.testing.assert_array_equal(lying[0].bias, lying[1].bias)
    np.testing.assert_array_equal(lying[0].logits(activations), lying[1].logits(activations))
    problem = pose(activations, labels)
    starts = [problem.coefficients(each.weights, intercept, mean) for each in lying]
    np.testing.assert_array_equal(*starts)
