"""Row sources and the wrappers around them: the same rows however they are asked for."""

import numpy as np
import pytest

import solvers
from solvers.errors import ProblemError
from solvers.rows import (
    Columns,
    ConcatFeatures,
    ConcatRows,
    Rows,
    RowSource,
    as_source,
    at_hand,
    blocks,
    flat_width,
    read,
    take,
)

ARRAY = np.arange(600.0, dtype=np.float32).reshape(100, 2, 3)


class Sliced:
    """A source that gives slices and nothing else, and counts them."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.slices = array, array.shape, array.dtype, []

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        self.slices.append(rows)
        return self.array[rows]


class Taking(Sliced):
    """One that can also take ascending rows."""

    def take(self, rows):
        assert (np.diff(rows) > 0).all()
        return self.array[rows]


class Reading:
    """One that reads into memory of the caller's, and whose slices are none of his business."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, rows):
        pytest.fail("a slice may stay mapped")

    def read_into(self, rows, out):
        assert out.flags.c_contiguous
        np.copyto(out, self.array[rows], casting="no")


@pytest.fixture(params=[np.asarray, Sliced, Taking, Reading], ids=["array", "sliced", "taking", "reading"])
def source(request):
    return request.param(ARRAY)


def test_anything_that_reads_like_one_is_a_source(source):
    assert isinstance(source, RowSource)
    assert as_source(source) is source
    assert as_source(ARRAY.tolist()).shape == ARRAY.shape


def test_read_flattens_in_c_order(source):
    np.testing.assert_array_equal(read(source, slice(5, 9)), ARRAY[5:9].reshape(4, 6))
    assert read(source, slice(3, 3)).shape == (0, 6)
    assert flat_width(source) == 6


@pytest.mark.parametrize("rows", [[0, 1, 2], [99, 0, 50], [7, 7, 3], []], ids=str)
def test_take_gives_rows_in_the_order_asked_for(source, rows):
    picked = take(source, np.array(rows, dtype=np.int64))
    np.testing.assert_array_equal(picked, ARRAY[rows].reshape(len(rows), 6))


def test_take_reads_neighbours_together_and_leaves_gaps_alone():
    source = Sliced(np.zeros((1000, 2)))
    take(source, np.array([0, 3, 9, 900, 905]))
    assert source.slices == [slice(0, 10), slice(900, 906)]


@pytest.mark.parametrize("block_rows", [1, 7, 100, 1000])
def test_blocks_cover_every_row_once(source, block_rows):
    parts = list(blocks(source, block_rows))
    np.testing.assert_array_equal(np.concatenate([block for _, block in parts]), ARRAY.reshape(100, 6))
    assert all(len(block) == rows.stop - rows.start <= block_rows for rows, block in parts)


@pytest.mark.parametrize(
    "rows", [np.arange(10, 30), np.array([90, 4, 4, 60]), np.arange(100) % 3 == 0], ids=str
)
def test_rows_are_a_source(source, rows):
    chosen = Rows(source, rows)
    assert isinstance(chosen, RowSource)
    assert chosen.shape == ARRAY[rows].shape
    np.testing.assert_array_equal(chosen[:], ARRAY[rows])
    np.testing.assert_array_equal(chosen[2:5], ARRAY[rows][2:5])
    np.testing.assert_array_equal(take(chosen, np.array([1, 3])), ARRAY[rows][[1, 3]].reshape(2, 6))


def test_columns_are_a_source_of_flattened_features(source):
    chosen = Columns(source, [5, 0])
    assert chosen.shape == (100, 2)
    np.testing.assert_array_equal(chosen[10:20], ARRAY[10:20].reshape(10, 6)[:, [5, 0]])
    np.testing.assert_array_equal(take(chosen, np.array([3, 1])), ARRAY[[3, 1]].reshape(2, 6)[:, [5, 0]])
    np.testing.assert_array_equal(Columns(Rows(source, [8, 2]), [1])[:], ARRAY[[8, 2]].reshape(2, 6)[:, [1]])


def test_neighbouring_columns_are_a_view_and_others_a_copy():
    flat = ARRAY.reshape(100, 6)
    neighbours, scattered = Columns(flat, [2, 3, 4]), Columns(flat, [2, 4])
    np.testing.assert_array_equal(neighbours[10:20], flat[10:20, 2:5])
    np.testing.assert_array_equal(take(neighbours, np.array([7, 3])), flat[[7, 3], 2:5])
    assert np.shares_memory(neighbours[10:20], flat)
    assert not np.shares_memory(scattered[10:20], flat)
    np.testing.assert_array_equal(Columns(flat, [-1])[:], flat[:, [5]])


def test_concatenated_sources_are_one(source):
    both = ConcatRows(source, ARRAY[:5])
    whole = np.concatenate([ARRAY, ARRAY[:5]])
    assert both.shape == whole.shape
    for rows in (slice(None), slice(98, 103), slice(101, 104), slice(0, 105, 10), slice(104, 200)):
        np.testing.assert_array_equal(both[rows], whole[rows])
    np.testing.assert_array_equal(take(both, np.array([104, 0, 99])), whole[[104, 0, 99]].reshape(3, 6))


def test_rows_of_another_shape_can_not_be_joined(source):
    with pytest.raises(ProblemError, match="cannot be joined; expected one shape of a row"):
        ConcatRows(source, np.zeros((3, 5)))


def test_rows_on_a_gpu_are_refused_with_the_way_out():
    class OnDevice:
        __cuda_array_interface__ = {}

    with pytest.raises(
        ProblemError, match=r"activations lie on a GPU; expected rows on the host: give x.get\(\)"
    ):
        as_source(OnDevice())


def test_features_side_by_side(source):
    other = np.arange(len(ARRAY) * 2, dtype=np.float32).reshape(-1, 1, 2)
    flat = ARRAY.reshape(len(ARRAY), -1)
    both = ConcatFeatures(source, other, names=("a", "b"))
    expected = np.concatenate([flat, other.reshape(-1, 2)], axis=1)
    assert (both.shape, both.names) == (expected.shape, ("a", "b"))
    assert both.dtype == np.result_type(ARRAY, other)
    np.testing.assert_array_equal(both[2:5], expected[2:5])
    np.testing.assert_array_equal(take(both, np.array([4, 1, 4])), expected[[4, 1, 4]])
    np.testing.assert_array_equal(Columns(both, [0, flat.shape[1]])[:], expected[:, [0, flat.shape[1]]])


def test_what_is_not_of_the_same_rows_is_not_set_side_by_side():
    with pytest.raises(ProblemError, match="sources of 3, 4 rows cannot be set side by side"):
        ConcatFeatures(np.zeros((3, 2)), np.zeros((4, 2)))
    with pytest.raises(ProblemError, match="sources of none rows"):
        ConcatFeatures()


def test_the_old_name_of_what_joins_rows_is_understood():
    assert solvers.Concat is solvers.ConcatRows


def test_few_rows_are_read_once_and_many_stay_where_they_are(source):
    found = at_hand(source, 1 << 30)
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found.reshape(ARRAY.shape), ARRAY)
    assert at_hand(found, 1 << 30) is found
    assert at_hand(source, memory_bytes=16 * ARRAY.nbytes - 16) is source
    assert type(at_hand(source, memory_bytes=16 * ARRAY.nbytes)) is np.ndarray


def test_a_fit_reads_few_rows_once_and_many_on_every_pass(make_rows):
    activations, labels = make_rows(300, 4, 3)
    few, many = Sliced(activations), Sliced(activations)
    fit = solvers.fit(few, labels, engine="numpy")
    assert len(few.slices) == 1
    other = solvers.fit(many, labels, engine="numpy", memory_bytes=activations.nbytes)
    assert sum(len(range(*rows.indices(300))) for rows in many.slices) > 300 * fit.passes / 2
    assert abs(fit.loss - other.loss) <= fit.gap_nats + other.gap_nats


def test_a_file_that_is_mapped_is_copied_and_rows_that_choose_c_too_are_read_once(tmp_path, make_rows):
    activations, labels = make_rows(300, 4, 3)
    np.save(tmp_path / "rows.npy", activations)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert not np.shares_memory(at_hand(mapped, 1 << 30), mapped)
    one = Sliced(activations)
    solvers.fit(one, labels, C=[0.1, 1.0], validation=(one, labels), engine="numpy")
    assert len(one.slices) == 1


def test_rows_without_a_label_are_not_read(make_rows):
    activations, labels = make_rows(300, 4, 3)

    class Broken(Sliced):
        def __getitem__(self, rows):
            if rows.indices(300)[1] > 200:
                raise OSError("filter returned failure")
            return super().__getitem__(rows)

    unlabelled = np.ma.masked_array(labels, np.arange(300) >= 200)
    fit = solvers.fit(Broken(activations), unlabelled, engine="numpy")
    alone = solvers.fit(activations[:200], labels[:200], engine="numpy")
    np.testing.assert_array_equal(fit.weights, alone.weights)
