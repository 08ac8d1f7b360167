"""Rows in other coordinates: the space that they span, their principal axes. The same problems."""

from dataclasses import dataclass

import numpy as np
import pytest

import solvers
from solvers.arrays import NUMPY
from solvers.lbfgs import turned, turns
from solvers.lbfgs.leading import LeadingFactors, find_leading
from solvers.lbfgs.objective import Ask, Targets, TwoClasses, evaluate
from solvers.lbfgs.sampling import Sampler
from solvers.lbfgs.sweep import ColumnSolver
from solvers.lbfgs.turned import TurnedRows, cheapest_turn, shared_stretch
from solvers.lbfgs.turns import along_axes, spanned_by_axes, spanned_by_factor
from solvers.lbfgs.working import WorkingRows
from solvers.problem.problem import pose, pose_together
from solvers.workers.threads import at_most

ROWS, WIDTH = 40, 300


@pytest.fixture
def wide(make_rows):
    activations, labels = make_rows(ROWS, WIDTH, 3)
    activations[:, 3] += 300
    activations[:, 5] *= 200
    return activations, labels


SPANNED = (spanned_by_factor, spanned_by_axes)


def turned_rows(problem, make=spanned_by_factor, backend=NUMPY):
    base = WorkingRows(problem, backend, np.float64, resident=True)
    return base, TurnedRows(base, make(backend, base.kept, base.frame(problem).stretch))


@pytest.mark.parametrize("make", SPANNED)
@pytest.mark.parametrize("scale", [True, False])
def test_weights_in_the_span_keep_their_logits_and_their_norm(wide, scale, make):
    activations, labels = wide
    weights = np.random.default_rng(1).exponential(size=ROWS)
    problems = pose_together(activations, [labels, labels > 0], [None, weights], scale=False)
    problem = pose(activations, labels, weights, scale=scale) if scale else problems[1]
    base = WorkingRows(problems[0] if not scale else problem, NUMPY, np.float64, resident=True)
    rows = TurnedRows(base, make(NUMPY, base.kept, base.frame(problem).stretch))
    x = (activations - problem.mean) / problem.scale
    shares = np.random.default_rng(2).standard_normal((2, ROWS))
    shares -= shares.mean(axis=1, keepdims=True)
    assert off(rows, problem, x, np.column_stack([shares @ x, [0.5, -0.5]])) < 1e-6


@pytest.mark.parametrize("scale", [True, False])
def test_weights_along_axes_keep_their_logits_and_their_norm(make_rows, scale):
    activations, labels = make_rows(200, 30, 3)
    problem = pose(activations, labels, np.random.default_rng(1).exponential(size=200), scale=scale)
    _, rows = turned_rows(problem, along_axes)
    x = (activations - problem.mean) / problem.scale
    assert off(rows, problem, x, np.random.default_rng(2).standard_normal((2, 31))) < 1e-6
    gram = rows.kept.T @ rows.kept
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 1e-8 * np.diag(gram).max()


def off(rows, problem, x, given):
    """How far the logits, the squared norm, and the coefficients that come back are off, as shares of the largest."""
    inside = rows.entered(problem, given)
    logits = rows.kept @ inside[:, :-1].T + inside[:, -1] - x @ given[:, :-1].T - given[:, -1]
    norm = np.sum(inside[:, :-1] ** 2) / np.sum(given[:, :-1] ** 2) - 1
    (back,) = rows.left([(problem, inside)])
    return max(
        np.abs(logits).max() / np.abs(x).max(), abs(norm), np.abs(back - given).max() / np.abs(given).max()
    )


@pytest.mark.parametrize("make", SPANNED)
def test_what_lies_outside_the_span_is_left_out(wide, make):
    problem = pose(*wide)
    base, rows = turned_rows(problem, make)
    x = wide[0] - problem.mean
    outside = np.random.default_rng(3).standard_normal(WIDTH)
    outside -= x.T @ np.linalg.lstsq(x.T, outside, rcond=None)[0]
    (back,) = rows.left([(problem, rows.entered(problem, np.append(outside, 1.0)[None, :]))])
    assert np.abs(back[0, :-1]).max() < 1e-6 * np.abs(outside).max()
    assert back[0, -1] == pytest.approx(1.0, abs=1e-6)
    assert base.width == WIDTH
    assert rows.width == ROWS


def test_rows_that_are_there_twice_span_no_more(wide):
    activations = np.vstack([wide[0], wide[0]])
    labels = np.append(wide[1], wide[1])
    fit = solvers.fit(activations, labels, C=1.0, engine="numpy", gap_nats=1e-8)
    assert fit.status == "converged"
    single = solvers.fit(*wide, C=2.0, engine="numpy", gap_nats=1e-8)  # the same objective
    assert fit.loss == pytest.approx(single.loss, abs=2e-8)


@dataclass
class Shaped:
    rows: int
    width: int
    kept: object = True
    dtype = np.dtype(np.float32)
    backend = NUMPY


ROOM = 1 << 40


@pytest.mark.parametrize(
    ("rows", "width", "steps", "two", "make"),
    [
        (15, 32_768, 25, True, spanned_by_axes),
        (15, 32_768, 25, False, spanned_by_factor),
        (100, 65_536, 25, True, spanned_by_factor),
        (2000, 4096, 60, True, None),  # it would take as long as ninety readings of the rows
        (2000, 4096, 600, True, spanned_by_factor),
        (2000, 4096, 6000, True, spanned_by_axes),
        (2000, 4096, 6000, False, spanned_by_factor),  # ten classes
        (5000, 768, 40, True, None),
        (5000, 768, 400, True, along_axes),
        (5000, 768, 400, False, None),
        (100_000, 100, 10**6, True, None),  # whole blocks of the Hessian cost little
    ],
)
def test_turning_is_bought_where_it_pays(rows, width, steps, two, make):
    assert cheapest_turn(Shaped(rows, width), steps, ROOM, two=two) is make


def test_rows_are_turned_only_where_they_are_kept_and_there_is_room():
    assert cheapest_turn(Shaped(15, 32_768, kept=None), 250, ROOM, two=True) is None
    assert cheapest_turn(Shaped(15, 32_768), 250, 1000, two=True) is None
    assert cheapest_turn(Shaped(5000, 768), 4000, 4 * 5000 * 768, two=True) is None


def test_weak_penalties_are_expected_to_take_more_steps(make_problem):
    problem = make_problem(classes=2, scale=True)
    steps = [turned.expected_steps(problem, C) for C in (1e-6, 1e-2, 1.0, 1e3, 1e300, np.inf)]
    assert steps == sorted(steps)
    assert steps[0] == 16
    assert steps[-1] == steps[-2] < 1000


def test_problems_that_scale_each_their_own_way_are_not_turned(wide):
    activations, labels = wide
    weights = np.random.default_rng(1).exponential(size=ROWS)
    alike = pose_together(activations, [labels, labels > 0], [None, None], scale=True)
    apart = pose_together(activations, [labels, labels > 0], [None, weights], scale=True)
    for problems, shared in ((alike, True), (apart, False)):
        rows = WorkingRows(problems[0], NUMPY, np.float64, resident=True)
        assert (shared_stretch(problems, rows) is not None) == shared
    fits = solvers.fit(
        activations, {0: labels, 1: labels > 0}, sample_weight={0: None, 1: weights}, scale=True, engine="numpy"
    )
    assert {str(fit.status) for fit in fits.values()} == {"converged"}


def test_a_wide_layer_is_read_in_the_space_of_its_rows(wide, monkeypatch):
    paths = []
    for turn in (True, False):
        if not turn:
            monkeypatch.setattr("solvers.lbfgs.sweep.cheapest_turn", lambda *_, **__: None)
        paths.append(solvers.fit(*wide, C=[0.01, 1.0, 100.0], engine="numpy", scale=True))
    for one, other in zip(*paths, strict=True):
        assert one.status == other.status == "converged"
        assert abs(one.loss - other.loss) <= one.gap_nats + other.gap_nats
    assert paths[0].bytes_read < paths[1].bytes_read / 2


def test_a_warm_start_enters_the_span(wide):
    first = solvers.fit(*wide, C=1.0, engine="numpy", gap_nats=1e-8)
    again = solvers.fit(*wide, C=1.0, engine="numpy", gap_nats=1e-6, warm_start=first)
    assert again.evaluations <= 3


def test_memory_that_is_too_small_for_it_keeps_the_rows_as_they_are(wide, monkeypatch):
    monkeypatch.setattr("solvers.lbfgs.sweep.TurnedRows", lambda *_: pytest.fail("rows were turned"))
    (problem,) = pose_together(wide[0], [wide[1]], [None])
    monkeypatch.setattr(turned, "_COPIES", 10)
    allowed = 5 * ROWS * WIDTH * 8  # a quarter is less than 10 matrices of ROWS x ROWS
    solver = ColumnSolver([problem], NUMPY, allowed)
    assert solver.rows.kept is not None
    fit = solvers.fit(*wide, engine="numpy", memory_bytes=allowed)
    assert fit.status == "converged"


def test_a_matrix_that_rounding_leaves_no_factor_of_is_not_turned(wide, monkeypatch):
    monkeypatch.setattr(turns, "_gram", lambda *_: -np.eye(ROWS))
    assert solvers.fit(*wide, engine="numpy").status == "converged"


@pytest.mark.parametrize("large", [1e4, 1e8])
def test_a_column_that_hides_all_others_keeps_the_rows_as_they_are(wide, monkeypatch, large):
    turned_by = []
    monkeypatch.setattr(
        "solvers.lbfgs.sweep.TurnedRows", lambda *given: turned_by.append(given) or TurnedRows(*given)
    )
    activations = wide[0].copy()
    activations[:, 7] *= large
    fit = solvers.fit(activations, wide[1], C=1.0, engine="numpy")
    assert fit.status == "converged"
    assert bool(turned_by) == (large < 1e6)


def test_without_a_penalty_nothing_is_turned(wide, monkeypatch):
    monkeypatch.setattr("solvers.lbfgs.sweep.TurnedRows", lambda *_: pytest.fail("rows were turned"))
    assert solvers.fit(*wide, C=np.inf, engine="numpy", gap_nats=1e-3).status == "unpenalised"


def test_leading_directions_fit_the_memory(make_problem):
    problem = make_problem(rows=9000, width=40, classes=2)
    rows = WorkingRows(problem, NUMPY, np.float32, resident=True)
    for most, fits in ((10**6, True), (9000 * 20 // 40, True), (9000 * 20 // 40 - 1, False)):
        assert Sampler(rows, most, whole=True).leads(20) == fits
    assert not Sampler(rows, 9000 * 20 // 40, whole=True).leads(20, columns=1000)  # a block for each of them
    streamed = WorkingRows(problem, NUMPY, np.float32)
    assert not Sampler(streamed, 10**6, whole=True).leads(20)


@pytest.mark.parametrize("make", [*SPANNED, along_axes])
def test_it_is_the_same_on_a_device(wide, make_rows, device, make):
    problem = pose(*(make_rows(200, ROWS, 3) if make is along_axes else wide), scale=True)
    here, there = turned_rows(problem, make)[1], turned_rows(problem, make, device)[1]
    given = np.random.default_rng(0).standard_normal((3, ROWS + 1))
    (expected,) = here.left([(problem, given)])
    (found,) = there.left([(problem, device.xp.asarray(given))])
    np.testing.assert_allclose(device.to_host(found), expected, rtol=1e-6, atol=1e-9)


def test_one_row_for_two_classes_is_the_objective_of_both(make_problem):
    problem = make_problem(classes=2, weighted=True)
    rows = WorkingRows(problem, NUMPY, np.float64, resident=True)
    both, one = Targets.of(problem, NUMPY, np.float64), TwoClasses.of(problem, NUMPY, np.float64)
    pair = np.random.default_rng(0).standard_normal((2, problem.width + 1))
    pair -= pair.mean(axis=0)
    full, single = (evaluate(rows, [Ask(targets, targets.compact(pair))])[0] for targets in (both, one))
    assert single.cross_entropy == pytest.approx(full.cross_entropy, rel=1e-13)
    np.testing.assert_allclose(single.gradient[0], full.gradient[1], rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(one.expanded(one.compact(pair)), pair, atol=1e-15)
    square = np.sum(one.compact(pair)[:, :-1] ** 2)
    assert one.penalty(0.3) * square == pytest.approx(0.3 * np.sum(pair[:, :-1] ** 2), rel=1e-13)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [1, 3, 20])
def test_a_triangle_is_evaluated_as_the_matrix_with_its_zeros(make_rows, count, threads):
    problem = pose(*make_rows(301, 400, 3))
    base = WorkingRows(problem, NUMPY, np.float64, resident=True)
    turn = spanned_by_factor(NUMPY, base.kept, base.frame(problem).stretch)
    rows = TurnedRows(base, turn)
    asks = [
        Ask(Targets.of(problem, NUMPY, np.float64), each)
        for each in np.random.default_rng(0).standard_normal((count, 3, 302))
    ]
    with at_most(threads):
        read = [(part, x) for share in rows.shares(3 * count) for part, x in share]
        found = evaluate(rows, asks)
    assert sorted(number for part, _ in read for number in range(part.start, part.stop)) == list(range(301))
    assert sum(x.size for _, x in read) < 0.7 * rows.kept.size
    assert rows.bytes_read < 0.6 * 2 * rows.kept.nbytes
    turn.lower = False  # and now with its zeros
    for mine, other in zip(found, evaluate(rows, asks), strict=True):
        assert mine.cross_entropy == pytest.approx(other.cross_entropy, rel=1e-12)
        np.testing.assert_allclose(mine.gradient, other.gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 20])
def test_columns_of_two_classes_are_evaluated_each_for_itself(make_rows, count):
    activations, labels = make_rows(500, 6, 3)
    weights = [None if index % 2 else np.arange(500.0) % (index + 2) for index in range(count)]
    problems = pose_together(activations, [labels > 0] * count, weights)
    rows = WorkingRows(problems[0], NUMPY, np.float32, resident=True)
    drawn = np.random.default_rng(0).standard_normal((count, 1, 7))
    asks = [
        Ask(TwoClasses.of(problem, NUMPY, np.float32), each)
        for problem, each in zip(problems, drawn, strict=True)
    ]
    for ask, answer in zip(asks, evaluate(rows, asks), strict=True):
        (alone,) = evaluate(rows, [ask])
        assert answer.cross_entropy == pytest.approx(alone.cross_entropy, rel=1e-6)
        np.testing.assert_allclose(answer.gradient, alone.gradient, atol=1e-6)


def test_leading_directions_are_those_the_rows_vary_along():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((400, 60)) * np.r_[np.full(5, 30.0), np.full(55, 0.1)]
    turn = np.linalg.qr(generator.standard_normal((60, 60)))[0]
    leading = find_leading(NUMPY, x @ turn, np.ones(60), generator.standard_normal((12, 400)))
    np.testing.assert_allclose(leading.directions.T @ leading.directions, np.eye(12), atol=1e-12)
    assert np.linalg.svd(turn[:5] @ leading.directions, compute_uv=False).min() > 0.999
    assert leading.tail < 90  # a tenth of what the wide directions have


@pytest.mark.parametrize("least", [1e-2, 1e-6, 1e-12, 0.0])
def test_leading_directions_are_orthonormal_however_faint_some_are(least):
    """Where the Gram matrix of the sketch has no factor, or a poor one, Householder's reflections stand in."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((400, 60)) * np.geomspace(1, max(least, 1e-300), 60)
    for dtype, atol in ((np.float64, 1e-12), (np.float32, 2e-6)):
        draws = generator.standard_normal((20, 400)).astype(dtype)
        found = find_leading(NUMPY, x.astype(dtype), np.ones(60), draws).directions
        assert found.dtype == dtype
        np.testing.assert_allclose(found.T @ found, np.eye(20), atol=atol)
        sketch = draws @ x.astype(dtype)
        left = sketch - sketch @ found @ found.T
        assert np.abs(left).max() <= 10 * atol * np.abs(sketch).max()


def test_a_block_without_numbers_leaves_the_number_across_alone():
    leading = find_leading(NUMPY, np.eye(9), np.ones(9), np.random.default_rng(0).standard_normal((3, 9)))
    assert LeadingFactors.of(NUMPY, leading, [np.full((3, 3), np.nan)], np.ones((1, 1)), 0.1) is None


def test_a_metric_along_leading_directions_is_a_block_there_and_a_number_across():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((200, 20)) * np.arange(20, 0, -1)
    v = generator.uniform(0.1, 1, (1, 200)) / 200
    leading = find_leading(NUMPY, x, np.ones(20), generator.standard_normal((8, 200)))
    mass = v.sum(axis=1, keepdims=True)
    rest = np.array([[3.0]])
    metric = LeadingFactors.of(NUMPY, leading, leading.blocks(NUMPY, v, mass), rest, 0.5)
    mean = (v @ x) / mass
    moved = (x - mean) @ leading.directions
    block = (moved * v.T).T @ moved + 0.5 * np.eye(8)
    across = np.eye(20) - leading.directions @ leading.directions.T
    whole = leading.directions @ block @ leading.directions.T + 3.0 * across
    sides = generator.standard_normal((1, 20))
    np.testing.assert_allclose(
        metric.solve(NUMPY, sides), np.linalg.solve(whole, sides.T).T, rtol=1e-4, atol=1e-7
    )


def test_rows_that_do_not_vary_span_nothing():
    problem = pose(np.full((60, 100), 3.0), np.arange(60) % 2)
    base = WorkingRows(problem, NUMPY, np.float64, resident=True)
    stretch = base.frame(problem).stretch
    assert spanned_by_factor(NUMPY, base.kept, stretch) is None
    rows = TurnedRows(base, spanned_by_axes(NUMPY, base.kept, stretch))
    (back,) = rows.left([(problem, np.zeros((2, 61)))])
    for found in (rows.kept, back, rows.entered(problem, np.ones((2, 101)))):
        assert np.isfinite(found).all()
