"""One column: the ladder it goes down, where it ends, and what makes it give up."""

import math
from dataclasses import replace

import numpy as np
import pytest

import solvers
from solvers.arrays import NUMPY
from solvers.lbfgs import direction, metric_schedule
from solvers.lbfgs.column import Column, cold_start
from solvers.lbfgs.ladder import ladder
from solvers.lbfgs.metric_schedule import FitSubject, Kind
from solvers.lbfgs.objective import Answer, Targets, TwoClasses, evaluate
from solvers.lbfgs.sampling import Sampler
from solvers.lbfgs.working import Frame, WorkingRows
from solvers.problem.problem import pose
from solvers.proof.certificate import Certifier, Claim

RATIO = math.sqrt(10) * (1 + 1e-9)


def bench(problem, dtype=np.float64, *, blocks=True, sample_rows=1000):
    """The rows of a problem, and the subject that a column of it works on."""
    rows = WorkingRows(problem, NUMPY, dtype, resident=True)
    targets, frame = Targets.of(problem, NUMPY, dtype), Frame.of(problem, rows)
    rounding = 10 * float(np.finfo(dtype).eps)
    variance = float(np.square(problem.deviation / problem.scale).mean())
    return rows, FitSubject(
        NUMPY, targets, frame, Sampler(rows, sample_rows, whole=True), rounding, blocks, sample_rows, variance
    )


def column_for(subject, penalty, gap_nats=1e-8, start=None, max_evaluations=1000):
    coefficients, penalties = cold_start(subject, penalty) if start is None else (start, [penalty])
    return Column(subject, 0, coefficients, penalties, gap_nats, max_evaluations)


def run(rows, column):
    """Answer a column until it is over; (close, gap estimate) after every answer."""
    history = []
    while not column.done:
        (answer,) = evaluate(rows, [column.ask()])
        column.tell(answer)
        history.append((column.close, column.gap_estimate))
    return history


def gap(problem, column, C):
    (certificate,) = Certifier([problem], NUMPY).certify([Claim(0, column.coefficients, C)])
    return certificate.gap_nats


@pytest.mark.parametrize(
    ("start", "end"),
    [(1.0, 1e-3), (1.0, 0.9), (1e-3, 1.0), (2.0, 2.0), (1e5, 1e-5), (1e-12, 1e12), (1e-300, 1e300), (1, 0.1)],
)
def test_ladder_ends_exactly_at_its_end_in_steps_of_at_most_a_root_of_ten(start, end):
    rungs = ladder(start, end)
    assert rungs[-1] == end
    assert rungs[0] == end or start not in rungs
    for before, after in zip([start, *rungs[:-1]], rungs, strict=True):
        assert 1 / RATIO <= after / before <= RATIO
        assert (after - before) * (end - start) >= 0  # always onwards
    # No more of them than it takes.
    assert len(rungs) == max(1, math.ceil(2 * abs(math.log10(start) - math.log10(end)) - 1e-6))


@pytest.mark.parametrize("end", [0.0, 1e-300, 2e-10])
def test_ladder_to_next_to_no_penalty_goes_far_down_first_and_then_in_one(end):
    rungs = ladder(3.0, end)
    assert rungs[-1] == end
    assert rungs[-2] == pytest.approx(3e-10)
    assert rungs[:-1] == ladder(3.0, rungs[-2])


def test_cold_start_is_zero_from_a_penalty_where_zero_is_nearly_optimal(make_problem):
    problem = make_problem(scale=True)
    rows, subject = bench(problem)
    assert subject.variance == pytest.approx(1.0)  # of scaled columns
    coefficients, penalties = cold_start(subject, 1e-3)
    assert not coefficients.any()
    assert penalties[0] == pytest.approx(0.1)
    assert penalties[-1] == 1e-3
    assert cold_start(subject, 5.0)[1] == [5.0]
    column = column_for(subject, penalties[0], gap_nats=1e-9)
    run(rows, column)
    assert column.evaluations < 12


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("C", [1e-2, 1.0, 1e3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("cut", [0.0, 0.2, math.inf])
def test_reaches_the_optimum(make_problem, newton, monkeypatch, cut, weighted, C, blocks):
    monkeypatch.setattr("solvers.lbfgs.column.CUT", cut)  # straight; as it is; by the ladder after one step
    problem = make_problem(rows=200, weighted=weighted, scale=weighted)
    rows, subject = bench(problem, blocks=blocks)
    column = column_for(subject, problem.penalty(C), gap_nats=1e-12)
    run(rows, column)
    optimum = newton(problem, C)
    assert optimum.loss_at(column.coefficients) - optimum.loss <= 1e-12
    assert gap(problem, column, C) <= 2e-12
    assert column.gap_estimate <= 1e-12


def penalties_of(column, rows):
    """The penalties at which a column stood, in order, as it was run."""
    seen, moved = [], column._moved_to
    column._moved_to = lambda penalty, state: seen.append(penalty) or moved(penalty, state)
    run(rows, column)
    return seen


def test_a_column_goes_straight_to_its_goal_and_takes_the_ladder_after_a_step_cut_short(
    make_problem, monkeypatch
):
    problem = make_problem(rows=600, width=20, classes=4)
    rows, subject = bench(problem)
    goal = problem.penalty(1.0)
    straight, careful = column_for(subject, goal), column_for(subject, goal)
    assert penalties_of(straight, rows) == [goal]
    monkeypatch.setattr("solvers.lbfgs.column.CUT", math.inf)  # whole steps too
    assert penalties_of(careful, rows) == [goal, *cold_start(subject, goal)[1]]
    assert straight.evaluations < careful.evaluations - 2  # an evaluation at zero and a step were in vain
    assert straight.close
    assert careful.close


def bought_by(problem):
    """A column run to its end: its subject, itself, and (level, steps spent by then) as it bought better metrics."""
    rows, subject = bench(problem)
    column = column_for(subject, problem.penalty(1e6), gap_nats=1e-12)
    bought, before = [], (0, 0)
    while not column.done:
        (answer,) = evaluate(rows, [column.ask()])
        before = (column.metrics.level, column.metrics.spent)
        column.tell(answer)
        if column.metrics.level > before[0]:
            bought.append((column.metrics.level, before[1] + 1))
    return subject, column, bought


@pytest.mark.parametrize("factor", [0.0, 10.0, 20.0, 1e9])
def test_blocks_are_bought_only_once_as_many_steps_were_spent_as_they_cost(make_problem, monkeypatch, factor):
    monkeypatch.setattr("solvers.lbfgs.metric_schedule.CHEAP", -1.0)  # nothing comes for free
    monkeypatch.setattr("solvers.lbfgs.metric_schedule.CHEAP_TURNED", -1.0)
    real = FitSubject.price
    monkeypatch.setattr(
        FitSubject, "price", lambda self, number: factor * (number > 0) if factor else real(self, number)
    )
    subject, column, bought = bought_by(make_problem(rows=600, width=20, classes=4))
    assert [subject.level(number)[1] for number in range(6)] == [
        Kind.PLAIN,
        Kind.PLAIN,  # a layer too narrow for leading directions
        Kind.PLAIN,
        Kind.TURNED,
        Kind.BLOCKS,
        Kind.BLOCKS,
    ]
    assert [level for level, _ in bought] == list(range(3, len(bought) + 3))  # one at a time, none left out
    for level, spent in bought:
        assert spent >= max(subject.price(level), 1)
    assert column.metrics.level == (len(bought) + 2 if bought else 0)
    assert bool(bought) == (factor < 1e9)


def test_on_a_narrow_layer_a_column_begins_with_the_best_metric(make_problem):
    problem = make_problem(rows=600, width=20, classes=4)
    rows, subject = bench(problem)
    column = column_for(subject, problem.penalty(1.0))
    run(rows, column)
    assert subject.price(5) <= 5
    assert column.metrics.level == 5


def test_better_metrics_cost_more_and_are_no_larger_than_memory_allows(make_problem):
    problem = make_problem(rows=5000, width=20)
    _, subject = bench(problem, sample_rows=5000)
    prices = [subject.price(number) for number in range(6)]
    assert prices == sorted(prices)
    assert 0 < prices[0] < prices[-1]
    kinds = [(160, Kind.TURNED), (320, Kind.BLOCKS), (1280, Kind.BLOCKS)]
    assert subject.level(0) == (160, Kind.PLAIN)
    assert [subject.level(number) for number in range(3, 6)] == kinds
    _, small = bench(problem, blocks=False, sample_rows=200)
    kinds = [(160, Kind.TURNED), (200, Kind.TURNED), (200, Kind.TURNED)]
    assert [small.level(number) for number in range(3, 6)] == kinds


def test_what_is_factored_and_turned_has_its_price(make_rows):
    """Where columns outnumber rows, the Gram matrix, its eigenvectors and factors cost hundreds of evaluations."""
    activations, labels = make_rows(200, 400, 2)
    _, subject = bench(pose(activations, labels, scale=True), np.float32)
    assert subject.price(0) < 5
    assert subject.price(3) > 200
    before = subject.price(3)
    subject.sampler.basis(subject.frame.stretch)
    assert subject.price(3) < before / 5  # the next column has it for nothing


def test_a_wide_layer_is_fitted_without_eigenvectors(make_rows, monkeypatch):
    monkeypatch.setattr(Sampler, "basis", lambda self, stretch: pytest.fail("eigenvectors were made"))
    activations, labels = make_rows(300, 1000, 2)
    found = solvers.fit(activations.astype(np.float32), labels, C=0.01, scale=True, engine="numpy")
    assert found.status == "converged"


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_a_column_begins_along_leading_directions_where_a_plain_step_would_be_cut(decay):
    """Rows that vary much together: their columns alone say nothing of it."""
    generator = np.random.default_rng(0)
    spread = np.arange(1, 601) ** -decay
    turn = np.linalg.qr(generator.standard_normal((600, 600)))[0]
    rows_of = ((generator.standard_normal((500, 600)) * spread) @ turn).astype(np.float32)
    problem = pose(rows_of, generator.integers(0, 2, 500), None, scale=True)
    rows, subject = bench(problem, np.float32, sample_rows=20_000)
    assert subject.price(1) <= metric_schedule.CHEAP_LEADING
    column = column_for(subject, 0.01)
    (answer,) = evaluate(rows, [column.ask()])
    column.tell(answer)
    assert subject.level(column.metrics.level)[1] is (Kind.LEADING if decay else Kind.PLAIN)


def test_a_plain_diagonal_is_not_given_up_before_its_first_pairs(make_rows, monkeypatch):
    """Its first steps are short because the columns vary together, not because the model misleads."""
    activations, labels = make_rows(300, 20, 2)
    together = (activations + 30 * np.random.default_rng(1).standard_normal((300, 1))).astype(np.float32)
    rows, subject = bench(pose(together, labels, scale=True), np.float32, blocks=False)
    monkeypatch.setattr(FitSubject, "level", lambda self, number: (8, Kind.PLAIN))
    goal = 1e-3
    straight, early = column_for(subject, goal), column_for(subject, goal)
    assert penalties_of(straight, rows) == [goal]
    monkeypatch.setattr("solvers.lbfgs.column._TAUGHT", -1)
    assert len(penalties_of(early, rows)) > 2


def test_is_close_before_it_is_done_and_stays_so(make_problem):
    problem = make_problem(rows=300, width=8)
    rows, subject = bench(problem)
    column = column_for(subject, problem.penalty(100.0), gap_nats=1e-10)
    history = run(rows, column)
    close = [each for each, _ in history]
    assert close == sorted(close)
    first = close.index(True)
    assert 0 < first < len(close) - 1
    # Near enough for its neighbour to begin: a tenth of the loss, while its own gap is still far.
    (answer,) = evaluate(rows, [column.ask()])
    assert 1e-10 < history[first][1] <= 0.1 * (answer.cross_entropy + 1)


def test_a_rung_is_not_taken_for_the_end(make_problem):
    """Rungs on the way are left early; only the last counts as close."""
    problem = make_problem(rows=300, width=8)
    rows, subject = bench(problem)
    column = column_for(subject, problem.penalty(1e4), gap_nats=1e-8)
    while not column.close:
        (answer,) = evaluate(rows, [column.ask()])
        column.tell(answer)
    assert gap(problem, column, 1e4) < 0.5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gives_up_on_rounding(make_problem, dtype):
    problem = make_problem(rows=300, width=8)
    rows, subject = bench(problem, dtype)
    column = column_for(subject, problem.penalty(100.0), gap_nats=1e-300, max_evaluations=2000)
    run(rows, column)
    assert column.evaluations < 500
    assert column.close
    assert np.isfinite(column.coefficients).all()
    # float32 gradients of rows of order 1 are good to 1e-7: squared, over 2 λ of 7e-5. Of float64 the certificate's
    # allowance for its own rounding is all that is left.
    assert gap(problem, column, 100.0) < (1e-6 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("budget", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("C", [1.0, 1e6])
def test_budget_of_evaluations_is_kept(make_problem, budget, C):
    problem = make_problem(rows=300, width=8)
    rows, subject = bench(problem)
    column = column_for(subject, problem.penalty(C), gap_nats=1e-15, max_evaluations=budget)
    run(rows, column)
    assert column.evaluations == budget
    assert np.isfinite(column.coefficients).all()


def test_budget_ends_a_search_that_finds_nothing(make_problem, monkeypatch):
    def restless(start, rounding, first):
        while True:
            yield 0.5

    monkeypatch.setattr("solvers.lbfgs.column.step_length", restless)
    problem = make_problem()
    rows, subject = bench(problem)
    column = column_for(subject, problem.penalty(1.0), max_evaluations=17)
    run(rows, column)
    assert column.evaluations == 17
    assert np.isfinite(column.coefficients).all()


def test_a_start_at_the_optimum_needs_one_evaluation(make_problem, newton):
    problem = make_problem(rows=300, width=8)
    rows, subject = bench(problem)
    column = column_for(subject, problem.penalty(1.0), start=newton(problem, 1.0).coefficients)
    run(rows, column)
    assert column.evaluations == 1
    np.testing.assert_array_equal(column.coefficients, newton(problem, 1.0).coefficients)


def test_an_intercept_off_its_optimum_is_no_optimum(make_problem, newton):
    """Until a metric is there, the estimate of the gap does not see it."""
    problem = make_problem(rows=300, width=8)
    rows, subject = bench(problem)
    start = newton(problem, 1.0).coefficients.copy()
    start[:, -1] += [0.5, -0.5, 0.0]
    column = column_for(subject, problem.penalty(1.0), gap_nats=1e-10, start=start)
    run(rows, column)
    assert gap(problem, column, 1.0) <= 2e-10


@pytest.mark.parametrize("size", [30.0, 1e4, 1e8, 1e100])
def test_a_start_worse_than_none_is_left(make_problem, size):
    problem = make_problem(rows=300, width=8)
    rows, subject = bench(problem)
    start = size * np.random.default_rng(0).standard_normal((3, 9))
    column = column_for(subject, problem.penalty(1.0), start=start - start.mean(axis=0))
    cold = column_for(subject, problem.penalty(1.0))
    run(rows, column)
    run(rows, cold)
    assert gap(problem, column, 1.0) <= 2e-8
    assert column.evaluations <= 2 * cold.evaluations


def test_a_start_is_left_only_once_there_is_budget_for_another(make_problem):
    problem = make_problem(rows=300, width=8)
    rows, subject = bench(problem)
    column = column_for(
        subject, problem.penalty(1.0), start=np.full((3, 9), 1e4) * np.eye(3, 9), max_evaluations=1
    )
    run(rows, column)
    assert column.evaluations == 1


def test_separable_rows_without_a_penalty_end(make_rows):
    activations, _ = make_rows(100, 4, 2)
    problem = pose(activations, activations[:, 0] > 0, scale=True)
    rows, subject = bench(problem)
    column = column_for(subject, 0.0, gap_nats=1e-6)
    run(rows, column)
    assert np.isfinite(column.coefficients).all()
    assert column.gap_estimate <= 1e-6
    assert np.linalg.norm(column.coefficients) > 10  # on its way to infinity, where the loss is 0


def test_columns_of_no_spread_end_at_the_shares_of_the_classes():
    labels = np.array([0] * 6 + [1] * 3 + [2])
    problem = pose(np.full((10, 2), 7.0), labels, scale=True)
    rows, subject = bench(problem)
    for C in (1.0, np.inf):
        column = column_for(subject, problem.penalty(C), gap_nats=1e-12)
        run(rows, column)
        # Without a penalty the weights' gradient is all that a column is held to; the certificate solves the intercept.
        (certificate,) = Certifier([problem], NUMPY).certify([Claim(0, column.coefficients, C, 1e-12)])
        p = np.exp(certificate.coefficients[:, -1])
        np.testing.assert_allclose(p / p.sum(), [0.6, 0.3, 0.1], atol=1e-6)  # a gap of 1e-12, its root off
        assert not column.coefficients[:, :-1].any()
        assert certificate.gradient_norm == 0


def test_an_objective_that_is_not_a_number_ends_a_column(make_problem):
    """As rows that change under it would make it."""
    problem = make_problem()
    rows, subject = bench(problem)
    column = column_for(subject, problem.penalty(1.0))
    told = 0
    while not column.done:
        (answer,) = evaluate(rows, [column.ask()])
        told += 1
        column.tell(answer if told < 4 else Answer(np.nan, np.full_like(answer.gradient, np.nan)))
        assert told < 200
    assert np.isfinite(column.coefficients).all()


def test_what_comes_back_is_no_worse_than_a_point_on_the_way(make_problem, monkeypatch):
    """A descent that rounding leads away from where it was."""
    problem = make_problem(rows=600, width=20, classes=2, scale=True)
    rows, subject = bench(problem)
    real, seen = direction.gap_estimate, []

    def worse_and_worse(backend, state):
        seen.append((real(backend, state) * 1e3 ** min(max(0, len(seen) - 5), 40), state.coefficients))
        return seen[-1][0]

    monkeypatch.setattr(direction, "gap_estimate", worse_and_worse)
    column = column_for(subject, problem.penalty(1.0), gap_nats=1e-30)
    run(rows, column)
    assert column.done
    best = min(gap for gap, _ in seen[1:])  # the first is before there is a metric
    assert best < seen[-1][0]
    assert column.gap_estimate == best
    assert any(column.coefficients is at for gap, at in seen if gap == best)


@pytest.mark.parametrize("gap_nats", [1e-4, 1e-6])
@pytest.mark.parametrize("C", [1e-2, 1.0])
def test_the_intercept_of_two_classes_is_left_where_one_reading_certifies(make_rows, C, gap_nats):
    activations, labels = make_rows(400, 30, 4)
    problem = pose(activations, labels == 2, scale=True)  # a quarter against the rest
    rows, subject = bench(problem)
    targets = TwoClasses.of(problem, NUMPY, np.float64)
    subject = replace(subject, targets=targets)
    column = column_for(subject, targets.penalty(problem.penalty(C)), gap_nats=0.7 * gap_nats)
    run(rows, column)
    certifier = Certifier([problem], NUMPY)
    (certificate,) = certifier.certify([Claim(0, targets.expanded(column.coefficients), C, gap_nats)])
    assert certificate.gap_nats <= gap_nats
    assert certifier.rows.passes == 1
