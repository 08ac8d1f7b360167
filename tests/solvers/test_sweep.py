"""Columns solved together: the same solutions as alone, in float32 and float64, here and on a device."""

from dataclasses import replace

import numpy as np
import pytest

from solvers import objective
from solvers.backend import NUMPY
from solvers.certificate import Certifier
from solvers.engines.base import Goal
from solvers.problem import pose
from solvers.sweep import ColumnSolver

STRENGTHS = (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)


@pytest.fixture
def float32(monkeypatch):
    """Small problems too are worked in float32."""
    monkeypatch.setattr("solvers.working.DOUBLE_ELEMENTS", 0)


def gaps(problem, solutions):
    certifier = Certifier(problem, NUMPY)
    return {each.C: certifier.certify([each.coefficients], [each.C])[0].gap_nats for each in solutions}


@pytest.mark.parametrize("in_flight", [1, 2, 40])
def test_every_column_of_a_sweep_is_solved(make_problem, monkeypatch, in_flight):
    monkeypatch.setattr("solvers.sweep._COLUMNS", 3 * in_flight)
    problem = make_problem(weighted=True)
    solutions = list(ColumnSolver(problem, NUMPY).sweep(Goal(STRENGTHS, 1e-8)))
    assert sorted(each.C for each in solutions) == list(STRENGTHS)
    assert all(
        gap <= 2e-8 for gap in gaps(problem, solutions).values()
    )  # the estimate is one, hence the factor


def test_the_gap_estimate_is_close_to_the_certificate(make_problem):
    problem = make_problem(rows=400, width=8)
    goals = [1e-2, 1e-4, 1e-6, 1e-8]
    for goal in goals:
        (solution,) = ColumnSolver(problem, NUMPY).sweep(Goal((10.0,), goal))
        assert gaps(problem, [solution])[10.0] <= 1.2 * goal  # beyond a rounding of the intercept's curvature


def test_columns_share_their_passes(make_problem):
    problem = make_problem(rows=300, width=8)
    alone = sum(next(ColumnSolver(problem, NUMPY).sweep(Goal((C,), 1e-6))).passes for C in STRENGTHS)
    solver = ColumnSolver(problem, NUMPY)
    before = solver.passes
    assert len(list(solver.sweep(Goal(STRENGTHS, 1e-6)))) == len(STRENGTHS)
    assert solver.passes - before < alone / 2


def test_a_sweep_that_is_not_read_on_is_not_solved_on(make_problem, monkeypatch):
    monkeypatch.setattr("solvers.sweep._COLUMNS", 3)
    solver = ColumnSolver(make_problem(), NUMPY)
    sweep = solver.sweep(Goal(STRENGTHS, 1e-6))
    next(sweep)
    passes = solver.passes
    sweep.close()
    assert solver.passes == passes


def test_start_near_the_optimum_saves_evaluations(make_problem):
    problem = make_problem(rows=300, width=8)
    solver = ColumnSolver(problem, NUMPY)
    (cold,) = solver.sweep(Goal((10.0,), 1e-8))
    (warm,) = solver.sweep(Goal((10.0,), 1e-8, start=cold.coefficients + 5.0))  # the same probabilities
    assert cold.evaluations > 5
    assert warm.evaluations == 1


def test_budget_of_evaluations_is_kept(make_problem):
    (solution,) = ColumnSolver(make_problem(), NUMPY).sweep(Goal((100.0,), 1e-12, max_evaluations=4))
    assert solution.evaluations == 4


@pytest.mark.usefixtures("float32")
def test_float32_stops_at_its_rounding_and_float64_goes_on(make_problem):
    problem = make_problem(rows=300, width=8)
    solver = ColumnSolver(problem, NUMPY)
    (single,) = solver.sweep(Goal((100.0,), 1e-13, max_evaluations=2000))
    assert single.evaluations < 500  # it noticed
    reached = gaps(problem, [single])[100.0]
    assert 1e-13 < reached < 1e-5
    (double,) = solver.sweep(Goal((100.0,), 1e-13, start=single.coefficients, double=True))
    assert gaps(problem, [double])[100.0] < 1e-12


@pytest.mark.usefixtures("float32")
def test_float32_reaches_what_is_asked_of_it_mostly(make_problem):
    problem = make_problem(rows=300, width=8)
    (solution,) = ColumnSolver(problem, NUMPY).sweep(Goal((1.0,), 1e-6))
    assert gaps(problem, [solution])[1.0] <= 2e-6


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.usefixtures("float32")
def test_the_same_on_a_device(make_problem, device, double):
    problem = make_problem(weighted=True, scale=True)
    solutions = list(ColumnSolver(problem, device).sweep(Goal(STRENGTHS, 1e-6, double=double)))
    assert all(isinstance(each.coefficients, np.ndarray) for each in solutions)
    assert all(gap <= 2e-6 for gap in gaps(problem, solutions).values())


def test_a_layer_too_wide_for_its_gram_matrix_is_solved_in_its_own_columns(make_problem):
    problem = make_problem(rows=200, width=12)
    solver = ColumnSolver(problem, replace(NUMPY, rotate_width=11))
    (solution,) = solver.sweep(Goal((10.0,), 1e-8))
    assert gaps(problem, [solution])[10.0] <= 2e-8


def test_the_eigenbasis_pays_on_correlated_columns(make_rows):
    activations, labels = make_rows(500, 30, 5)
    mixed = activations @ np.random.default_rng(2).standard_normal((30, 30)) * np.linspace(0.1, 3, 30)
    problem = pose(mixed, labels, scale=True)
    rotated, plain = (
        next(ColumnSolver(problem, replace(NUMPY, rotate_width=width)).sweep(Goal((1.0,), 1e-7)))
        for width in (2048, 0)
    )
    assert rotated.evaluations < plain.evaluations / 2


def test_labels_of_the_stacked_columns_do_not_mix(make_problem):
    """The gradient of two stacked problems is that of each."""
    problem = make_problem()
    rows = ColumnSolver(problem, NUMPY)._resident
    a, b = np.random.default_rng(0).standard_normal((2, 3, 6))
    both = objective.logits(rows, np.concatenate([a, b]))
    np.testing.assert_allclose(both[:3], objective.logits(rows, a), atol=1e-12)
    np.testing.assert_allclose(both[3:], objective.logits(rows, b), atol=1e-12)
