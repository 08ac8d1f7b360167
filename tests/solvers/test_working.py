"""Rows to work on: the same bits however they are kept, and coefficients that mean the same in either coordinates."""

from dataclasses import replace

import numpy as np
import pytest

from solvers.arrays import NUMPY
from solvers.lbfgs.objective import Ask, Targets, evaluate
from solvers.lbfgs.working import Frame, WorkingRows
from solvers.problem.problem import pose, pose_together
from solvers.workers.threads import Threads, at_most

ROWS = 300
KINDS = {
    "float16": lambda a: a.astype(np.float16),
    "float32": lambda a: a.astype(np.float32),
    "float64": lambda a: a,
    "int8": lambda a: (10 * a).astype(np.int8),
    "int64": lambda a: (1000 * a).astype(np.int64),
    "bool": lambda a: a > 0,
    "F-ordered": lambda a: np.asfortranarray(a, dtype=np.float32),
    "big-endian": lambda a: a.astype(">f4"),
    "every other row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "features of two axes": lambda a: a.astype(np.float32).reshape(len(a), 2, -1),
    "a column of no spread": lambda a: np.column_stack([a, np.full(len(a), 0.1)]).astype(np.float32),
}


def rows_of(kind, seed=0):
    activations = np.random.default_rng(seed).standard_normal((ROWS, 8)) * np.logspace(-1, 1, 8) + 3.0
    return KINDS[kind](activations)


def problem_of(activations, **settings):
    labels = np.random.default_rng(1).integers(3, size=activations.shape[0])
    return pose(activations, labels, **settings)


def whole(rows):
    """Every block of one reading, copied, in the order of the rows."""
    parts = [(part, np.array(x)) for share in rows.shares() for part, x in share]
    assert [row for part, _ in parts for row in range(rows.rows)[part]] == list(range(rows.rows))
    return np.concatenate([x for _, x in parts])


class Sliced:
    """A source that gives slices alone, as a memory map or a file does."""

    def __init__(self, array):
        self._array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, rows):
        return self._array[rows]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_streamed_rows_are_resident_rows_to_the_bit(kind, dtype):
    problem = problem_of(rows_of(kind))
    resident = whole(WorkingRows(problem, NUMPY, dtype, resident=True))
    assert resident.dtype == dtype
    for block_elements, workers in [(1, 1), (8 * 70, 2), (8 * 100, 5), (1 << 20, 3)]:
        backend = replace(NUMPY, block_elements=block_elements, workers=Threads(workers))
        for kept in (False, True):
            rows = WorkingRows(problem, backend, dtype, resident=kept)
            np.testing.assert_array_equal(whole(rows), resident)
            np.testing.assert_array_equal(whole(rows), resident)  # a second reading as the first


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_centred_and_divided(kind):
    activations = rows_of(kind)
    problem = problem_of(activations)
    h = activations.reshape(ROWS, -1).astype(np.float64)
    expected = (h - problem.center) / problem.divisor
    # A divisor is a power of two and the center one of the dtype's numbers: the difference alone rounds.
    np.testing.assert_allclose(whole(WorkingRows(problem, NUMPY, np.float64)), expected, rtol=1e-15)
    eps = np.finfo(np.float32).eps
    single = whole(WorkingRows(problem, NUMPY, np.float32))
    np.testing.assert_allclose(single, expected, rtol=eps, atol=eps)
    assert np.abs(expected.mean(axis=0)).max() < 0.1
    assert np.log2(problem.divisor) == pytest.approx(np.log2(problem.divisor).round(), abs=0)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_memory_map_is_read_as_the_array_it_maps(tmp_path, dtype, order):
    activations = rows_of("float64").astype(dtype)
    mapped = np.memmap(tmp_path / "rows", dtype=dtype, mode="w+", shape=activations.shape, order=order)
    mapped[:] = activations
    mapped.flush()
    expected = whole(WorkingRows(problem_of(activations), NUMPY, np.float32, resident=True))
    backend = replace(NUMPY, block_elements=8 * 70, workers=Threads(2))
    for source in (mapped, Sliced(mapped)):
        for kept in (False, True):
            rows = WorkingRows(problem_of(source), backend, np.float32, resident=kept)
            np.testing.assert_array_equal(whole(rows), expected)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int64", "F-ordered"])
@pytest.mark.parametrize("numbers", [[0], [3, 4, 5], [0, 7, 150, 299], list(range(ROWS))], ids=len)
def test_rows_picked_are_those_of_a_reading_to_the_bit(kind, numbers):
    problem = problem_of(rows_of(kind))
    numbers = np.array(numbers)
    for kept in (False, True):
        rows = WorkingRows(problem, NUMPY, np.float32, resident=kept)
        np.testing.assert_array_equal(rows.pick(numbers), whole(rows)[numbers])


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_passes_and_bytes_are_counted(kind):
    problem = problem_of(rows_of(kind))
    itemsize = problem.source.dtype.itemsize
    streamed = WorkingRows(problem, NUMPY, np.float32)
    assert (streamed.passes, streamed.bytes_read) == (0, 0)
    whole(streamed)
    whole(streamed)
    assert (streamed.passes, streamed.bytes_read) == (2, 2 * ROWS * 8 * itemsize)
    resident = WorkingRows(problem, NUMPY, np.float32, resident=True)
    assert (resident.passes, resident.bytes_read) == (1, ROWS * 8 * itemsize)
    whole(resident)
    assert (resident.passes, resident.bytes_read) == (2, ROWS * 8 * (itemsize + 4))


@pytest.mark.parametrize("columns", [1, 8, 1000])
def test_blocks_leave_room_for_the_columns_of_products(columns):
    backend = replace(NUMPY, block_elements=100_000)
    rows = WorkingRows(problem_of(rows_of("float32")), backend, np.float32)
    assert rows.block_rows(columns) == 100_000 // max(8, columns)
    assert (
        WorkingRows(problem_of(rows_of("float32")), replace(NUMPY, block_elements=1), np.float32).block_rows()
        == 64
    )


def test_a_bad_read_is_raised_where_the_rows_are_asked_for():
    problem = problem_of(rows_of("float32"))

    class Broken(Sliced):
        def __getitem__(self, rows):
            if rows.start >= 128:
                msg = "the disk is gone"
                raise OSError(msg)
            return super().__getitem__(rows)

    broken = replace(problem, source=Broken(problem.source))
    rows = WorkingRows(broken, replace(NUMPY, block_elements=1, workers=Threads(1)), np.float32)
    with pytest.raises(OSError, match="the disk is gone"):
        whole(rows)


@pytest.mark.parametrize("resident", [False, True])
def test_the_same_on_a_device(device, resident):
    for kind in ("float16", "float32", "float64", "int64", "F-ordered"):
        problem = problem_of(rows_of(kind))
        here = whole(WorkingRows(problem, NUMPY, np.float32))
        rows = WorkingRows(problem, device, np.float32, resident=resident)
        there = np.concatenate([x._host.copy() for share in rows.shares() for _, x in share])
        np.testing.assert_array_equal(there, here)


def framed(scale, weights=None, dtype=np.float64):
    """A problem that shares its rows with another one, which the rows are centred for."""
    activations = rows_of("a column of no spread").astype(dtype)
    labels = np.random.default_rng(1).integers(3, size=ROWS)
    others = np.random.default_rng(2).exponential(size=ROWS)
    _, problem = pose_together(activations, [labels, labels], [others, weights], scale=scale)
    return problem, WorkingRows(problem, NUMPY, np.float64)


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_coefficients_in_a_frame_act_as_on_standardised_rows(scale, weighted):
    weights = (np.arange(ROWS) % 3).astype(float) if weighted else None
    problem, rows = framed(scale, weights)
    coefficients = np.random.default_rng(3).standard_normal((3, problem.width + 1))
    standardised = (np.asarray(problem.source[:], dtype=np.float64) - problem.mean) / problem.scale
    moved = Frame.of(problem, rows).to_rows(coefficients)
    found = whole(rows) @ moved[:, :-1].T + moved[:, -1]
    expected = standardised @ coefficients[:, :-1].T + coefficients[:, -1]
    np.testing.assert_allclose(found, expected, atol=1e-12)  # rows of order 10 in columns off by 3


@pytest.mark.parametrize("scale", [False, True])
def test_to_rows_and_from_rows_are_adjoint(scale):
    problem, rows = framed(scale)
    frame, generator = Frame.of(problem, rows), np.random.default_rng(4)
    for _ in range(5):
        coefficients, gradient = generator.standard_normal((2, 3, problem.width + 1))
        kept = coefficients.copy(), gradient.copy()
        there = np.sum(frame.to_rows(coefficients) * gradient)
        assert there == pytest.approx(np.sum(coefficients * frame.from_rows(gradient)), rel=1e-12, abs=1e-11)
        np.testing.assert_array_equal((coefficients, gradient), kept)


def test_a_constant_column_has_no_say_in_a_scaled_frame():
    problem, rows = framed(scale=True)
    frame = Frame.of(problem, rows)
    assert frame.stretch[-1] == frame.offset[-1] == 0
    assert np.isfinite(frame.stretch).all()
    assert np.isfinite(frame.offset).all()


def test_a_short_reading_is_one_threads_and_a_long_one_is_shared(make_problem):
    problem = make_problem()
    rows = WorkingRows(problem, NUMPY, np.float64, resident=True)
    columns = -(-(1 << 21) // (rows.rows * rows.width))
    with at_most(2):
        assert rows.block_rows(columns) < rows.rows
        assert len(rows.shares(columns)) == 2
        assert len(rows.shares(columns // 2)) == 1


@pytest.mark.parametrize(("size", "divided"), [(1e50, False), (1e70, True), (1e-70, True), (1.0, False)])
def test_rows_in_float64_are_divided_only_where_they_are_far_out_of_range(make_rows, size, divided):
    activations, labels = make_rows(80, 4, 3)
    problem = pose(activations.astype(np.float64) * size, labels)
    plain = WorkingRows(problem, NUMPY, np.float64, divided=False)
    assert (plain.divisor == 1).all() == (not divided)
    given = np.random.default_rng(0).standard_normal((3, 5)) / size
    given[:, -1] *= size
    targets = Targets.of(problem, NUMPY, np.float64)
    answers = [
        evaluate(rows, [Ask(targets, rows.frame(problem).to_rows(given))])[0]
        for rows in (plain, WorkingRows(problem, NUMPY, np.float64))
    ]
    slopes = [
        rows.frame(problem).from_rows(answer.gradient)
        for rows, answer in zip((plain, WorkingRows(problem, NUMPY, np.float64)), answers, strict=True)
    ]
    assert answers[0].cross_entropy == answers[1].cross_entropy  # powers of two round nothing
    np.testing.assert_array_equal(*slopes)
