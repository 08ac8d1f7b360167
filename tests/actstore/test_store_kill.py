"""A process that is killed while it dumps leaves a store with exactly the rows that were sealed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import actstore
from actstore import StoreError, Writer

DUMP = """
import sys
import numpy as np
from actstore import Captured, RowBatch, Writer
with Writer(sys.argv[1], shard_bytes=20_000, overwrite=True) as writer:
    for first in range(0, 10**9, 10):
        numbers = np.arange(first, first + 10)
        rows = {"a": Captured(np.repeat(numbers, 50).reshape(10, 50).astype(np.float32), "float32", ("f",))}
        writer.append(RowBatch(rows, [f"row/{n}" for n in numbers], ["train"] * 10, {"number": numbers}))
        print(first, flush=True)
"""


@pytest.mark.parametrize("name", ["out.acts", "out.h5"])
def test_sealed_rows_survive_a_kill(tmp_path, name):
    """Eight kills, each at a moment drawn anew. The long test, with resume, is the store issue's."""
    rng = np.random.default_rng(0)
    most = 0
    for kill in range(4):
        place = tmp_path / f"{kill}{name}"
        staging = place if name.endswith(".acts") else place.with_name(place.name + ".partial")
        process = subprocess.Popen([sys.executable, "-c", DUMP, str(place)], stdout=subprocess.PIPE, text=True)
        process.stdout.readline()  # the first batch was appended
        time.sleep(rng.uniform(0.05, 0.4))
        os.kill(process.pid, signal.SIGKILL)
        appended = int(process.stdout.read().splitlines()[-1]) + 10
        process.wait()
        process.stdout.close()

        store = actstore.open(staging)
        assert not store.complete
        assert (
            appended - 200 <= store.rows <= appended + 10
        )  # a shard holds 75 rows, and one line may not be printed
        numbers = np.arange(store.rows)
        np.testing.assert_array_equal(store.layers["a"][:], np.repeat(numbers, 50).reshape(-1, 50))
        assert store.ids.tolist() == [f"row/{number}" for number in numbers]
        np.testing.assert_array_equal(store.targets.get("number", []), numbers)
        with pytest.raises(StoreError, match="is an unfinished dump"):  # and the lock died with its holder
            Writer(place)
        most = max(most, store.rows)
    assert most > 100
