"""Columns solved together: the same solutions as alone, in float32 and float64, here and on a device."""

from dataclasses import replace

import numpy as np
import pytest

from solvers.arrays import NUMPY
from solvers.goals import Goal
from solvers.lbfgs.sweep import ColumnSolver
from solvers.problem.problem import pose, pose_together
from solvers.proof.certificate import Certifier, Claim
from solvers.workers.threads import Threads

STRENGTHS = (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)


@pytest.fixture
def float32(monkeypatch):
    """Small problems too are worked in float32."""
    monkeypatch.setattr("solvers.lbfgs.sweep.DOUBLE_ELEMENTS", 0)


def swept(solver, *goals):
    """All solutions of goals, in the order in which they finished."""
    return [solution for found in solver.sweep(goals) for solution in found]


def certified(problems, solutions):
    """Certificates by (problem, C); certifying is what says that coefficients are finite, too."""
    claims = [Claim(each.problem, each.coefficients, each.C) for each in solutions]
    keys = [(each.problem, each.C) for each in solutions]
    return dict(zip(keys, Certifier(problems, NUMPY).certify(claims), strict=True))


def gaps(problem, solutions):
    return {C: certificate.gap_nats for (_, C), certificate in certified([problem], solutions).items()}


def four_problems(make_rows, rows=300, width=8):
    """Four targets of other classes and weights on the same rows."""
    activations, labels = make_rows(rows, width, 5)
    generator = np.random.default_rng(1)
    weights = [None, generator.exponential(size=rows), (np.arange(rows) % 3 > 0).astype(float), None]
    targets = [labels, labels > 1, labels % 3, generator.integers(4, size=rows)]
    return pose_together(activations * np.linspace(0.5, 3.0, width) + 2.0, targets, weights, scale=True)


@pytest.mark.parametrize("in_flight", [1, 2, 40])
def test_every_column_of_a_sweep_is_solved(make_problem, monkeypatch, in_flight):
    monkeypatch.setattr("solvers.lbfgs.sweep.COLUMNS", 3 * in_flight)
    problem = make_problem(weighted=True)
    solutions = swept(ColumnSolver([problem], NUMPY), Goal(STRENGTHS, 1e-8))
    assert sorted(each.C for each in solutions) == list(STRENGTHS)
    # The estimate is one, hence the factor.
    assert all(gap <= 2e-8 for gap in gaps(problem, solutions).values())


def test_the_gap_estimate_is_close_to_the_certificate(make_problem):
    problem = make_problem(rows=400, width=8)
    goals = [1e-2, 1e-4, 1e-6, 1e-8]
    for goal in goals:
        solutions = swept(ColumnSolver([problem], NUMPY), Goal((10.0,), goal))
        assert gaps(problem, solutions)[10.0] <= 1.2 * goal  # beyond a rounding of the intercept's curvature


def test_columns_share_their_passes(make_problem):
    problem = make_problem(rows=300, width=8)
    alone = sum(swept(ColumnSolver([problem], NUMPY), Goal((C,), 1e-6))[0].passes for C in STRENGTHS)
    solver = ColumnSolver([problem], NUMPY)
    before = solver.rows.passes
    assert len(swept(solver, Goal(STRENGTHS, 1e-6))) == len(STRENGTHS)
    assert solver.rows.passes - before < alone / 2


@pytest.mark.parametrize("strengths", [(1.0,), STRENGTHS], ids=["one C", "a path"])
def test_problems_together_are_what_each_is_alone_and_share_their_passes(make_rows, strengths):
    problems = four_problems(make_rows)
    solver = ColumnSolver(problems, NUMPY)
    before = solver.rows.passes
    together = swept(solver, *[Goal(strengths, 1e-7, index) for index in range(4)])
    passes = solver.rows.passes - before
    found = certified(problems, together)
    assert len(found) == 4 * len(strengths)
    slowest = 0
    for index, problem in enumerate(problems):
        solver = ColumnSolver([problem], NUMPY)
        before = solver.rows.passes
        alone = certified([problem], swept(solver, Goal(strengths, 1e-7)))
        slowest = max(slowest, solver.rows.passes - before)
        for C in strengths:
            one, other = found[index, C], alone[0, C]
            assert one.gap_nats <= 2e-7
            # Newton's or nobody's optimum is needed: convexity puts both losses within their gaps of it.
            assert abs(one.loss - other.loss) <= one.gap_nats + other.gap_nats
    assert passes < 2 * slowest


def test_problems_may_ask_for_other_strengths_and_gaps(make_rows):
    problems = four_problems(make_rows)
    goals = [Goal((0.1,), 1e-4, 0), Goal((1e-3, 1e3), 1e-8, 2), Goal((), 1e-8, 3)]
    found = certified(problems, swept(ColumnSolver(problems, NUMPY), *goals))
    assert sorted(found) == [(0, 0.1), (2, 1e-3), (2, 1e3)]
    assert found[0, 0.1].gap_nats <= 2e-4
    assert max(found[2, 1e-3].gap_nats, found[2, 1e3].gap_nats) <= 2e-8


def test_a_sweep_that_is_not_read_on_is_not_solved_on(make_problem, monkeypatch):
    monkeypatch.setattr("solvers.lbfgs.sweep.COLUMNS", 3)
    solver = ColumnSolver([make_problem()], NUMPY)
    sweep = solver.sweep([Goal(STRENGTHS, 1e-6)])
    next(sweep)
    passes = solver.rows.passes
    sweep.close()
    assert solver.rows.passes == passes


def test_a_problem_that_wants_no_more_is_left_and_the_others_go_on(make_rows):
    problems = four_problems(make_rows)
    taken = []
    goals = [Goal(STRENGTHS, 1e-6, 0, stopped=lambda: len(taken) >= 1), Goal(STRENGTHS, 1e-6, 1)]
    both = []
    for found in ColumnSolver(problems, NUMPY).sweep(goals):
        both += found
        taken += [each for each in found if each.problem == 0]
    assert 1 <= len(taken) < len(STRENGTHS)
    assert sorted(each.C for each in both if each.problem == 1) == list(STRENGTHS)


def test_start_near_the_optimum_saves_evaluations(make_problem):
    problem = make_problem(rows=300, width=8)
    solver = ColumnSolver([problem], NUMPY)
    (cold,) = swept(solver, Goal((10.0,), 1e-8))
    # The same probabilities, whatever is added to every class alike.
    (warm,) = swept(solver, Goal((10.0,), 1e-8, start=cold.coefficients + 5.0))
    assert cold.evaluations > 5
    assert warm.evaluations == 1


@pytest.mark.parametrize("size", [10.0, 1e3, 1e6])
def test_start_without_a_doubt_is_recovered_from(make_problem, size):
    """No row there has any curvature left in float64; the fit must not take that for the end."""
    problem = make_problem(rows=300, width=8)
    start = size * np.random.default_rng(0).standard_normal((3, 9))
    solutions = swept(ColumnSolver([problem], NUMPY), Goal((1.0,), 1e-8, start=start))
    assert gaps(problem, solutions)[1.0] <= 2e-8


@pytest.mark.parametrize("budget", [1, 4, 7])
def test_budget_of_evaluations_is_kept(make_problem, budget):
    (solution,) = swept(ColumnSolver([make_problem()], NUMPY), Goal((100.0,), 1e-12, max_evaluations=budget))
    assert solution.evaluations == budget
    assert np.isfinite(solution.coefficients).all()


@pytest.mark.usefixtures("float32")
def test_float32_stops_at_its_rounding_and_float64_goes_on(make_problem):
    problem = make_problem(rows=300, width=8)
    solver = ColumnSolver([problem], NUMPY)
    assert solver.rows.dtype == np.float32
    (single,) = swept(solver, Goal((100.0,), 1e-13, max_evaluations=2000))
    assert single.evaluations < 500  # it noticed
    reached = gaps(problem, [single])[100.0]
    assert 1e-13 < reached < 1e-5
    assert len(solver.readings) == 1
    (double,) = swept(solver, Goal((100.0,), 1e-13, start=single.coefficients, double=True))
    assert gaps(problem, [double])[100.0] < 1e-12
    assert [rows.dtype for rows in solver.readings] == [np.float32, np.float64]
    assert all(rows.passes > 0 for rows in solver.readings)


@pytest.mark.usefixtures("float32")
def test_float32_reaches_what_is_asked_of_it_mostly(make_problem):
    problem = make_problem(rows=300, width=8)
    solutions = swept(ColumnSolver([problem], NUMPY), Goal((1.0,), 1e-6))
    assert gaps(problem, solutions)[1.0] <= 2e-6


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.usefixtures("float32")
def test_the_same_on_a_device(make_rows, device, double):
    problems = four_problems(make_rows, rows=120, width=5)
    goals = [Goal(STRENGTHS, 1e-6, index, double=double) for index in range(4)]
    solutions = swept(ColumnSolver(problems, device), *goals)
    assert all(isinstance(each.coefficients, np.ndarray) for each in solutions)
    found = certified(problems, solutions)
    here = certified(
        problems,
        swept(ColumnSolver(problems, replace(NUMPY, block_elements=1 << 8, workers=Threads(2))), *goals),
    )
    assert len(found) == 4 * len(STRENGTHS)
    # The goal is met by an estimate; how near the certificate comes to it is not the device's doing.
    assert all(certificate.gap_nats <= 1.1 * here[key].gap_nats + 1e-9 for key, certificate in found.items())
    assert max(certificate.gap_nats for certificate in found.values()) <= 3e-6


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("start", [False, True])
def test_a_device_is_told_to_stop_by_rounding_too(make_problem, device, start):
    problem = make_problem(rows=300, width=8)
    coefficients = 100 * np.random.default_rng(0).standard_normal((3, 9)) if start else None
    goal = Goal((100.0,), 1e-13, start=coefficients, max_evaluations=2000)
    (solution,) = swept(ColumnSolver([problem], device), goal)
    assert solution.evaluations < 500
    assert gaps(problem, [solution])[100.0] < 1e-5


def metrics_of(monkeypatch):
    """The metrics that a sweep makes, as they are made: whether each has whole blocks, and its sample's rows."""
    from solvers.lbfgs import metric_schedule

    made = []

    def noted(backend, sample, at, *, blocks, basis):
        made.append((blocks, len(sample.numbers)))
        return measure(backend, sample, at, blocks=blocks, basis=basis)

    measure = metric_schedule.measure
    monkeypatch.setattr(metric_schedule, "measure", noted)
    return made


def test_memory_too_small_for_blocks_leads_to_the_diagonal_and_the_same_optimum(make_problem, monkeypatch):
    monkeypatch.setattr("solvers.lbfgs.metric_schedule.CHEAP", 0.0)
    problem = make_problem(rows=400, width=30, weighted=True, scale=True)
    made = metrics_of(monkeypatch)
    rich = swept(ColumnSolver([problem], NUMPY), Goal((0.1, 10.0), 1e-8))
    assert not made[0][0]  # blocks come once they pay
    assert made[-1][0]
    made.clear()
    solver = ColumnSolver([problem], NUMPY, memory_bytes=4 * (3 * 30 * 30 * 8 - 1))
    poor = swept(solver, Goal((0.1, 10.0), 1e-8))
    assert made
    assert not any(blocks for blocks, _ in made)
    for solutions in (rich, poor):
        assert all(gap <= 2e-8 for gap in gaps(problem, solutions).values())


def test_memory_bounds_the_rows_that_are_kept_and_the_rows_of_a_metric(make_problem, monkeypatch):
    problem = make_problem(rows=2000, width=30)
    made = metrics_of(monkeypatch)
    budget = 4 * 3 * 30 * 30 * 8
    solver = ColumnSolver([problem], NUMPY, memory_bytes=budget)
    solutions = swept(solver, Goal((1.0,), 1e-8))
    assert max(rows for _, rows in made) < 200  # 64 rows are asked for at least; how many come is random
    assert solver.rows.passes > 0
    assert solver.rows.bytes_read == solver.rows.passes * 2000 * 30 * 8
    assert gaps(problem, solutions)[1.0] <= 2e-8


def test_a_layer_too_wide_for_its_blocks_is_solved_by_the_diagonal(make_problem, monkeypatch):
    monkeypatch.setattr("solvers.lbfgs.sweep.BLOCK_WIDTH", 11)
    problem = make_problem(rows=200, width=12)
    made = metrics_of(monkeypatch)
    solutions = swept(ColumnSolver([problem], NUMPY), Goal((10.0,), 1e-8))
    assert not any(blocks for blocks, _ in made)
    assert gaps(problem, solutions)[10.0] <= 2e-8


def test_the_blocks_pay_on_correlated_columns(make_rows, monkeypatch):
    activations, labels = make_rows(500, 30, 5)
    mixed = activations @ np.random.default_rng(2).standard_normal((30, 30)) * np.linspace(0.1, 3, 30)
    problem = pose(mixed, labels, scale=True)
    goal = Goal((1e4,), 1e-7)
    (whole,) = swept(ColumnSolver([problem], NUMPY), goal)
    monkeypatch.setattr("solvers.lbfgs.sweep.BLOCK_WIDTH", 0)
    (plain,) = swept(ColumnSolver([problem], NUMPY), goal)
    # Even of the diagonal in the Gram matrix's basis, and with the first steps taken without blocks.
    assert whole.evaluations < 0.6 * plain.evaluations


def test_the_basis_pays_on_correlated_columns_where_there_are_no_blocks(make_rows, monkeypatch):
    activations, labels = make_rows(500, 30, 5)
    mixed = activations @ np.random.default_rng(2).standard_normal((30, 30)) * np.linspace(0.1, 3, 30)
    problem = pose(mixed, labels, scale=True)
    monkeypatch.setattr("solvers.lbfgs.sweep.BLOCK_WIDTH", 0)
    goal = Goal((1.0,), 1e-7)
    (turned,) = swept(ColumnSolver([problem], NUMPY), goal)
    monkeypatch.setattr("solvers.lbfgs.sampling.BASIS_WIDTH", 0)
    (plain,) = swept(ColumnSolver([problem], NUMPY), goal)
    assert turned.evaluations < plain.evaluations / 2


def test_without_a_penalty_a_path_ends_at_a_vanishing_gradient(make_rows):
    problems = four_problems(make_rows)
    goals = [Goal((1.0, np.inf), 1e-7, index) for index in range(4)]
    found = certified(problems, swept(ColumnSolver(problems, NUMPY), *goals))
    for index in range(4):
        assert found[index, np.inf].gradient_norm <= 2e-7
        assert found[index, np.inf].gap_nats == found[index, np.inf].loss <= found[index, 1.0].loss


@pytest.mark.parametrize(("size", "scale"), [(1e-30, False), (1e-30, True), (1e30, True)])
def test_columns_of_any_size_come_to_finite_probes(make_rows, size, scale):
    activations, labels = make_rows(200, 6, 3)
    activations = np.column_stack(
        [activations * np.logspace(-1, 1, 6) * size, np.full(200, size), np.zeros(200)]
    )
    problem = pose(activations, labels, scale=scale)
    solutions = swept(ColumnSolver([problem], NUMPY), Goal((1.0,), 1e-6, max_evaluations=500))
    assert gaps(problem, solutions)[1.0] <= 2e-6


def test_columns_so_large_that_no_gap_can_be_proved_come_to_the_optimum_all_the_same(make_rows, newton):
    """At 1e30 the penalty is 1e-60 of the curvature, and the rounding of the gradient is 1e14."""
    activations, labels = make_rows(200, 6, 3)
    problem = pose(activations * 1e30, labels)
    solutions = swept(ColumnSolver([problem], NUMPY), Goal((1.0,), 1e-6, max_evaluations=500))
    free = newton(pose(activations, labels), 1e9).loss
    certificate = certified([problem], solutions)[0, 1.0]
    assert certificate.loss == pytest.approx(free, abs=1e-8)  # what C = 1e9 costs there
    assert certificate.gap_nats == certificate.loss


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_sweep_is_the_same_to_the_bit_each_time(make_problem, workers):
    problem = make_problem(rows=700, width=8, weighted=True)
    backend = replace(NUMPY, workers=Threads(workers), block_elements=1000)
    once, again = (swept(ColumnSolver([problem], backend), Goal((0.1, 10.0), 1e-8)) for _ in range(2))
    assert [each.C for each in once] == [each.C for each in again]
    for one, other in zip(once, again, strict=True):
        np.testing.assert_array_equal(one.coefficients, other.coefficients)
