"""The descent: a model of the Hessian, the pairs, and what they add up to."""

from dataclasses import replace

import numpy as np
import pytest

from solvers import lbfgs
from solvers.backend import NUMPY
from solvers.lbfgs import Metric, Products

SHAPE = (3, 5)


def draw(seed):
    """Coefficients of sum zero over classes, as every step and gradient is."""
    drawn = np.random.default_rng(seed).standard_normal(SHAPE)
    return drawn - drawn.mean(axis=0)


def state_of(gradient, metric=None, penalty=0.1):
    start = lbfgs.init(NUMPY, draw(0), penalty)
    products = Products(np.zeros(1), 1.0, gradient - start.penalty * start.coefficients)
    return lbfgs.refresh(start, products, metric or Metric(np.zeros((3, 4)), np.ones(SHAPE)))


@pytest.fixture
def metric():
    generator = np.random.default_rng(1)
    return Metric(generator.standard_normal((3, 4)), generator.uniform(0.5, 2.0, SHAPE))


def test_metric_solve_inverts_the_arrow_it_stands_for(metric):
    vector = np.random.default_rng(2).standard_normal(SHAPE)
    blocks = []
    for center, diagonal in zip(metric.center, metric.diagonal, strict=True):
        # x -> (x - center, 1) turns the diagonal into the Hessian of columns and intercept.
        turn = np.eye(5)
        turn[:4, 4] = center
        blocks.append(np.linalg.solve(turn @ np.diag(diagonal) @ turn.T, vector[len(blocks)]))
    expected = np.array(blocks)
    np.testing.assert_allclose(metric.solve(vector), expected - expected.mean(axis=0), atol=1e-12)


def test_direction_descends_and_keeps_the_sum_over_classes(metric):
    state = state_of(draw(3), metric)
    for seed in range(4, 12):
        direction = lbfgs.direction(NUMPY, state)
        assert np.vdot(direction, state.gradient) < 0
        np.testing.assert_allclose(direction.sum(axis=0), 0, atol=1e-12)
        change = draw(seed) * 0.1 + direction  # curvature along the step, as convexity has it
        products = Products(np.zeros(1), 0.5, state.gradient + change - state.penalty * state.coefficients)
        state = lbfgs.advance(NUMPY, state, 0.5 * direction, products)


def test_last_pair_meets_the_secant_equation(metric):
    state = state_of(draw(3), metric)
    step, change = draw(4), draw(4) + 0.2 * draw(5)
    gradient = state.gradient + change
    products = Products(np.zeros(1), 0.5, gradient - state.penalty * (state.coefficients + step))
    moved = lbfgs.advance(NUMPY, state, step, products)
    assert len(moved.pairs) == 1
    # H y = s, read off the direction of a state whose gradient is y.
    np.testing.assert_allclose(-lbfgs.direction(NUMPY, replace(moved, gradient=change)), step, atol=1e-12)


def test_pair_without_curvature_is_left_out():
    state = state_of(draw(3))
    step = draw(4)
    unchanged = state.gradient - state.penalty * (state.coefficients + step)
    assert lbfgs.advance(NUMPY, state, step, Products(np.zeros(1), 0.5, unchanged)).pairs == ()


def test_states_are_not_changed_by_a_step(metric):
    state = state_of(draw(3), metric)
    before = state.coefficients.copy(), state.gradient.copy()
    direction = lbfgs.direction(NUMPY, state)
    lbfgs.advance(NUMPY, state, direction, Products(np.zeros(1), 0.5, draw(6)))
    np.testing.assert_array_equal(before, (state.coefficients, state.gradient))
    with pytest.raises(AttributeError, match="cannot assign to field"):
        state.loss = 0.0


def test_gap_estimate_is_the_certificates_formula_where_the_intercept_is_exact():
    gradient = 0.1 * draw(3)
    gradient[:, -1] = 0
    state = state_of(gradient, penalty=0.25)
    assert lbfgs.gap_estimate(NUMPY, state) == pytest.approx(np.sum(gradient**2) / (2 * 0.25), rel=1e-14)


def test_gap_estimate_is_no_more_than_the_loss():
    state = state_of(100 * draw(3))
    assert lbfgs.gap_estimate(NUMPY, state) == state.loss
