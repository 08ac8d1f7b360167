"""Workers: rows are shared out whole, results come back in order, and BLAS is left as it was found."""

import os
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import solvers
from solvers.arrays import NUMPY
from solvers.workers import threads
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


def churn(seconds):
    """Two threads that enter and leave, the last to leave often not the first that came."""
    over = time.perf_counter() + seconds

    def work():
        while time.perf_counter() < over:
            with one_blas_thread():
                pass

    threads = [threading.Thread(target=work) for _ in range(2)]
    for each in threads:
        each.start()
    return threads


def test_blas_is_left_as_it_was_found_whoever_leaves_last():
    """threadpoolctl lets one thread at a time set OpenBLAS, and ignores the others."""
    with threadpool_limits(2):
        found = blas_threads()
        for each in churn(0.3):
            each.join()
        assert blas_threads() == found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_while_other_threads_are_inside_neither_hangs_nor_leaves_blas_at_one_thread():
    code = """
        import os, sys, threading, time
        import numpy as np
        import solvers
        from tests.solvers.test_workers import blas_threads, churn

        rows = np.random.default_rng(0).normal(size=(200, 5))
        solvers.fit(rows, rows[:, 0] > 0, engine="numpy")
        free = blas_threads()
        threads = churn(3.0)
        for _ in range(20):
            child = os.fork()
            if child == 0:
                found = blas_threads()
                fit = solvers.fit(rows, rows[:, 0] > 0, engine="numpy")
                os._exit(0 if found == blas_threads() == free and fit.status == "converged" else 3)
            over = time.perf_counter() + 10
            while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.perf_counter() < over:
                time.sleep(0.01)
            if ended == (0, 0):
                os.kill(child, 9)
                os.waitpid(child, 0)
            assert ended == (child, 0), ended
        for each in threads:
            each.join()
        assert blas_threads() == free
    """
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env=environment,
    )
    assert done.returncode == 0, done.stderr


def test_a_fork_from_within_leaves_as_often_as_it_came():
    with one_blas_thread():
        child = os.fork()
        if child == 0:
            inside = threads._Limit.inside
            os._exit(0 if inside == 1 else 3)
    assert os.waitpid(child, 0)[1] == 0
    assert threads._Limit.inside == 0
