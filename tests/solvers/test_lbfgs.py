"""The descent: the pairs, what they add up to, and the estimate of the gap."""

from dataclasses import replace

import numpy as np
import pytest

from solvers.arrays import NUMPY
from solvers.lbfgs import direction as lbfgs
from solvers.lbfgs.direction import State
from solvers.lbfgs.metric import NO_METRIC, Metric

SHAPE = (3, 5)


def draw(seed):
    """Coefficients of sum zero over classes, as every step and gradient is."""
    drawn = np.random.default_rng(seed).standard_normal(SHAPE)
    return drawn - drawn.mean(axis=0)


def state_of(gradient, metric=NO_METRIC, penalty=0.1):
    return State(penalty, draw(0), 1.0, gradient, metric)


def moved(state, step, change):
    """The state at the end of a step along which the gradient changed."""
    return replace(state, coefficients=state.coefficients + step, gradient=state.gradient + change, pairs=())


@pytest.fixture
def metric():
    generator = np.random.default_rng(1)
    center, root = generator.standard_normal((3, 4)), generator.uniform(0.5, 2.0, (3, 4))
    return Metric(center, generator.uniform(0.5, 2.0, (3, 1)), root)


def test_penalised_adds_the_penalty_and_its_gradient_to_the_weights_alone():
    at, gradient = draw(1), draw(2)
    state = lbfgs.penalised(NUMPY, 0.3, at, 2.0, gradient)
    assert state.loss == pytest.approx(2.0 + 0.15 * np.sum(at[:, :-1] ** 2), rel=1e-14)
    np.testing.assert_allclose(state.gradient[:, :-1], gradient[:, :-1] + 0.3 * at[:, :-1], rtol=1e-14)
    np.testing.assert_array_equal(state.gradient[:, -1], gradient[:, -1])
    np.testing.assert_array_equal(gradient, draw(2))


def test_direction_descends_and_keeps_the_sum_over_classes(metric):
    state = state_of(draw(3), metric)
    for seed in range(4, 24):  # more pairs than are kept
        direction = lbfgs.direction(NUMPY, state)
        assert np.vdot(direction, state.gradient) < 0
        np.testing.assert_allclose(direction.sum(axis=0), 0, atol=1e-12)
        change = 0.1 * draw(seed) + direction  # curvature along the step, as convexity has it
        state = lbfgs.advance(NUMPY, state, moved(state, 0.5 * direction, change))
    assert len(state.pairs) == 12


def test_last_pair_meets_the_secant_equation(metric):
    state = state_of(draw(3), metric)
    step, change = draw(4), draw(4) + 0.2 * draw(5)
    after = lbfgs.advance(NUMPY, state, moved(state, step, change))
    assert len(after.pairs) == 1
    # H y = s, read off the direction of a state whose gradient is y.
    np.testing.assert_allclose(-lbfgs.direction(NUMPY, replace(after, gradient=change)), step, atol=1e-12)


def test_first_direction_is_the_metrics_and_later_ones_have_its_units(metric):
    gradient = draw(3)
    first = lbfgs.direction(NUMPY, state_of(gradient, metric))
    np.testing.assert_allclose(first, -metric.solve(NUMPY, gradient), rtol=1e-14)
    # A metric wrong by one factor everywhere: after a pair it does not show.
    directions = []
    for factor in (1.0, 1e4):
        wrong = Metric(metric.center, metric.mass * factor, metric.root * factor**0.5)
        state = state_of(gradient, wrong)
        state = lbfgs.advance(NUMPY, state, moved(state, draw(4), draw(4) + 0.2 * draw(5)))
        directions.append(lbfgs.direction(NUMPY, state))
    np.testing.assert_allclose(directions[0], directions[1], rtol=1e-9)  # 1e4 and its root round


def test_pair_without_curvature_is_left_out(metric):
    state = state_of(draw(3), metric)
    assert lbfgs.advance(NUMPY, state, moved(state, draw(4), np.zeros(SHAPE))).pairs == ()
    assert lbfgs.advance(NUMPY, state, moved(state, draw(4), -draw(4))).pairs == ()


def test_advance_keeps_the_metric_and_where_it_came_to(metric):
    state = state_of(draw(3), metric)
    there = replace(moved(state, draw(4), draw(4)), loss=0.5, metric=NO_METRIC)
    after = lbfgs.advance(NUMPY, state, there)
    assert after.metric is metric
    assert (after.loss, after.penalty) == (0.5, state.penalty)
    np.testing.assert_array_equal(after.coefficients, there.coefficients)


def test_states_are_not_changed_by_a_step(metric):
    state = state_of(draw(3), metric)
    state = lbfgs.advance(NUMPY, state, moved(state, draw(4), draw(4)))
    kept = [each.copy() for each in (state.coefficients, state.gradient, state.pairs[0].step)]
    lbfgs.gap_estimate(NUMPY, state)
    direction = lbfgs.direction(NUMPY, state)
    lbfgs.advance(NUMPY, state, moved(state, direction, direction))
    for before, now in zip(kept, (state.coefficients, state.gradient, state.pairs[0].step), strict=True):
        np.testing.assert_array_equal(before, now)


def test_gap_estimate_is_the_gradient_over_twice_the_penalty_where_the_intercept_is_exact():
    gradient = 0.1 * draw(3)
    gradient[:, -1] = 0
    state = state_of(gradient, penalty=0.25)
    assert lbfgs.gap_estimate(NUMPY, state) == pytest.approx(np.sum(gradient**2) / (2 * 0.25), rel=1e-14)


def test_gap_estimate_takes_the_intercept_to_its_optimum_first(metric):
    """What is gained on the way there, and the gradient by the weights that is left then."""
    gradient = 0.01 * draw(3)
    left = gradient[:, :-1] - metric.center * gradient[:, -1:]
    gained = 0.5 * np.sum(gradient[:, -1:] ** 2 / metric.mass)
    expected = np.sum(left**2) / (2 * 0.25) + gained
    assert lbfgs.gap_estimate(NUMPY, state_of(gradient, metric, 0.25)) == pytest.approx(expected, rel=1e-14)


def test_gap_estimate_without_a_penalty_is_the_norm_of_the_gradient():
    gradient = 0.1 * draw(3)
    expected = np.linalg.norm(gradient[:, :-1])
    assert lbfgs.gap_estimate(NUMPY, state_of(gradient, penalty=0.0)) == pytest.approx(expected, rel=1e-14)


def test_gap_estimate_is_no_more_than_the_loss():
    state = state_of(100 * draw(3))
    assert lbfgs.gap_estimate(NUMPY, state) == state.loss
