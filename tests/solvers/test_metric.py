"""The model of each class's Hessian: exact where it is made of all rows, finite and positive wherever it is made."""

from dataclasses import replace

import numpy as np
import pytest

from solvers.arrays import NUMPY
from solvers.lbfgs.metric import NO_METRIC, Curvature, Metric, Point, bend, measure
from solvers.lbfgs.objective import Targets
from solvers.lbfgs.sampling import Sample, Sampler
from solvers.lbfgs.working import Frame, WorkingRows
from solvers.problem.problem import pose
from solvers.workers.threads import Threads


def all_rows(rows):
    """A sample of every row, of one leverage, so that a row's importance to a class is its curvature alone."""
    numbers = np.arange(rows.rows)
    ones = rows.backend.xp.asarray(np.ones(rows.rows, dtype=rows.dtype))
    return Sample(rows.backend.xp.asarray(numbers), rows.pick(numbers), ones, ones)


def measured(problem, coefficients, dtype=np.float64, backend=NUMPY, **settings):
    rows = WorkingRows(problem, backend, dtype, resident=True)
    at = Point(Targets.of(problem, backend, dtype), Frame.of(problem, rows), backend.float64(coefficients))
    return measure(backend, all_rows(rows), at, **{"blocks": True, **settings})


def schur_of(hessian):
    """What is left of a class's block (width + 1, width + 1) once its intercept is solved for."""
    return hessian[:-1, :-1] - np.outer(hessian[:-1, -1], hessian[:-1, -1]) / hessian[-1, -1]


def hessians(problem, coefficients, penalty):
    """Each class's own block of the Hessian (width + 1, width + 1), in the problem's coordinates, by its definition."""
    x = (np.asarray(problem.source[:], dtype=np.float64) - problem.mean) / problem.scale
    x = np.column_stack([x, np.ones(len(x))])
    z = x @ coefficients.T
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    weights = np.ones(len(x)) if problem.weights is None else problem.weights
    ridge = np.diag(np.append(np.full(problem.width, penalty), 0.0))
    return [(x * (weights * p_k * (1 - p_k))[:, None]).T @ x / len(x) + ridge for p_k in p.T]


def doubtful(problem, seed=3):
    """Coefficients so small that every row counts for every class (none is left out as unimportant)."""
    return 0.1 * np.random.default_rng(seed).standard_normal((len(problem.classes), problem.width + 1))


@pytest.fixture(params=[(2, False, False), (4, True, False), (3, False, True), (4, True, True)], ids=str)
def problem(request, make_problem):
    classes, weighted, scale = request.param
    problem = make_problem(rows=200, classes=classes, scale=scale)
    if not weighted:
        return problem
    # Weights within a factor of three: no row is unimportant.
    weights = np.random.default_rng(5).uniform(0.5, 1.5, size=200)
    return pose(problem.source, problem.codes, weights, scale=scale)


def test_solving_is_multiplying_by_the_inverse_of_each_class_hessian(problem, monkeypatch):
    """Under every penalty that the same curvature is put."""
    monkeypatch.setattr("solvers.lbfgs.metric.JITTER", 1e-15)  # in float64 no more is needed
    at, vector = doubtful(problem), np.random.default_rng(6).standard_normal((len(problem.classes), 6))
    curvature = measured(problem, at)
    for penalty in (1e-6, 0.05, 10.0, 1e-6):
        blocks = hessians(problem, at, penalty)
        exact = np.array([np.linalg.solve(h, v) for h, v in zip(blocks, vector, strict=True)])
        found = curvature.under(NUMPY, penalty).solve(NUMPY, vector)
        # The floor of the mass, 1e-10 of it, and the solve's rounding.
        np.testing.assert_allclose(
            found, exact - exact.mean(axis=0), rtol=1e-8, atol=1e-8 * np.abs(exact).max()
        )


def test_the_bend_along_a_direction_is_that_of_each_class_by_itself(problem):
    """Exactly the curvature for two classes, which are one row; else without what classes take from one another."""
    at = doubtful(problem)
    along = np.random.default_rng(6).standard_normal(at.shape)
    rows = WorkingRows(problem, NUMPY, np.float64, resident=True)
    here = Point(Targets.of(problem, NUMPY, np.float64), Frame.of(problem, rows), at)
    found = bend(NUMPY, all_rows(rows), here, along)
    expected = sum(v @ h @ v for h, v in zip(hessians(problem, at, 0.0), along, strict=True))
    assert found == pytest.approx(expected, rel=1e-10)


def test_jitter_costs_little(problem):
    at, penalty = doubtful(problem), 0.05
    metric = measured(problem, at).under(NUMPY, penalty)
    for k, hessian in enumerate(hessians(problem, at, penalty)):
        alone = np.zeros(at.shape)
        alone[k] = np.random.default_rng(k).standard_normal(at.shape[1])
        exact = np.linalg.solve(hessian, alone[k])
        step = metric.solve(NUMPY, alone)
        others = step[k] - step[(k + 1) % len(at)]  # what is common to all classes was taken out
        # A jitter of 1e-5 on a unit diagonal of least eigenvalue 0.1 or more.
        np.testing.assert_allclose(others, exact, atol=1e-3 * np.abs(exact).max())


def test_blocks_are_those_of_each_class_hessian_about_its_own_mean(problem):
    at = doubtful(problem)
    curvature = measured(problem, at)
    stretch = curvature.frame.stretch
    for k, hessian in enumerate(hessians(problem, at, 0.0)):
        schur = schur_of(hessian)
        block = curvature.blocks[k] * stretch[:, None] * stretch
        np.testing.assert_allclose(block, schur, atol=1e-9 * np.abs(schur).max())
        np.testing.assert_allclose(curvature.spread[k] * stretch**2, np.diag(schur), rtol=1e-8)
        assert curvature.mass[k, 0] == pytest.approx(hessian[-1, -1], rel=1e-8)
        center = curvature.mean[k] * stretch + curvature.frame.offset
        np.testing.assert_allclose(center, hessian[:-1, -1] / hessian[-1, -1], atol=1e-8)


def test_the_diagonal_alone_is_the_diagonal_of_the_blocks(problem):
    at, vector = doubtful(problem), np.random.default_rng(6).standard_normal((len(problem.classes), 6))
    whole, plain = measured(problem, at), measured(problem, at, blocks=False)
    assert plain.blocks is None
    assert plain.under(NUMPY, 0.05).factors is None
    # The diagonal is of the problem's own coordinates, in which it is solved; blocks are of the rows'.
    np.testing.assert_allclose(plain.spread, whole.spread * whole.frame.stretch**2, rtol=1e-9)
    exact = []
    for hessian, v in zip(hessians(problem, at, 0.05), vector, strict=True):
        center = hessian[:-1, -1] / hessian[-1, -1]
        schur = hessian[:-1, :-1] - np.outer(hessian[:-1, -1], center)
        weights = (v[:-1] - center * v[-1]) / np.diag(schur)
        exact.append(np.append(weights, v[-1] / hessian[-1, -1] - center @ weights))
    exact = np.array(exact) - np.mean(exact, axis=0)
    np.testing.assert_allclose(plain.under(NUMPY, 0.05).solve(NUMPY, vector), exact, atol=1e-7)


def test_the_diagonal_in_a_basis_is_that_of_the_turned_hessian_and_solving_its_inverse(problem):
    at, vector = doubtful(problem), np.random.default_rng(6).standard_normal((len(problem.classes), 6))
    rows = WorkingRows(problem, NUMPY, np.float64, resident=True)
    basis = Sampler(rows, 200, whole=True).basis(Frame.of(problem, rows).stretch)
    np.testing.assert_allclose(basis.T @ basis, np.eye(5), atol=1e-12)
    assert np.abs(basis).max(axis=0).min() < 0.99  # not the columns themselves, which would show nothing
    curvature = measured(problem, at, blocks=False, basis=basis)
    assert curvature.blocks is None
    exact = []
    for k, hessian in enumerate(hessians(problem, at, 0.0)):
        turned = np.diag(basis.T @ schur_of(hessian) @ basis)
        np.testing.assert_allclose(curvature.spread[k], turned, rtol=1e-8)
        center, v = hessian[:-1, -1] / hessian[-1, -1], vector[k]
        weights = basis @ ((basis.T @ (v[:-1] - center * v[-1])) / (turned + 0.05))
        exact.append(np.append(weights, v[-1] / hessian[-1, -1] - center @ weights))
    exact = np.array(exact) - np.mean(exact, axis=0)
    # The floor of the mass, 1e-10 of it, and rounding.
    metric = curvature.under(NUMPY, 0.05)
    np.testing.assert_allclose(metric.solve(NUMPY, vector), exact, atol=1e-8 * np.abs(exact).max())


def test_the_diagonal_in_the_basis_is_closer_to_the_hessian_than_that_of_the_columns(make_rows):
    """Where columns are correlated, which is what the basis is for."""
    activations, labels = make_rows(400, 6, 3)
    problem = pose(activations @ np.random.default_rng(2).standard_normal((6, 6)), labels)
    rows = WorkingRows(problem, NUMPY, np.float64, resident=True)
    basis = Sampler(rows, 400, whole=True).basis(Frame.of(problem, rows).stretch)
    at = 0.1 * np.random.default_rng(3).standard_normal((3, 7))
    conditions = {}
    for name, turn in (("columns", None), ("basis", basis)):
        curvature = measured(problem, at, blocks=False, basis=turn)
        axes = np.eye(6) if turn is None else turn
        conditions[name] = [
            np.linalg.cond((axes.T @ schur_of(h) @ axes) / np.sqrt(np.outer(d, d)))
            for h, d in zip(hessians(problem, at, 0.0), curvature.spread, strict=True)
        ]
    assert max(conditions["basis"]) < min(conditions["columns"])


@pytest.mark.parametrize("blocks", [False, True])
def test_under_another_penalty_is_what_making_it_there_gives(problem, blocks):
    at, vector = doubtful(problem), np.random.default_rng(6).standard_normal((len(problem.classes), 6))
    curvature = measured(problem, at, blocks=blocks)
    for penalty in (1e-6, 1e-2, 10.0):
        solved = curvature.under(NUMPY, penalty).solve(NUMPY, vector)
        anew = measured(problem, at, blocks=blocks).under(NUMPY, penalty).solve(NUMPY, vector)
        np.testing.assert_array_equal(solved, anew)


def test_steps_have_sum_zero_over_classes_and_descend(problem):
    generator, at = np.random.default_rng(7), doubtful(problem)
    for dtype in (np.float32, np.float64):
        metric = measured(problem, at, dtype).under(NUMPY, 1e-3)
        for _ in range(5):
            gradient = generator.standard_normal(at.shape)
            gradient -= gradient.mean(axis=0)
            step = metric.solve(NUMPY, gradient)
            np.testing.assert_allclose(step.sum(axis=0), 0, atol=1e-9 * np.abs(step).max())
            assert np.sum(step * gradient) > 0


def test_solve_leaves_its_gradient_alone(problem):
    gradient = np.random.default_rng(6).standard_normal((len(problem.classes), 6))
    kept = gradient.copy()
    measured(problem, doubtful(problem)).under(NUMPY, 1e-3).solve(NUMPY, gradient)
    np.testing.assert_array_equal(gradient, kept)


def test_no_metric_is_the_identity_on_what_has_sum_zero():
    gradient = np.random.default_rng(6).standard_normal((3, 6))
    gradient -= gradient.mean(axis=0)
    np.testing.assert_allclose(NO_METRIC.solve(NUMPY, gradient), gradient, atol=1e-15)
    np.testing.assert_array_equal(NO_METRIC.centered(gradient), gradient)


def test_rows_of_little_importance_to_a_class_cost_its_block_little(make_problem):
    problem = make_problem(rows=400)
    at = 3 * np.random.default_rng(3).standard_normal((3, 6))
    curvature = measured(problem, at)
    stretch = curvature.frame.stretch
    for k, hessian in enumerate(hessians(problem, at, 0.0)):
        schur = schur_of(hessian)
        block = curvature.blocks[k] * stretch[:, None] * stretch
        # Each row left out has less than a hundredth of the mean importance.
        assert 0 < np.linalg.norm(block - schur) <= 0.02 * np.linalg.norm(schur)


def test_a_sample_of_the_rows_makes_a_metric_close_to_that_of_all(make_rows):
    activations, labels = make_rows(4000, 6, 3)
    problem = pose(activations, labels)
    rows = WorkingRows(problem, NUMPY, np.float64, resident=True)
    targets, frame = Targets.of(problem, NUMPY, np.float64), Frame.of(problem, rows)
    at = 0.5 * np.random.default_rng(3).standard_normal((3, 7))
    sample = Sampler(rows, 4000, whole=True).draw(targets, frame.to_rows(at), np.full(6, 1e-3), 800)
    assert len(sample.numbers) < 1000
    found = measure(NUMPY, sample, Point(targets, frame, at), blocks=True)
    for k, hessian in enumerate(hessians(problem, at, 1e-3)):
        schur = schur_of(hessian)
        half = np.linalg.inv(np.linalg.cholesky(schur))
        whitened = half @ (found.blocks[k] * np.outer(frame.stretch, frame.stretch) + 1e-3 * np.eye(6)) @ half.T
        # 800 rows for 6 directions and 3 classes: a third off at the worst of them, and mostly far less.
        assert np.linalg.eigvalsh(whitened).min() > 0.66
        assert np.linalg.eigvalsh(whitened).max() < 1.5


def stretched(problem, factor):
    """The same rows, as a problem sees them whose own columns are ``factor`` times as large."""
    return replace(problem, scale=problem.scale / factor)


FACTORS = {"tiny": 1e-30, "huge": 1e30, "mixed": np.array([1e-30, 1.0, 0.0, 1e30, 1.0]), "none": 0.0}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["blocks", "diagonal", "basis"])
@pytest.mark.parametrize("penalty", [0.0, 1e-300, 1e-3, 1e30])
@pytest.mark.parametrize("name", FACTORS)
def test_columns_of_any_size_have_a_metric(make_problem, name, penalty, kind, dtype):
    problem = make_problem(rows=200, scale=True)
    with np.errstate(divide="ignore"):
        problem = stretched(problem, np.asarray(FACTORS[name]))
    rows = WorkingRows(problem, NUMPY, dtype, resident=True)
    basis = Sampler(rows, 200, whole=True).basis(Frame.of(problem, rows).stretch) if kind == "basis" else None
    curvature = measured(problem, np.zeros((3, 6)), dtype, blocks=kind == "blocks", basis=basis)
    metric = curvature.under(NUMPY, penalty)
    stretch = np.broadcast_to(1 / problem.scale, 5)
    gradient = np.random.default_rng(8).standard_normal((3, 6)) * np.append(stretch, 1.0)
    gradient -= gradient.mean(axis=0)
    step = metric.solve(NUMPY, gradient)
    assert np.isfinite(step).all()
    assert np.sum(step * gradient) > 0
    assert np.isfinite(metric.centered(gradient)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_and_repeated_columns_have_a_metric(make_rows, dtype):
    activations, labels = make_rows(200, 4, 3)
    columns = [activations, activations, np.full(200, 7.0), np.zeros(200)]
    for scale in (False, True):
        problem = pose(np.column_stack(columns), labels, scale=scale)
        for penalty in (0.0, 1e-12, 1.0):
            metric = measured(problem, np.zeros((3, 11)), dtype).under(NUMPY, penalty)
            gradient = np.random.default_rng(8).standard_normal((3, 11))
            gradient[:, 8:10] = 0  # nothing can be learnt from what does not vary
            gradient -= gradient.mean(axis=0)
            step = metric.solve(NUMPY, gradient)
            assert np.isfinite(step).all()
            assert np.sum(step * gradient) > 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [False, True])
def test_columns_that_all_stay_the_same_leave_a_metric_of_the_intercept(dtype, scale):
    problem = pose(np.full((50, 4), 7.0), np.arange(50) % 3, scale=scale)
    for penalty in (0.0, 1e-2):
        metric = measured(problem, np.zeros((3, 5)), dtype).under(NUMPY, penalty)
        gradient = np.zeros((3, 5))
        gradient[:, -1] = [0.2, 0.1, -0.3]
        # Each class has p = 1/3, and 2/9 of the curvature.
        np.testing.assert_allclose(metric.solve(NUMPY, gradient), 4.5 * gradient, rtol=1e-6)


@pytest.mark.parametrize("size", [30.0, 1e3, 1e9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_probe_without_a_doubt_has_a_metric(make_problem, dtype, size):
    problem = make_problem(rows=200)
    at = size * np.random.default_rng(3).standard_normal((3, 6))
    metric = measured(problem, at, dtype).under(NUMPY, 1e-2)
    gradient = np.random.default_rng(8).standard_normal((3, 6))
    gradient -= gradient.mean(axis=0)
    step = metric.solve(NUMPY, gradient)
    assert np.isfinite(step).all()
    assert np.sum(step * gradient) > 0


def test_fewer_rows_than_columns_have_a_metric(make_rows):
    activations, labels = make_rows(10, 40, 2)
    problem = pose(activations, labels)
    for dtype in (np.float32, np.float64):
        metric = measured(problem, np.zeros((2, 41)), dtype).under(NUMPY, 1e-9)
        gradient = np.random.default_rng(8).standard_normal((2, 41))
        gradient -= gradient.mean(axis=0)
        step = metric.solve(NUMPY, gradient)
        assert np.isfinite(step).all()
        assert np.sum(step * gradient) > 0


@pytest.mark.parametrize("blocks", [False, True])
def test_workers_do_not_matter(make_problem, blocks):
    problem = make_problem(rows=200, classes=5)
    gradient = np.random.default_rng(6).standard_normal((5, 6))
    steps = []
    for workers in (1, 2, 7):
        backend = replace(NUMPY, workers=Threads(workers))
        metric = measured(problem, doubtful(problem), backend=backend, blocks=blocks).under(backend, 1e-2)
        assert isinstance(metric, Metric)
        steps.append(metric.solve(backend, gradient))
    np.testing.assert_array_equal(steps[0], steps[1])
    np.testing.assert_array_equal(steps[0], steps[2])


@pytest.mark.parametrize("blocks", [False, True])
def test_the_same_on_a_device(make_problem, device, blocks):
    problem = make_problem(rows=200, weighted=True, scale=True)
    at, gradient = doubtful(problem), np.random.default_rng(6).standard_normal((3, 6))
    here = measured(problem, at, blocks=blocks)
    there = measured(problem, at, backend=device, blocks=blocks)
    assert isinstance(there, Curvature)
    solved = there.under(device, 1e-2).solve(device, device.float64(gradient))
    np.testing.assert_allclose(solved._host, here.under(NUMPY, 1e-2).solve(NUMPY, gradient), rtol=1e-9)
