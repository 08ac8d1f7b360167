"""Workers: rows are shared out whole, results come back in order, and BLAS is left as it was found."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import solvers
from solvers.arrays import NUMPY
from solvers.workers.threads import Threads, one_blas_thread


def blas_threads():
    return {each["filepath"]: each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


@pytest.mark.parametrize("rows", [1, 2, 7, 100])
@pytest.mark.parametrize("block_rows", [1, 3, 1000])
@pytest.mark.parametrize("workers", [1, 2, 16])
def test_shares_hold_every_row_once_in_order(rows, block_rows, workers):
    shares = Threads(workers).shares(rows, block_rows)
    assert 1 <= len(shares) <= workers
    assert all(shares)
    blocks = [block for share in shares for block in share]
    assert [row for block in blocks for row in range(rows)[block]] == list(range(rows))
    assert max(block.stop - block.start for block in blocks) <= block_rows


def test_map_keeps_the_order():
    assert NUMPY.workers.map(sum, [[1, 2], [3], [4, 5]]) == [3, 3, 9]


@pytest.mark.parametrize("bad", [0, 2])
def test_error_in_any_share_is_raised(bad):
    def work(share):
        if share == bad:
            msg = "this share"
            raise ValueError(msg)

    with pytest.raises(ValueError, match="this share"):
        NUMPY.workers.map(work, [0, 1, 2])


def fail_inside():
    with one_blas_thread(), one_blas_thread():
        assert 1 in blas_threads().values()  # NumPy's; another, loaded later, is not used here
        raise KeyError


def test_blas_is_left_as_it_was_found():
    solvers.fit(np.eye(6), [0, 1, 0, 1, 0, 1], engine="numpy")  # by now every BLAS is loaded
    with threadpool_limits(2):
        found = blas_threads()
        with pytest.raises(KeyError):
            fail_inside()
        assert blas_threads() == found
        solvers.fit(np.eye(6), [0, 1, 0, 1, 0, 1], engine="numpy")
        assert blas_threads() == found


def test_blas_is_left_as_it_was_found_by_fits_side_by_side(make_rows):
    activations, labels = make_rows(500, 20, 4)
    solvers.fit(activations, labels, engine="numpy")
    barrier = threading.Barrier(4)

    def fit(C):
        barrier.wait()
        return solvers.fit(activations, labels, C=C, engine="numpy")

    with threadpool_limits(2):
        found = blas_threads()
        with ThreadPoolExecutor(4) as pool:
            fits = list(pool.map(fit, [0.01, 0.1, 1.0, 10.0]))
        assert blas_threads() == found
    for each in fits:
        alone = solvers.fit(activations, labels, C=each.C, engine="numpy")
        np.testing.assert_array_equal(each.weights, alone.weights)


def test_workers_change_only_rounding(make_rows, monkeypatch):
    activations, labels = make_rows(500, 20, 4)
    fits = []
    for workers in (1, 3):
        backend = replace(NUMPY, workers=Threads(workers), block_elements=500)
        monkeypatch.setattr("solvers.engines.numpy_lbfgs.NUMPY", backend)
        fits.append(solvers.fit(activations, labels, engine="numpy"))
    np.testing.assert_allclose(fits[0].weights, fits[1].weights, atol=1e-9)
