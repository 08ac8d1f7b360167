"""Rows of a store that are streamed do not stay in the memory of the process."""

import os
import subprocess
import sys

import numpy as np
import pytest

import actstore

ROWS, WIDTH = 49_152, 1024  # 201 MB

FIT = """
import sys
import actstore, solvers

def status(name):
    lines = open("/proc/self/status").read().split("\\n")
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])

solvers.fit([[0.0], [1.0]], [0, 1], engine="numpy")
with actstore.open(sys.argv[1]) as store:
    before = status("RssFile")
    rows = store.layers["layer"]
    fit = solvers.fit(rows, store.targets["class"], C=1e-3, gap_nats=1e-3, engine="numpy", memory_bytes=40 * 10**6)
    print(fit.status.name, fit.passes, status("RssFile") - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="what a process maps is read from /proc")
def test_a_fit_of_a_stored_layer_stays_within_its_memory(tmp_path):
    rng = np.random.default_rng(0)
    with actstore.create(tmp_path / "run.acts") as store:
        for _ in range(ROWS // 4096):
            rows = rng.standard_normal((4096, WIDTH), np.float32)
            store.append({"layer": rows}, targets={"class": rows[:, 0] > rows[:, 1]}, splits="train")
    command = [sys.executable, "-c", FIT, str(tmp_path / "run.acts")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    status, passes, growth = done.stdout.split()
    assert status == "CONVERGED"
    assert int(passes) > 3  # so it did read the rows again and again
    assert int(growth) <= 16 * 10**6  # of the file's pages, and of libraries that were needed first then
