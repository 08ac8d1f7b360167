"""Following a path: when it stops, what it chooses, who finishes a point."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

import solvers
from solvers.arrays import NUMPY
from solvers.errors import EngineError, ProblemError
from solvers.fitting.path import PathPlan, PathProblem, follow
from solvers.fitting.validation import Validation
from solvers.lbfgs.sweep import ColumnSolver
from solvers.problem.problem import pose_together

STRENGTHS = [1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0]


class Recorder:
    """A solver that notes the goals it is given, and may leave every solution off by some noise."""

    backend = NUMPY

    def __init__(self, problem, noise=0.0, finishes=True):
        self.solver, self.noise, self.finishes, self.goals = ColumnSolver([problem], NUMPY), noise, finishes, []

    @property
    def readings(self):
        return self.solver.readings

    @property
    def passes(self):
        return sum(rows.passes for rows in self.readings)

    def off(self, goals, each):
        """The noise that a solution is given."""
        return self.noise * np.random.default_rng(0).standard_normal(each.coefficients.shape)

    def sweep(self, goals):
        self.goals += goals
        for found in self.solver.sweep(goals):
            yield [replace(each, coefficients=each.coefficients + self.off(goals, each)) for each in found]


class RoughAtFirst(Recorder):
    """One that is off unless it is asked to work in float64."""

    def off(self, goals, each):
        return 0.0 if goals[0].double else 0.01


class Scripted:
    """Validation whose cross-entropy at each new point is read from a list."""

    def __init__(self, values):
        self.values = itertools.chain(values, itertools.repeat(9.0))

    def cross_entropy(self, problem, coefficients):
        return next(self.values)


@pytest.fixture
def one_by_one(monkeypatch):
    monkeypatch.setattr("solvers.lbfgs.sweep.COLUMNS", 1)


def follow_one(problem, strengths, plan, validation=None):
    """The path of one problem."""
    (followed,), _ = follow([PathProblem(problem, validation)], strengths, plan)
    return followed


def plan_for(solver, gap_nats=1e-5, **rest):
    return PathPlan(solver=solver, gap_nats=gap_nats, began=0.0, **rest)


def test_without_validation_every_point_meets_the_gap(make_problem):
    problem = make_problem()
    followed = follow_one(problem, STRENGTHS, plan_for(Recorder(problem), gap_nats=1e-7))
    assert [point.C for point in followed.points] == STRENGTHS
    assert followed.best is None
    assert not any(point.missed for point in followed.points)
    assert all(point.certificate.gap_nats <= 1e-7 for point in followed.points)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize(
    ("values", "tried", "best"),
    [
        ([3, 2, 1, 1.5, 1.6, 0], 5, 2),  # two rises: the end
        ([3, 2, 1, 1.5, 1.4, 1.3], 6, 2),  # a rise and a fall: on
        ([1, 2, 3, 0, 0, 0], 3, 0),
        ([3, 1, 1, 1, 2, 3], 6, 1),  # level is no rise; ties go to the smaller C
        ([1, 1, 1, 1, 1, 1], 6, 0),
    ],
)
def test_stops_once_validation_has_risen_for_two_points(make_problem, values, tried, best):
    problem = make_problem()
    followed = follow_one(problem, STRENGTHS, plan_for(Recorder(problem)), Scripted(values))
    assert len(followed.points) == tried
    assert STRENGTHS.index(followed.best.C) == best


@pytest.mark.usefixtures("one_by_one")
def test_full_path_is_followed_to_its_end(make_problem):
    problem = make_problem()
    plan = plan_for(Recorder(problem), full_path=True)
    followed = follow_one(problem, STRENGTHS, plan, Scripted([1, 2, 3, 4, 5, 6]))
    assert len(followed.points) == len(STRENGTHS)


def test_columns_in_flight_change_neither_choice_nor_points(make_problem, monkeypatch):
    problem = make_problem(rows=60, width=20, scale=True)
    held = make_problem(rows=200, width=20, seed=9)
    validation = Validation.of(held.source, held.codes, problem)
    runs = []
    for columns in (1, 6, 1000):
        monkeypatch.setattr("solvers.lbfgs.sweep.COLUMNS", columns)
        runs.append(follow_one(problem, STRENGTHS, plan_for(Recorder(problem)), validation))
    assert len({(len(run.points), run.best.C) for run in runs}) == 1
    assert 3 <= len(runs[0].points) < len(STRENGTHS)  # or the case would show nothing


def test_only_the_chosen_point_is_taken_to_the_gap(make_problem):
    problem = make_problem(rows=300, width=8)
    recorder = Recorder(problem)
    followed = follow_one(problem, STRENGTHS, plan_for(recorder, gap_nats=1e-9), Scripted([3, 2, 1, 2, 1, 2]))
    assert followed.best.certificate.gap_nats <= 1e-9
    rest = [point.certificate.gap_nats for point in followed.points if point is not followed.best]
    assert all(gap <= 1e-3 for gap in rest)
    assert max(rest) > 1e-9
    assert [len(goal.C) for goal in recorder.goals] == [6, 1]


def test_a_solver_that_can_finish_is_asked_until_the_gap_is_met(make_problem):
    problem = make_problem()
    recorder = RoughAtFirst(problem)
    (point,) = follow_one(problem, [1.0], plan_for(recorder, gap_nats=1e-8)).points
    assert not point.missed
    assert not point.finished


def test_finisher_takes_over_from_the_coefficients_of_a_solver_that_can_not(make_problem):
    problem = make_problem()
    rough, finisher = Recorder(problem, noise=0.01, finishes=False), Recorder(problem)
    plan = plan_for(rough, gap_nats=1e-8, finisher=lambda: finisher)
    (followed,), walk = follow([PathProblem(problem)], [1.0], plan)
    (point,) = followed.points
    assert not point.missed
    assert point.finished
    assert finisher.goals[0].double
    assert np.abs(finisher.goals[0].start).max() > 0
    assert walk.passes > rough.passes + finisher.passes  # the certificate's as well
    assert walk.bytes_read > 0


def test_point_that_nobody_can_finish_is_missed_and_keeps_its_best(make_problem):
    problem = make_problem()
    rough = Recorder(problem, noise=0.01, finishes=False)
    (point,) = follow_one(problem, [1.0], plan_for(rough, gap_nats=1e-8)).points
    assert point.missed
    assert point.certificate.gap_nats > 1e-8


def test_a_gap_that_rounding_forbids_ends(make_problem):
    problem = make_problem()
    (point,) = follow_one(problem, [100.0], plan_for(Recorder(problem), gap_nats=1e-300)).points
    assert point.missed
    assert point.certificate.gap_nats < 1e-11


def test_paths_of_several_problems_each_end_where_they_would_alone(make_rows):
    activations, labels = make_rows(200, 8, 4)
    weights = [None, np.random.default_rng(1).exponential(size=200)]
    problems = pose_together(activations, [labels, labels > 1], weights, scale=True)
    tracks = [PathProblem(problems[0], Scripted([3, 2, 1, 2, 3, 4])), PathProblem(problems[1])]
    (chosen, whole), walk = follow(tracks, STRENGTHS, plan_for(ColumnSolver(problems, NUMPY)))
    assert len(chosen.points) >= 5  # two rises, and what was in flight by then
    assert STRENGTHS.index(chosen.best.C) == 2
    assert [point.C for point in whole.points] == STRENGTHS
    assert whole.best is None
    assert walk.passes < sum(point.passes for point in (*chosen.points, *whole.points))
    for problem, followed in zip(problems, (chosen, whole), strict=True):
        alone = follow_one(problem, STRENGTHS, plan_for(ColumnSolver([problem], NUMPY)))
        for point, other in zip(followed.points, alone.points, strict=False):
            assert point.certificate.gap_nats <= point.goal_nats
            gaps = point.certificate.gap_nats + other.certificate.gap_nats
            assert abs(point.certificate.loss - other.certificate.loss) <= gaps


@pytest.mark.parametrize("columns", [1, 2, 3, 7])
def test_what_ended_paths_leave_is_room_for_the_others(make_rows, monkeypatch, columns):
    """Where all that were in flight ended at once, the others were not begun (a layer of 4,096 columns: eight)."""
    activations, labels = make_rows(60, 8, 4)
    problems = pose_together(activations, [labels > each % 3 for each in range(8)], [None] * 8, scale=True)
    monkeypatch.setattr("solvers.lbfgs.sweep.COLUMNS", columns)
    tracks = [PathProblem(problem, Scripted([1, 2, 3, 4, 5, 6])) for problem in problems]
    tracks[-1] = PathProblem(problems[-1], Scripted([6, 5, 4, 3, 2, 1]))
    paths, _ = follow(tracks, STRENGTHS, plan_for(ColumnSolver(problems, NUMPY)))
    assert [STRENGTHS.index(path.best.C) for path in paths] == [0] * 7 + [5]
    assert min(len(path.points) for path in paths) >= 3


def test_an_engine_that_leaves_a_path_is_found_out(make_problem):
    class Leaves(Recorder):
        def sweep(self, goals):
            yield from super().sweep([replace(goal, C=goal.C[:1]) for goal in goals])

    problem = make_problem()
    with pytest.raises(EngineError, match="left 5 of 6 penalties unsolved"):
        follow_one(problem, STRENGTHS, plan_for(Leaves(problem)))


def test_progress_counts_the_points_of_all_problems(make_rows):
    activations, labels = make_rows(100, 5, 3)
    problems = pose_together(activations, [labels, labels > 0], [None, None])
    heard = []
    plan = plan_for(ColumnSolver(problems, NUMPY), progress=heard.append)
    follow([PathProblem(problem) for problem in problems], STRENGTHS, plan)
    assert [each.done for each in heard] == list(range(1, 13))
    assert {each.total for each in heard} == {12}
    assert all(0 <= each.worst_gap_nats <= 1e-5 for each in heard)


def test_without_a_penalty_the_gradient_is_held_to_the_number_asked_for(make_problem):
    problem = make_problem()
    missed, met = follow_one(problem, [1.0, np.inf], plan_for(Recorder(problem), gap_nats=1e-6)).points
    assert not missed.missed
    assert met.reached_nats == met.certificate.gradient_norm <= 1e-6
    assert not met.missed
    assert met.certificate.gap_nats == met.certificate.loss > 1e-6


@pytest.mark.parametrize(("entries", "sizes"), [(1 << 17, [5]), (40, [2, 2, 1]), (1, [1] * 5)])
def test_the_chosen_of_all_problems_are_solved_on_side_by_side_in_batches(
    make_rows, monkeypatch, entries, sizes
):
    monkeypatch.setattr("solvers.fitting.path._BATCH_ENTRIES", entries)
    activations, labels = make_rows(200, 5, 3)
    others, theirs = make_rows(100, 5, 3, seed=1)
    targets = [np.roll(labels, shift) for shift in range(5)]
    problems = pose_together(activations, targets, [None] * 5)
    solver, further = ColumnSolver(problems, NUMPY), []
    sweep = solver.sweep
    monkeypatch.setattr(solver, "sweep", lambda goals: further.append(len(goals)) or sweep(goals))
    tracks = [PathProblem(problem, Validation.of(others, theirs, problem)) for problem in problems]
    paths, _ = follow(tracks, STRENGTHS, plan_for(solver, gap_nats=1e-7))
    assert further == [5, *sizes]
    assert all(path.best.certificate.gap_nats <= 1e-7 for path in paths)
    alone = [
        follow_one(problem, [path.best.C], plan_for(ColumnSolver([problem], NUMPY), gap_nats=1e-7))
        for problem, path in zip(problems, paths, strict=True)
    ]
    for path, one in zip(paths, alone, strict=True):
        assert abs(path.best.certificate.loss - one.points[0].certificate.loss) <= 2e-7


def test_validation_cross_entropy_is_the_textbook_formula(make_rows, make_problem):
    problem = make_problem(scale=True)
    activations, labels = make_rows(50, 5, 3, seed=8)
    coefficients = np.random.default_rng(1).standard_normal((3, 6))
    z = (activations - problem.mean) / problem.scale @ coefficients[:, :-1].T + coefficients[:, -1]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    expected = -np.log(p[np.arange(50), labels]).mean()
    found = Validation.of(activations, labels, problem).cross_entropy(problem, coefficients)
    assert found == pytest.approx(expected, rel=1e-12)


def test_validation_rows_without_a_known_label_do_not_count(make_rows, make_problem):
    problem = make_problem()
    activations, labels = make_rows(50, 5, 3, seed=8)
    coefficients = np.random.default_rng(1).standard_normal((3, 6))
    strange = np.ma.masked_array(np.append(labels, [77, 0]), [False] * 51 + [True])
    more = np.vstack([activations, activations[:2]])
    expected = Validation.of(activations, labels, problem).cross_entropy(problem, coefficients)
    assert Validation.of(more, strange, problem).cross_entropy(problem, coefficients) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows, labels: (rows[:, :4], labels),
            "validation rows have 4 features; expected 5, as in training",
        ),
        (lambda rows, labels: (rows, labels[:-1]), "expected one label per row"),
        (lambda rows, labels: (rows, labels + 50), "no validation row has a label that occurs in training"),
    ],
)
def test_validation_rows_that_do_not_fit_are_refused(make_rows, make_problem, change, message):
    with pytest.raises(ProblemError, match=message):
        Validation.of(*change(*make_rows(50, 5, 3)), make_problem())


def test_bad_validation_rows_are_counted_and_refused(make_rows, make_problem):
    problem = make_problem()
    activations, labels = make_rows(50, 5, 3)
    activations[[4, 7], 0] = np.nan, -np.inf
    with pytest.raises(ProblemError, match="2 validation rows hold NaN or infinite activations"):
        Validation.of(activations, labels, problem).cross_entropy(problem, np.zeros((3, 6)))


def test_of_penalties_that_leave_nothing_to_tell_apart_the_smallest_c_wins():
    """A last step of the intercept, of a rounding, told them apart."""
    for seed in range(40):
        generator = np.random.default_rng(seed)
        activations, labels = generator.standard_normal((260, 60)), (generator.random(260) < 0.4).astype(int)
        path = solvers.fit(
            activations[:200],
            labels[:200],
            C=[1e-8, 1e-7, 1e-6, 1e-5],
            validation=(activations[200:], labels[200:]),
            class_weight="balanced",
            full_path=True,
            engine="numpy",
        )
        assert path.best.C == 1e-8
