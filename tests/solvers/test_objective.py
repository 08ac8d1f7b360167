"""The objective: its derivatives against finite differences, and what must not change it."""

from dataclasses import replace

import numpy as np
import pytest

from solvers import objective
from solvers.backend import NUMPY
from solvers.lbfgs import Metric
from solvers.objective import Targets
from solvers.problem import pose
from solvers.working import ResidentRows, StreamedRows

STEP = 1e-6
# Central differences are off by STEP² third derivatives, plus 1e-16 / STEP of rounding.
DIFFERENCE = 1e-8


def evaluate(problem, coefficients, backend=NUMPY, rows=None):
    """Cross-entropy and gradient at coefficients, as host values."""
    rows = rows or StreamedRows(problem, backend)
    targets = Targets.of(problem, backend, np.float64)
    z = objective.logits(rows, backend.float64(coefficients))
    residuals = backend.xp.empty_like(z)
    loss = objective.residuals(rows, targets, z, residuals)
    return loss, backend.to_host(objective.gradient(rows, residuals))


def coefficients_for(problem, seed=3):
    return 0.3 * np.random.default_rng(seed).standard_normal((len(problem.classes), problem.width + 1))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("classes", [2, 4])
def test_gradient_is_the_finite_difference_of_the_loss(make_problem, classes, scale, weighted):
    problem = make_problem(classes=classes, scale=scale, weighted=weighted)
    at = coefficients_for(problem)
    _, gradient = evaluate(problem, at)
    for index in np.ndindex(at.shape):
        nudge = np.zeros_like(at)
        nudge[index] = STEP
        above, below = evaluate(problem, at + nudge)[0], evaluate(problem, at - nudge)[0]
        assert gradient[index] == pytest.approx((above - below) / (2 * STEP), abs=DIFFERENCE)


def test_loss_is_the_textbook_formula(make_problem):
    problem = make_problem(weighted=True, scale=True)
    at = coefficients_for(problem)
    x = (np.asarray(problem.source[:]) - problem.mean) / problem.scale
    z = x @ at[:, :-1].T + at[:, -1]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    expected = -np.average(np.log(p[np.arange(len(x)), problem.codes]), weights=problem.weights)
    assert evaluate(problem, at)[0] == pytest.approx(expected, rel=1e-13)  # the same sums in another order


@pytest.mark.parametrize("weighted", [False, True])
def test_slope_along_a_line_is_the_gradient_times_the_direction(make_problem, weighted):
    problem = make_problem(weighted=weighted)
    rows, targets = StreamedRows(problem, NUMPY), Targets.of(problem, NUMPY, np.float64)
    at, along = coefficients_for(problem), coefficients_for(problem, seed=4)
    z, delta = objective.logits(rows, at), objective.logits(rows, along)
    out = np.empty_like(z)
    loss, slope = objective.residuals_along(rows, targets, (z, delta, 0.7), out)
    there, gradient = evaluate(problem, at + 0.7 * along)
    # Equal in exact arithmetic; the sums run in another order.
    assert loss == pytest.approx(there, rel=1e-12)
    assert slope == pytest.approx(np.vdot(gradient, along), rel=1e-11)


@pytest.mark.parametrize("weighted", [False, True])
def test_metric_is_the_hessian_of_each_class_up_to_correlations(make_problem, weighted):
    problem = make_problem(weighted=weighted, width=4)
    rows, targets = ResidentRows(problem, NUMPY), Targets.of(problem, NUMPY, np.float64)
    at = coefficients_for(problem)
    first, second = objective.curvature(rows, targets, objective.logits(rows, at))
    metric = Metric.of(first, second, np.zeros(5))
    for k in range(len(problem.classes)):
        hessian = np.empty((5, 5))
        for j in range(5):
            nudge = np.zeros_like(at)
            nudge[k, j] = STEP
            up, down = (evaluate(problem, at + sign * nudge, rows=rows)[1][k] for sign in (1, -1))
            hessian[:, j] = (up - down) / (2 * STEP)
        # Taking the intercept at the center leaves the Schur complement; the metric is its diagonal.
        schur = hessian[:4, :4] - np.outer(hessian[:4, 4], hessian[:4, 4]) / hessian[4, 4]
        np.testing.assert_allclose(metric.center[k], hessian[:4, 4] / hessian[4, 4], atol=1e-6)
        np.testing.assert_allclose(metric.diagonal[k, :4], np.diag(schur), atol=1e-7)
        assert metric.diagonal[k, 4] == pytest.approx(hessian[4, 4], rel=1e-6)


def test_order_of_rows_does_not_matter(make_rows):
    activations, labels = make_rows(200, 6, 3)
    shuffled = np.random.default_rng(5).permutation(200)
    problem, other = pose(activations, labels), pose(activations[shuffled], labels[shuffled])
    at = coefficients_for(problem)
    (loss, gradient), (loss_other, gradient_other) = evaluate(problem, at), evaluate(other, at)
    assert loss == pytest.approx(loss_other, rel=1e-13)
    np.testing.assert_allclose(gradient, gradient_other, atol=1e-14)


def test_shifting_a_column_does_not_matter(make_rows):
    activations, labels = make_rows(200, 6, 3)
    problem, other = pose(activations, labels), pose(activations + 1000.0, labels)
    at = coefficients_for(problem)
    # 1000 + x holds x to 1e-13.
    np.testing.assert_allclose(evaluate(problem, at)[1], evaluate(other, at)[1], atol=1e-12)


@pytest.mark.parametrize("block_elements", [1, 7, 64, 1 << 20])
def test_size_of_blocks_does_not_matter(make_problem, monkeypatch, block_elements):
    problem = make_problem(weighted=True)
    at = coefficients_for(problem)
    loss, gradient = evaluate(problem, at)
    monkeypatch.setattr("solvers.working._PRODUCT_ELEMENTS", block_elements)
    other = evaluate(problem, at, replace(NUMPY, block_elements=block_elements))
    assert loss == pytest.approx(other[0], rel=1e-13)
    np.testing.assert_allclose(gradient, other[1], atol=1e-14)


def test_resident_and_streamed_rows_are_one_problem(make_problem):
    problem = make_problem(weighted=True, scale=True)
    resident = ResidentRows(problem, NUMPY)
    streamed = StreamedRows(problem, NUMPY, resident.basis)
    at = coefficients_for(problem)
    (loss, gradient), (other, there) = (
        evaluate(problem, at, rows=resident),
        evaluate(problem, at, rows=streamed),
    )
    assert loss == pytest.approx(other, rel=1e-12)
    np.testing.assert_allclose(gradient, there, atol=1e-13)


def test_the_same_on_a_device(make_problem, device):
    problem = make_problem(weighted=True)
    at = coefficients_for(problem)
    loss, gradient = evaluate(problem, at)
    there = evaluate(problem, at, device)
    assert loss == pytest.approx(there[0], rel=1e-13)
    np.testing.assert_allclose(gradient, there[1], atol=1e-14)
