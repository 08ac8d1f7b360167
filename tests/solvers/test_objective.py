"""The objective: its derivatives against finite differences, and what must not change it."""

from dataclasses import replace

import numpy as np
import pytest

from solvers.arrays import NUMPY
from solvers.lbfgs.objective import Ask, Targets, evaluate, logits, padded, softmax
from solvers.lbfgs.working import Frame, WorkingRows
from solvers.problem.problem import pose, pose_together
from solvers.workers.threads import Threads

STEP = 1e-6
# Central differences are off by STEP² third derivatives, plus 1e-16 / STEP of rounding.
DIFFERENCE = 1e-8


def evaluated(problem, *coefficients, backend=NUMPY, rows=None):
    """Cross-entropy and gradient at coefficients in the problem's coordinates, as host values; one reading for all."""
    rows = rows or WorkingRows(problem, backend, np.float64)
    targets, frame = Targets.of(problem, backend, rows.dtype), Frame.of(problem, rows)
    answers = evaluate(rows, [Ask(targets, frame.to_rows(backend.float64(each))) for each in coefficients])
    found = [(each.cross_entropy, backend.to_host(frame.from_rows(each.gradient))) for each in answers]
    return found[0] if len(found) == 1 else found


def coefficients_for(problem, seed=3):
    return 0.3 * np.random.default_rng(seed).standard_normal((len(problem.classes), problem.width + 1))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("classes", [2, 4])
def test_gradient_is_the_finite_difference_of_the_loss(make_problem, classes, scale, weighted):
    problem = make_problem(classes=classes, scale=scale, weighted=weighted)
    at = coefficients_for(problem)
    _, gradient = evaluated(problem, at)
    for index in np.ndindex(at.shape):
        nudge = np.zeros_like(at)
        nudge[index] = STEP
        (above, _), (below, _) = evaluated(problem, at + nudge, at - nudge)
        assert gradient[index] == pytest.approx((above - below) / (2 * STEP), abs=DIFFERENCE)


def test_loss_is_the_textbook_formula(make_problem):
    problem = make_problem(weighted=True, scale=True)
    at = coefficients_for(problem)
    x = (np.asarray(problem.source[:]) - problem.mean) / problem.scale
    z = x @ at[:, :-1].T + at[:, -1]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    expected = -np.average(np.log(p[np.arange(len(x)), problem.codes]), weights=problem.weights)
    assert evaluated(problem, at)[0] == pytest.approx(expected, rel=1e-13)  # the same sums in another order


def test_order_of_rows_does_not_matter(make_rows):
    activations, labels = make_rows(200, 6, 3)
    shuffled = np.random.default_rng(5).permutation(200)
    problem, other = pose(activations, labels), pose(activations[shuffled], labels[shuffled])
    at = coefficients_for(problem)
    (loss, gradient), (loss_other, gradient_other) = evaluated(problem, at), evaluated(other, at)
    assert loss == pytest.approx(loss_other, rel=1e-13)
    np.testing.assert_allclose(gradient, gradient_other, atol=1e-14)


def test_shifting_a_column_does_not_matter(make_rows):
    activations, labels = make_rows(200, 6, 3)
    problem, other = pose(activations, labels), pose(activations + 1000.0, labels)
    at = coefficients_for(problem)
    # 1000 + x holds x to 1e-13.
    np.testing.assert_allclose(evaluated(problem, at)[1], evaluated(other, at)[1], atol=1e-12)


@pytest.mark.parametrize("block_elements", [1, 7 * 80, 1 << 20])
def test_size_of_blocks_does_not_matter(make_problem, block_elements):
    problem = make_problem(rows=500, weighted=True)
    at = coefficients_for(problem)
    loss, gradient = evaluated(problem, at)
    for workers in (1, 3):
        backend = replace(NUMPY, block_elements=block_elements, workers=Threads(workers))
        other = evaluated(problem, at, backend=backend)
        assert loss == pytest.approx(other[0], rel=1e-13)
        np.testing.assert_allclose(gradient, other[1], atol=1e-14)


def test_resident_and_streamed_rows_are_one_problem(make_problem):
    problem = make_problem(weighted=True, scale=True)
    at = coefficients_for(problem)
    resident = WorkingRows(problem, NUMPY, np.float64, resident=True)
    (loss, gradient), (other, there) = evaluated(problem, at, rows=resident), evaluated(problem, at)
    assert loss == other  # the same bits in, the same order of sums
    np.testing.assert_array_equal(gradient, there)


def three_problems(make_rows):
    """Different classes and weights, on rows of which none uses all."""
    activations, labels = make_rows(300, 6, 5)
    weights = [None, np.random.default_rng(1).exponential(size=300), (np.arange(300) % 3 > 0).astype(float)]
    return pose_together(activations, [labels, labels > 1, labels % 3], weights, scale=True)


def test_problems_together_are_what_each_is_alone(make_rows):
    """Stacked columns share a product; labels, weights and sums do not mix."""
    problems = three_problems(make_rows)
    rows = WorkingRows(problems[0], NUMPY, np.float64)
    asks = [
        Ask(Targets.of(each, NUMPY, np.float64), Frame.of(each, rows).to_rows(coefficients_for(each)))
        for each in problems
    ]
    asks.append(Ask(asks[0].targets, 2 * asks[0].coefficients))
    together = evaluate(rows, asks)
    for ask, answer in zip(asks, together, strict=True):
        (alone,) = evaluate(rows, [ask])
        # Products of another shape round in another order.
        assert answer.cross_entropy == pytest.approx(alone.cross_entropy, rel=1e-13)
        np.testing.assert_allclose(answer.gradient, alone.gradient, atol=1e-14)


def test_rows_of_weight_zero_are_not_there(make_rows):
    activations, labels = make_rows(200, 6, 3)
    weights = (np.arange(200) % 3 > 0).astype(float)
    _, problem = pose_together(activations, [labels, labels], [None, weights])
    alone = pose(activations[weights > 0], labels[weights > 0])
    at = coefficients_for(problem)
    loss, gradient = evaluated(problem, at)
    expected, there = evaluated(alone, at)
    assert loss == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(gradient, there, atol=1e-14)


@pytest.mark.parametrize("resident", [False, True])
def test_an_evaluation_is_one_reading_for_any_number_of_columns(make_rows, resident):
    activations, labels = make_rows(300, 6, 3)
    problem = pose(activations.astype(np.float16), labels)
    rows = WorkingRows(problem, NUMPY, np.float32, resident=resident)
    passes, read = rows.passes, rows.bytes_read
    evaluated(problem, *[coefficients_for(problem, seed) for seed in range(7)], rows=rows)
    assert rows.passes - passes == 1
    assert rows.bytes_read - read == 300 * 6 * (4 if resident else 2)


@pytest.mark.parametrize("size", [1e3, 1e30])
def test_logits_beyond_any_exponential_have_a_loss_and_a_gradient(make_problem, size):
    problem = make_problem()
    loss, gradient = evaluated(problem, size * coefficients_for(problem))
    assert np.isfinite(loss)
    assert loss > 0
    assert np.isfinite(gradient).all()


def test_products_are_padded_with_columns_that_no_one_sees(make_problem):
    problem = make_problem()
    at = coefficients_for(problem)
    weights, intercepts, ends = padded(np, [at, at + 1], np.float64)
    assert weights.shape == (problem.width, 16)
    assert ends == [0, 3, 6]
    x = np.random.default_rng(0).standard_normal((9, problem.width))
    z = logits(np, x, weights, intercepts)
    np.testing.assert_allclose(z[3:], (x @ (at + 1)[:, :-1].T + (at + 1)[:, -1]).T, atol=1e-13)
    p, normaliser = softmax(np, z[:3])
    np.testing.assert_allclose(p, np.exp(z[:3] - normaliser), rtol=1e-13)
    np.testing.assert_allclose(p.sum(axis=0), 1.0, rtol=1e-14)


def test_float32_rows_give_the_gradient_to_their_rounding(make_problem):
    problem = make_problem(rows=300, weighted=True, scale=True)
    at = coefficients_for(problem)
    single = evaluated(problem, at, rows=WorkingRows(problem, NUMPY, np.float32))
    loss, gradient = evaluated(problem, at)
    # Each row's terms are good to a few eps of float32, 1e-7; their sum is made in float64 between blocks.
    assert single[0] == pytest.approx(loss, rel=1e-6)
    np.testing.assert_allclose(single[1], gradient, atol=1e-6)


def test_the_same_on_a_device(make_problem, device):
    problem = make_problem(weighted=True)
    at = coefficients_for(problem)
    loss, gradient = evaluated(problem, at)
    there = evaluated(problem, at, backend=device)
    assert loss == pytest.approx(there[0], rel=1e-13)
    np.testing.assert_allclose(gradient, there[1], atol=1e-14)
