"""Sampled rows: drawn by leverage and doubt, and weighted so that they stand for all."""

import numpy as np
import pytest

from solvers.arrays import NUMPY
from solvers.lbfgs.objective import Targets
from solvers.lbfgs.sampling import Sampler, _chances
from solvers.lbfgs.working import Frame, WorkingRows
from solvers.problem.problem import pose


@pytest.fixture
def layer(make_rows):
    """Rows of which a few lie far out, labels, and a probe halfway to the optimum."""
    activations, labels = make_rows(1200, 6, 3)
    activations[:5] *= 40.0
    problem = pose(activations, labels)
    rows = WorkingRows(problem, NUMPY, np.float64, resident=True)
    coefficients = Frame.of(problem, rows).to_rows(0.02 * np.random.default_rng(2).standard_normal((3, 7)))
    return rows, Targets.of(problem, NUMPY, np.float64), coefficients


PENALTIES = np.full(6, 1e-3)


def sampler_of(rows, *, whole=True):
    """A sampler that may look closely at every row."""
    return Sampler(rows, rows.rows, whole=whole)


def curvature(x, coefficients, weights=1.0):
    """Σ s (1 - Σ p²) x xᵀ over rows, each with its weight."""
    z = x @ coefficients[:, :-1].T + coefficients[:, -1]
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    v = weights * (1 - np.sum(p**2, axis=1))
    return (x * v[:, None]).T @ x


@pytest.mark.parametrize(("count", "least"), [(1, 1), (10, 10), (300, 295), (1199, 1000)])
def test_chances_are_at_most_one_and_sum_to_about_the_count(count, least):
    score = np.random.default_rng(0).exponential(size=1200) ** 4
    chance = _chances(score / score.sum(), count)
    assert chance.min() >= 0
    assert chance.max() <= 1
    # Five rounds of handing out what the certain leave over.
    assert least * (1 - 1e-12) <= chance.sum() <= count * (1 + 1e-12)


def test_chances_are_proportional_to_the_score_where_they_are_below_one():
    score = np.array([0.5, 0.3, 0.1, 0.06, 0.04])
    np.testing.assert_allclose(_chances(score, 1), score)
    np.testing.assert_allclose(_chances(score, 3), [1, 1, 0.5, 0.3, 0.2])


def test_rows_without_a_score_are_never_drawn_for_another():
    assert _chances(np.array([0.5, 0.5, 0.0, 0.0]), 3).tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("count", [100, 400])
def test_the_weighted_sample_stands_for_the_whole(layer, count):
    rows, targets, coefficients = layer
    x = rows.pick(np.arange(1200))
    expected = curvature(x, coefficients)
    sampler, found, sizes = sampler_of(rows), [], []
    for _ in range(200):
        sample = sampler.draw(targets, coefficients, PENALTIES, count)
        np.testing.assert_array_equal(sample.x, x[sample.numbers])
        assert (sample.weights >= 1).all()
        found.append(curvature(sample.x, coefficients, sample.weights))
        sizes.append(len(sample.numbers))
    # In units of the whole: the mean over draws is off by their spread over the root of their number.
    half = np.linalg.inv(np.linalg.cholesky(expected))
    whitened = np.array([half @ each @ half.T for each in found]) - np.eye(6)
    error = whitened.std(axis=0) / len(found) ** 0.5
    assert (np.abs(whitened.mean(axis=0)) <= 4.5 * error + 1e-12).all()
    assert np.mean(sizes) == pytest.approx(count, rel=0.05)
    # Any one draw is close to the whole in every direction: of d log d / ε² rows.
    assert np.median(np.linalg.norm(whitened, 2, axis=(1, 2))) < 2 * (6 / count) ** 0.5


def test_rows_of_high_leverage_are_always_drawn(layer):
    rows, targets, coefficients = layer
    sampler = sampler_of(rows)
    for _ in range(30):
        sample = sampler.draw(targets, 0 * coefficients, PENALTIES, 200)
        chosen = dict(zip(sample.numbers.tolist(), sample.weights.tolist(), strict=True))
        assert [chosen.get(row) for row in range(5)] == [1.0] * 5


def test_leverage_is_about_what_it_is_by_the_whole_inverse(layer, monkeypatch):
    monkeypatch.setattr("solvers.lbfgs.sampling.WHOLE_ELEMENTS", 0)
    rows, targets, coefficients = layer
    x = rows.pick(np.arange(1200))
    ridge = 10 * PENALTIES + 1e-6 * np.diagonal(x.T @ x / 1200).mean() + 1e-12
    exact = np.sum(x * np.linalg.solve(x.T @ x / 1200 + np.diag(ridge), x.T).T, axis=1)
    sampler, ratios = sampler_of(rows), []
    for _ in range(50):
        sample = sampler.draw(targets, coefficients, PENALTIES, 1200)
        assert len(sample.numbers) == 1200  # all are asked for, all come
        ratios.append(sample.leverage / exact)
    # A sum of squares of 16 normal directions: its mean is exact, its spread √(2/16).
    assert np.mean(ratios, axis=0) == pytest.approx(np.ones(1200), abs=5 * (2 / 16 / 50) ** 0.5)


def test_rows_of_weight_zero_are_not_drawn(layer):
    rows, targets, coefficients = layer
    weights = (np.arange(1200) % 4 > 0) * 4 / 3
    weighted = Targets(targets.codes, weights, targets.classes)
    sample = sampler_of(rows).draw(weighted, coefficients, PENALTIES, 300)
    assert len(sample.numbers) > 200
    assert (weights[sample.numbers] > 0).all()


@pytest.mark.parametrize("penalty", [0.0, 1e-300, 1e300])
def test_any_penalty_gives_finite_leverages(layer, penalty):
    rows, targets, coefficients = layer
    sample = sampler_of(rows).draw(targets, coefficients, np.full(6, penalty), 100)
    assert len(sample.numbers) > 0
    assert np.isfinite(sample.leverage).all()
    assert np.isfinite(sample.weights).all()


@pytest.mark.parametrize("size", [1e3, 1e9])
def test_a_probe_without_a_doubt_is_sampled_all_the_same(layer, size):
    rows, targets, _ = layer
    sure = size * np.random.default_rng(2).standard_normal((3, 7))
    sample = sampler_of(rows).draw(targets, sure, PENALTIES, 100)
    assert len(sample.numbers) > 0
    assert np.isfinite(sample.weights).all()


def test_columns_that_repeat_or_vanish_are_no_obstacle(make_rows):
    activations, labels = make_rows(500, 6, 3)
    problem = pose(np.column_stack([activations, activations, np.full(500, 7.0)]), labels)
    for dtype in (np.float32, np.float64):
        rows = WorkingRows(problem, NUMPY, dtype)
        sample = sampler_of(rows).draw(Targets.of(problem, NUMPY, dtype), np.zeros((3, 14)), np.zeros(13), 100)
        assert sample.x.dtype == sample.weights.dtype == sample.leverage.dtype == dtype
        assert np.isfinite(sample.leverage).all()
        assert sample.leverage.min() > 0


def test_samples_are_the_same_each_time_and_not_all_alike(layer):
    rows, targets, coefficients = layer
    one, other = sampler_of(rows), sampler_of(rows)
    first = one.draw(targets, coefficients, PENALTIES, 100).numbers
    np.testing.assert_array_equal(first, other.draw(targets, coefficients, PENALTIES, 100).numbers)
    assert first.tolist() != one.draw(targets, coefficients, PENALTIES, 100).numbers.tolist()


def test_a_draw_is_one_reading(layer):
    rows, targets, coefficients = layer
    sampler = sampler_of(rows)
    passes = rows.passes
    sampler.draw(targets, coefficients, PENALTIES, 100)
    assert rows.passes == passes + 1


def test_the_same_on_a_device(make_problem, device):
    problem = make_problem(rows=400, weighted=True)
    at = np.random.default_rng(3).standard_normal((3, 6))
    samples = []
    for backend in (NUMPY, device):
        rows = WorkingRows(problem, backend, np.float64, resident=True)
        targets = Targets.of(problem, backend, np.float64)
        samples.append(
            sampler_of(rows).draw(targets, backend.float64(at), backend.float64(np.full(5, 1e-3)), 100)
        )
    here, there = samples
    np.testing.assert_array_equal(here.numbers, there.numbers._host)
    np.testing.assert_allclose(here.weights, there.weights._host, rtol=1e-9)
    np.testing.assert_array_equal(here.x, there.x._host)


def test_a_small_layer_is_taken_whole_and_as_it_is(layer):
    rows, targets, coefficients = layer
    before = rows.passes
    sample = sampler_of(rows).draw(targets, coefficients, PENALTIES, 1200)
    assert np.array_equal(sample.numbers, np.arange(1200))
    assert (sample.weights == 1).all()
    assert sample.leverage is None
    assert rows.passes == before
